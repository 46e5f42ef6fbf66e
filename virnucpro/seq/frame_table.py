"""FrameTable: the kept reading frames of many chunks as flat arrays.

C chunks are scanned together, as one text in which each is padded to a multiple of 3. A codon begins at every position
of this text. The codons are sorted by position modulo 3 and translated twice: as they are, and in reverse order as
codons of the other strand. This gives 6 K residues, in which each frame of each chunk is one span that ends with a
break.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.config import FrameRule
from virnucpro.seq.strings import U_AS_T, Ints, Strings, borders, gather, join_spans, spread, translate

_BASES = b"TCAG"
_STANDARD_CODE = b"FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"  # NCBI table 1, in TCAG order
_PAD = b"\n"
# A letter is a number of two bits and two flags, ambiguous (64) and past the end (128).
_CODES = bytes(128 if letter in _PAD else _BASES.find(letter) % 65 for letter in range(256))  # absent: -1 % 65 = 64
# A codon is three such numbers (0..63) and the flags of all three letters: X where one is ambiguous, else PAD.
_RESIDUES = _STANDARD_CODE + b"X" * 64 + _PAD * 128
# The same codons read on the other strand: the complement of a base differs from it in the second bit, 2.
_OTHER_STRAND = bytes(
    _RESIDUES[(16 * (codon & 3) + (codon & 12) + (codon >> 4)) ^ 42] if codon < 64 else _RESIDUES[codon]
    for codon in range(256)
)
_LETTER = ord("A")  # `*` and PAD, which end a run, sort before the letters
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")
_BLOCK_NT = 1 << 17  # bases scanned at a time: the working set (about 20 bytes a base) stays in the cache


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """F kept frames of chunks, chunk after chunk, each chunk's in the order F1 F2 F3 R1 R2 R3.

    `chunk` (F,) is the row of the chunk, `column` (F,) the index of the frame in that order, 0 to 5. `proteins` (F) are
    the residues that the rule keeps. Frame f goes with row `nucleotide[f]`, (F,), of `nucleotides` (S): one for each
    frame, or with `rule.nucleotide` "longest" one for all frames of a chunk.
    """

    chunk: Ints
    column: npt.NDArray[np.int8]
    proteins: Strings
    nucleotides: Strings
    nucleotide: Ints

    def __len__(self) -> int:
        return len(self.chunk)

    @property
    def strand(self) -> npt.NDArray[np.int8]:
        """The strand of each frame, +1 or -1, (F,)."""
        return np.where(self.column < 3, 1, -1).astype(np.int8)

    @property
    def offset(self) -> npt.NDArray[np.int8]:
        """The start of each frame on its strand, 0, 1 or 2 nt from the 5' end, (F,)."""
        return (self.column % 3).astype(np.int8)

    def of_chunks(self, kept: npt.NDArray[np.bool_]) -> FrameTable:
        """Return the frames of some of the chunks; `kept` (C,) says which. Chunks keep their rows."""
        rows = np.flatnonzero(kept[self.chunk])
        used, nucleotide = np.unique(self.nucleotide[rows], return_inverse=True)
        return FrameTable(
            self.chunk[rows], self.column[rows], self.proteins.take(rows), self.nucleotides.take(used), nucleotide
        )

    def own_nucleotides(self) -> Strings:
        """Return the nucleotides beside each frame, (F)."""
        return self.nucleotides.take(self.nucleotide)


@dataclass(frozen=True, slots=True)
class _Runs:
    """The longest stop-free run of residues of each frame; of several, the leftmost on its own strand.

    `residues` holds the residues of all frames; the run of a frame begins at `starts` and has `lengths` residues, both
    (C, 6) in the order F1 F2 F3 R1 R2 R3.
    """

    residues: npt.NDArray[np.uint8]
    starts: Ints
    lengths: Ints

    def take(self, kept: npt.NDArray[np.bool_]) -> Strings:
        """Return the runs that are kept, (C, 6), row by row."""
        return gather(self.residues, self.starts[kept], self.lengths[kept])


def reverse_complement(sequence: bytes) -> bytes:
    """Return the other strand, 5' to 3'; only A, C, G and T are complemented, other letters stay as they are.

    Args:
        sequence: upper-case nt.

    >>> reverse_complement(b"AACGTN")
    b'NACGTT'
    """
    return sequence.translate(_COMPLEMENT)[::-1]


