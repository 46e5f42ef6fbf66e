"""Translate chunks in six reading frames and keep the frames that a rule selects.

A batch of C chunks is read as R = 2 C rows, one per strand (chunk, then its reverse complement), each ended
by padding to a multiple of 3, so that codon k of a row lies at the same place in all three offsets and one
pass over one long string of residues serves every chunk, row and offset, whatever the lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from virnucpro.config import FrameRule
from virnucpro.types import Chunk, Frame

_Integers = npt.NDArray[np.int64]

_BASES = b"TCAG"
_STANDARD_CODE = b"FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"  # NCBI table 1, in TCAG order
_PAD = b"\n"
# A letter is a number of two bits and two flags, ambiguous (64) and past the end (128).
_CODES = bytes(128 if letter in _PAD else _BASES.find(letter) % 65 for letter in range(256))  # absent: -1 % 65 = 64
# A codon is three such numbers (0..63) and the flags of all three letters: X where one is ambiguous, else PAD.
_RESIDUES = _STANDARD_CODE + b"X" * 64 + _PAD * 128
_LETTER = ord("A")  # `*` and PAD, which end a run, sort before the letters
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")
_FRAMES = tuple((strand, offset) for strand in (1, -1) for offset in (0, 1, 2))  # F1 F2 F3 R1 R2 R3
_BLOCK_NT = 1 << 17  # bases scanned at a time: the working set (about 20 bytes a base) stays in the cache


def reverse_complement(sequence: bytes) -> bytes:
    """Return the other strand, 5' to 3'; only A, C, G and T are complemented, other letters stay as they are.

    Args:
        sequence: upper-case nt.

    >>> reverse_complement(b"AACGTN")
    b'NACGTT'
    """
    return sequence.translate(_COMPLEMENT)[::-1]


def frames_of(chunks: Sequence[Chunk], rule: FrameRule) -> list[tuple[Frame, ...]]:
    """Return the kept frames of each chunk, in the order F1 F2 F3 R1 R2 R3, aligned to `chunks`.

    `stop_free` is the rule of the published VirNucPro (Li et al. 2025, bbaf224) with its quirks: a codon
    not made only of A, C, G and T (U is not T) is left out of the protein; a frame is kept when its protein
    has at least one residue and no stop; `nucleotide` is the strand from the offset on, 3 nt a residue and,
    where the strand goes on, one base more.

    `longest_segments` reads U as T and an ambiguous codon as X. Of each frame it takes the longest run of
    residues without a stop (the leftmost on its own strand), and of these six the `rule.segments` longest
    with at least `rule.min_aa` residues and `rule.min_share` of the longest, equal lengths by the order of
    their bytes, so that a chunk and its reverse complement choose the same; the longest is kept however
    short. `nucleotide` is the whole strand from the offset on; with `rule.nucleotide` "longest", that of the
    frame first in this order.

    Args:
        chunks: upper-case chunks of any lengths; those of one call are scanned together.
        rule: which frames are kept.

    Returns:
        One tuple per chunk, empty where no frame is kept.
    """
    return list(chain.from_iterable(_frames_of_block(block, rule) for block in _blocks(chunks)))


def _blocks(chunks: Sequence[Chunk]) -> Iterator[Sequence[Chunk]]:
    """Yield consecutive slices of `chunks` of about `_BLOCK_NT` bases, in order and without gaps."""
    first = size = 0
    for end, chunk in enumerate(chunks, start=1):
        size += len(chunk.sequence)
        if size >= _BLOCK_NT or end == len(chunks):
            yield chunks[first:end]
            first, size = end, 0


def _frames_of_block(chunks: Sequence[Chunk], rule: FrameRule) -> list[tuple[Frame, ...]]:
    stop_free = rule.kind == "stop_free"
    forward = [chunk.sequence if stop_free else chunk.sequence.replace(b"U", b"T") for chunk in chunks]
    strands = [strand for sequence in forward for strand in (sequence, reverse_complement(sequence))]
    residues, starts, lengths = _longest_runs(strands)
    if stop_free:
        sizes = np.array([len(sequence) for sequence in forward])
        codons = (sizes[:, None] - np.array([offset for _, offset in _FRAMES])) // 3  # (C, 6)
        kept = lengths == codons  # a frame too short for a codon has no protein and is left out below
    else:
        kept = _longest_of_six(residues, starts, lengths, rule)

    found: list[list[tuple[int, bytes, bytes]]] = [[] for _ in chunks]  # of each: column, nucleotide, protein
    rows, columns = np.nonzero(kept)
    runs = zip(rows.tolist(), columns.tolist(), starts[kept].tolist(), lengths[kept].tolist(), strict=True)
    for row, column, start, length in runs:
        offset = column % 3
        nucleotide = strands[2 * row + column // 3]
        protein = residues[start : start + length]
        if stop_free:
            protein = protein.replace(b"X", b"")
            nucleotide = nucleotide[: offset + 3 * len(protein) + 1]
        if protein:
            found[row].append((column, nucleotide[offset:], protein))
    if rule.nucleotide == "longest":
        found = [_with_nucleotides_of_longest(frames) if len(frames) > 1 else frames for frames in found]
    return [
        tuple(Frame(chunk.id, *_FRAMES[column], nucleotide, protein) for column, nucleotide, protein in frames)
        for chunk, frames in zip(chunks, found, strict=True)
    ]


def _with_nucleotides_of_longest(frames: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
    _, nucleotide, _ = min(frames, key=lambda frame: (-len(frame[2]), frame[2]))
    return [(column, nucleotide, protein) for column, _, protein in frames]


def _longest_runs(strands: Sequence[bytes]) -> tuple[bytes, _Integers, _Integers]:
    """Find the longest run of residues without a stop, the leftmost if several, of each strand and offset.

    Args:
        strands: R rows of upper-case nt, two for each of C chunks.

    Returns:
        The residues of all rows and offsets as one string, and where in it the runs start and how long they
        are, both (C, 6) in the order of `_FRAMES`.
    """
    rows = [strand + _PAD * (3 - len(strand) % 3) for strand in strands]
    text = b"".join(rows) + _PAD * 2
    codes = np.frombuffer(text.translate(_CODES), np.uint8)
    bases, flags = codes & 3, codes & 192
    codons = bases[:-2] << 4 | bases[1:-1] << 2 | codes[2:] | flags[:-2] | flags[1:-1]  # (3 K,): one at every base
    residues = codons.reshape(-1, 3).T.tobytes().translate(_RESIDUES)  # 3 K residues, offset by offset

    # Every row ends in a PAD at every offset, so that each break ends a run and no run spans two rows.
    breaks = np.flatnonzero(np.frombuffer(residues, np.uint8) < _LETTER)
    run_starts = np.concatenate(([0], breaks[:-1] + 1))
    row_sizes = np.array([len(row) // 3 for row in rows])
    row_starts = np.arange(3)[:, None] * (len(codons) // 3) + (np.cumsum(row_sizes) - row_sizes)  # (3, R)
    # One number orders runs by length, then from right to left, and gives both back.
    span = len(residues)
    keys = (breaks - run_starts) * span + (span - 1 - run_starts)
    best = np.maximum.reduceat(keys, np.searchsorted(breaks, row_starts.ravel()))  # (3 R,)
    lengths, from_right = np.divmod(best.reshape(3, -1, 2).transpose(1, 2, 0).reshape(-1, 6), span)  # (C, 6)
    return residues, span - 1 - from_right, lengths


def _longest_of_six(residues: bytes, starts: _Integers, lengths: _Integers, rule: FrameRule) -> npt.NDArray[np.bool_]:
    """Return which of the six runs (C, 6) of each chunk the rule `longest_segments` keeps."""
    least = np.maximum(rule.min_aa, rule.min_share * lengths.max(axis=1, keepdims=True))
    wanted = np.clip((lengths >= least).sum(axis=1), 1, rule.segments)  # (C,)
    ranked = np.sort(lengths, axis=1)  # ascending
    shortest = ranked[np.arange(len(ranked)), 6 - wanted]  # (C,): the shortest run that is kept
    kept: npt.NDArray[np.bool_] = (lengths >= shortest[:, None]) & (lengths > 0)
    for row in np.flatnonzero(kept.sum(axis=1) > wanted).tolist():  # several of the shortest length
        runs = zip(lengths[row].tolist(), starts[row].tolist(), range(6), strict=True)
        order = sorted((-length, residues[start : start + length], column) for length, start, column in runs)
        kept[row] = False
        kept[row, [column for _, _, column in order[: wanted[row]]]] = True
    return kept
