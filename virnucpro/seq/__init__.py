"""Bytes and strings: files to records, records to chunks, chunks to frames. Nothing here imports torch."""

from virnucpro.seq.chunk import chunk_spans, iter_chunks
from virnucpro.seq.letters import letters_of
from virnucpro.seq.pairs import read_pairs
from virnucpro.seq.reader import read_records
from virnucpro.seq.screen import Limits, repetition, screened_chunks
from virnucpro.seq.translate import frames_of, reverse_complement
from virnucpro.types import Letters

__all__ = [
    "Letters",
    "Limits",
    "chunk_spans",
    "frames_of",
    "iter_chunks",
    "letters_of",
    "read_pairs",
    "read_records",
    "repetition",
    "reverse_complement",
    "screened_chunks",
]