def find_frames(letters: Strings, rule: FrameRule) -> FrameTable:
    """Return the kept frames of chunks.

    `stop_free` is the rule of the published VirNucPro (Li et al. 2025, bbaf224) with its quirks: a codon
    not made only of A, C, G and T (U is not T) is left out of the protein; a frame is kept when its protein
    has at least one residue and no stop; its nucleotides are the strand from the offset, 3 nt per residue and, if the
    strand is longer, one base more.

    `longest_segments` reads U as T and an ambiguous codon as X. It takes the longest stop-free run of residues of each
    frame (the leftmost on its own strand). Of these six it keeps the `rule.segments` longest with at least
    `rule.min_aa` residues and `rule.min_share` of the longest; the longest is always kept. Runs of equal length are
    ordered by their bytes, so that a chunk and its reverse complement give the same choice. The nucleotides are the
    whole strand from the offset; with `rule.nucleotide` "longest", those of the first frame in this order.

    Args:
        letters: upper-case chunks (C) of any lengths.
        rule: which frames are kept.

    >>> table = find_frames(Strings.of([b"ATGGCATAG", b"GATTACA"]), FrameRule("longest_segments", 1, 1))
    >>> table.chunk.tolist(), table.column.tolist(), table.proteins.tolist()
    ([0, 1], [3, 3], [b'LCH', b'CN'])
    """
    find = _stop_free if rule.kind == "stop_free" else _longest_segments
    parts, first = [], []
    for begin, end in _blocks(letters):
        parts.append(find(letters.slice(begin, end), rule))
        first.append(begin)
    seen = borders(np.array([len(part.nucleotides) for part in parts], np.int64))
    return FrameTable(
        np.concatenate([part.chunk + begin for part, begin in zip(parts, first, strict=True)]),
        np.concatenate([part.column for part in parts]),
        Strings.concat([part.proteins for part in parts]),
        Strings.concat([part.nucleotides for part in parts]),
        np.concatenate([part.nucleotide + begin for part, begin in zip(parts, seen[:-1], strict=True)]),
    )


def stop_free_runs(letters: Strings, min_aa: int) -> Strings:
    """Return every stop-free run of at least `min_aa` residues in the six frames of sequences (C), in no set order.

    U is read as T and an ambiguous codon as X.

    >>> stop_free_runs(Strings.of([b"ATGGCATAG", b"GATTACA"]), 3).tolist()
    [b'LCH']
    """
    parts = []
    for begin, end in _blocks(letters):
        part = letters.slice(begin, end)
        residues, _ = _six_frames(Strings(translate(part.data, U_AS_T), part.starts))
        starts, ends = _runs_of(residues)
        kept = ends - starts >= min_aa
        parts.append(gather(residues, starts[kept], (ends - starts)[kept]))
    return Strings.concat(parts)


def _blocks(letters: Strings) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of consecutive strings of about `_BLOCK_NT` bases, at least one pair."""
    begin = end = 0
    while begin == 0 or begin < len(letters):
        end = min(int(np.searchsorted(letters.starts, letters.starts[begin] + _BLOCK_NT)), len(letters))
        yield begin, end
        if (begin := end) == 0:
            return


def _stop_free(letters: Strings, rule: FrameRule) -> FrameTable:
    runs = _longest_runs(letters)
    codons = (letters.lengths[:, None] - [0, 1, 2, 0, 1, 2]) // 3  # (C, 6)
    kept = (runs.lengths == codons) & (codons > 0)
    chunk, column = np.nonzero(kept)
    residues = runs.take(kept)
    known = residues.data != ord("X")
    counts = np.diff(borders(known.astype(np.int64))[residues.starts])
    whole = counts > 0
    chunk, column, counts = chunk[whole], column[whole], counts[whole]
    nucleotides = _on_strands(letters, chunk, column, 3 * counts + 1)
    proteins = Strings(residues.data[known], borders(counts))
    return FrameTable(chunk, column.astype(np.int8), proteins, nucleotides, np.arange(len(chunk)))


def _longest_segments(letters: Strings, rule: FrameRule) -> FrameTable:
    letters = Strings(translate(letters.data, U_AS_T), letters.starts)
    runs = _longest_runs(letters)
    minimum = np.maximum(rule.min_aa, rule.min_share * runs.lengths.max(axis=1, keepdims=True, initial=0))
    wanted = np.clip((runs.lengths >= minimum).sum(axis=1), 1, rule.segments)  # (C,)
    ranks = _ranks(runs, wanted)
    kept = (ranks < wanted[:, None]) & (runs.lengths > 0)
    chunk, column = np.nonzero(kept)
    source, strand, nucleotide = chunk, column, np.arange(len(chunk))
    if rule.nucleotide == "longest":
        first = np.diff(chunk, prepend=-1) > 0
        source, nucleotide = chunk[first], np.cumsum(first) - 1
        strand = ranks[source].argmin(axis=1)
    nucleotides = _on_strands(letters, source, strand, letters.lengths[source])
    return FrameTable(chunk, column.astype(np.int8), runs.take(kept), nucleotides, nucleotide)


def _on_strands(letters: Strings, chunk: Ints, column: Ints, max_nt: Ints) -> Strings:
    """Return the nucleotides (S) of chunks from the start of a frame, at most `max_nt` each; arguments are (S,)."""
    size = len(letters.data)
    both = np.concatenate((letters.data, translate(letters.data, _COMPLEMENT)[::-1]))
    begins = np.where(column < 3, letters.starts[chunk], 2 * size - letters.starts[chunk + 1])
    offset = column % 3
    return join_spans(both, begins + offset, np.minimum(letters.lengths[chunk] - offset, max_nt))


def _six_frames(letters: Strings) -> tuple[npt.NDArray[np.uint8], Ints]:
    """Return the residues of all frames of chunks (C), (6 K,), and where each chunk ends in their text, (C,)."""
    pads = 3 - letters.lengths % 3  # at least one, so that each frame of each chunk ends with a break
    ends = np.cumsum(letters.lengths + pads)
    codes = np.full((ends[-1] if len(ends) else 0) + 2, 128, np.uint8)
    inner = np.ones(len(codes), np.bool_)
    inner[-2:] = inner[spread(ends - pads, pads)] = False
    codes[inner] = translate(letters.data, _CODES)
    bases, flags = codes & 3, codes & 192
    codons = bases[:-2] << 4 | bases[1:-1] << 2 | codes[2:] | flags[:-2] | flags[1:-1]  # (3 K,): one at every base
    columns = codons.reshape(-1, 3).T.tobytes()
    return np.frombuffer(columns.translate(_RESIDUES) + columns.translate(_OTHER_STRAND)[::-1], np.uint8), ends


def _runs_of(residues: npt.NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Return where each run between two breaks begins and ends; many are empty."""
    breaks = np.append(np.flatnonzero(residues < _LETTER), len(residues))
    return np.concatenate(([0], breaks[:-1] + 1)), breaks


