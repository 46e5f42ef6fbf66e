"""What the array code gives, as the objects that the specification speaks of."""

from collections.abc import Sequence

import numpy as np
from specified_types import Chunk, Frame

from virnucpro.config import FrameRule
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk import spans_of_chunks
from virnucpro.seq.chunk_table import STATUSES, cut_chunks, read_letters
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.letters import resolve_rows
from virnucpro.seq.screen import Limits
from virnucpro.seq.strings import Strings
from virnucpro.types import Record, Status


def spans(length: int, chunk_length: int) -> list[tuple[int, int]]:
    """Return the (start, end) of every chunk of a record."""
    _, starts, ends = spans_of_chunks(np.array([length]), chunk_length)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def chunks(record: Record, limits: Limits) -> list[tuple[Chunk | None, Status, str]]:
    """Return every chunk of a record with its status and the reason; one item without a chunk if it is not cut."""
    block = RecordBlock.of([record])
    table = cut_chunks(block, limits)
    if not len(table):
        return [(None, STATUSES[table.record_status[0]], table.record_reason(0))]
    found: list[tuple[Chunk | None, Status, str]] = []
    for row, text in enumerate(read_letters(block, table, np.arange(len(table)))):
        start, end = int(table.start[row]), int(table.end[row])
        chunk = Chunk(record.id, int(table.index[row]), start, text, end - start - len(text))
        found.append((chunk, STATUSES[table.status[row]], table.reason(row)))
    return found


def frames(chunks: Sequence[Chunk], rule: FrameRule) -> list[tuple[Frame, ...]]:
    """Return the kept frames of each chunk; all are looked for together."""
    table = find_frames(Strings.of([chunk.sequence for chunk in chunks]), rule)
    found: list[list[Frame]] = [[] for _ in chunks]
    columns = (table.chunk.tolist(), table.strand.tolist(), table.offset.tolist())
    for row, strand, offset, nucleotide, protein in zip(*columns, table.own_nucleotides(), table.proteins, strict=True):
        found[row].append(Frame(chunks[row].id, strand, offset, nucleotide, protein))
    return [tuple(kept) for kept in found]


def resolved(letters: bytes) -> bytes:
    """Return what is read of a part of a piece."""
    return resolve_rows(Strings.of([letters]), np.array([True]))[0]
