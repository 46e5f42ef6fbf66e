"""Two ways of reading that must say the same: records as objects, and blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from virnucpro.errors import VirnucproError
from virnucpro.seq import read_pairs, read_records
from virnucpro.seq.block import RecordBlock, group_records
from virnucpro.seq.blocks import iter_blocks
from virnucpro.seq.source import Source
from virnucpro.types import Record


def said(record: Record) -> tuple[Any, ...]:
    """Return all that a record says. The mates of a pair are not numbered in a block."""
    parts = [(part.id, part.description, part.sequence, part.quality, part.source) for part in record.parts]
    return record.id, record.index, len(record.mates), parts


def caught(items: Iterable[Any]) -> tuple[list[Any], str]:
    """Return items and the error of ours that ended them, with its class."""
    found: list[Any] = []
    try:
        found.extend(items)
    except VirnucproError as error:
        return found, f"{type(error).__name__}: {error}"
    return found, ""


def object_units(
    paths: Sequence[str | Path], paired: bool = False, n_records: int = 1024, n_bases: int = 1 << 20
) -> tuple[list[list[tuple[Any, ...]]], str]:
    """Read records as objects and gather them; a group that a fault ends is one, too."""
    groups: list[list[Record]]
    groups, error = caught(group_records(read_pairs(*paths) if paired else read_records(paths), n_records, n_bases))
    return [[said(record) for record in group] for group in groups], error


def block_units(
    paths: Sequence[str | Path], paired: bool = False, n_records: int = 1024, n_bases: int = 1 << 20
) -> tuple[list[list[tuple[Any, ...]]], str]:
    """Read the same as blocks, and see that the source has counted them."""
    source = Source([str(path) for path in paths])
    blocks: list[RecordBlock]
    blocks, error = caught(iter_blocks(source, paired, n_records, n_bases))
    assert source.records == sum(map(len, blocks))
    assert source.at_end == (not error)
    return [[said(record) for record in block.records()] for block in blocks], error
