"""Frames as objects: the kept reading frames of chunks, see `virnucpro.seq.frame_table`."""

from __future__ import annotations

from collections.abc import Sequence

from virnucpro.config import FrameRule
from virnucpro.seq.frame_table import COMPLEMENT, find_frames
from virnucpro.seq.strings import Strings
from virnucpro.types import Chunk, Frame


def reverse_complement(sequence: bytes) -> bytes:
    """Return the other strand, 5' to 3'; only A, C, G and T are complemented, other letters stay as they are.

    Args:
        sequence: upper-case nt.

    >>> reverse_complement(b"AACGTN")
    b'NACGTT'
    """
    return sequence.translate(COMPLEMENT)[::-1]


def frames_of(chunks: Sequence[Chunk], rule: FrameRule) -> list[tuple[Frame, ...]]:
    """Return the kept frames of each chunk, in the order F1 F2 F3 R1 R2 R3, aligned to `chunks`.

    Args:
        chunks: upper-case chunks of any lengths; those of one call are scanned together.
        rule: which frames are kept, see `find_frames`.

    Returns:
        One tuple per chunk, empty where no frame is kept.
    """
    table = find_frames(Strings.of([chunk.sequence for chunk in chunks]), rule)
    places = (table.chunk, table.strand, table.offset, table.nucleotide)
    nucleotides = table.nucleotides.tolist()
    found: list[list[Frame]] = [[] for _ in chunks]
    for (row, strand, offset, which), protein in zip(
        zip(*(place.tolist() for place in places), strict=True), table.proteins, strict=True
    ):
        found[row].append(Frame(chunks[row].id, strand, offset, nucleotides[which], protein))
    return [tuple(frames) for frames in found]
