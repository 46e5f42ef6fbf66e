"""Bytes and arrays: files to records, records to chunks, chunks to frames. Nothing here imports torch."""

from virnucpro.seq.pairs import read_pairs
from virnucpro.seq.reader import read_records
from virnucpro.seq.screen import Limits

__all__ = ["Limits", "read_pairs", "read_records"]