def _longest_runs(letters: Strings) -> _Runs:
    residues, ends = _six_frames(letters)
    run_starts, breaks = _runs_of(residues)
    span, widths = len(residues), np.diff(ends, prepend=0)
    # One number encodes length and position of a run and sorts by length, then from right to left.
    keys = (breaks - run_starts) * span + (span - 1 - run_starts)
    offsets = np.arange(3)[:, None] * (span // 6)
    forward, backward = offsets + (ends - widths) // 3, span + 1 - offsets - ends // 3  # (3, C): begins
    in_order = np.concatenate((forward.ravel(), backward.ravel()[::-1]))
    best = np.maximum.reduceat(keys, np.searchsorted(breaks, in_order)) if len(letters) else keys[:0]
    forward, backward = best[: forward.size].reshape(3, -1), best[forward.size :][::-1].reshape(3, -1)
    # On the other strand, offset o is the column of codons at positions (length - o) % 3.
    turned = (letters.lengths[:, None] - np.arange(3)) % 3  # (C, 3)
    keys = np.concatenate((forward.T, np.take_along_axis(backward.T, turned, axis=1)), axis=1)
    lengths, from_right = np.divmod(keys, span)  # (C, 6)
    return _Runs(residues, span - 1 - from_right, lengths)


def _ranks(runs: _Runs, wanted: Ints) -> Ints:
    """Return the rank of each run (C, 6) in its chunk: the longest has 0, ties are ordered by bytes, then by column.

    Bytes are compared only if they decide which run is first, or which are the first `wanted` (C,).
    """
    order = np.argsort(-runs.lengths, axis=1, kind="stable")  # (C, 6)
    ranked = np.take_along_axis(runs.lengths, order, axis=1)
    last = np.take_along_axis(ranked, wanted[:, None] - 1, axis=1)[:, 0]
    following = np.take_along_axis(ranked, np.minimum(wanted, 5)[:, None], axis=1)[:, 0]
    tied = (ranked[:, 0] == ranked[:, 1]) | ((last == following) & (wanted < 6))
    rows = np.flatnonzero(tied & (ranked[:, 0] > 0))
    sizes = np.frexp(ranked[rows, 0])[1]
    for size in np.unique(sizes):  # chunks of similar lengths together, because runs are padded to the longest
        some = rows[sizes == size]
        order[some] = _by_bytes(runs, some)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(6)[None], axis=1)
    return ranks


def _by_bytes(runs: _Runs, rows: Ints) -> Ints:
    """Return the columns of the runs of these chunks, sorted by bytes, (rows, 6)."""
    lengths = runs.lengths[rows]
    longest = int(lengths.max())
    filled = np.zeros((len(rows) * 6, longest), np.uint8)  # no residue is 0
    filled[np.arange(longest) < lengths.reshape(-1, 1)] = gather(
        runs.residues, runs.starts[rows].ravel(), lengths.ravel()
    ).data
    by_bytes = np.argsort(filled.view(f"S{longest}").reshape(-1, 6), axis=1, kind="stable")
    by_length = np.argsort(-np.take_along_axis(lengths, by_bytes, axis=1), axis=1, kind="stable")
    return np.take_along_axis(by_bytes, by_length, axis=1)
