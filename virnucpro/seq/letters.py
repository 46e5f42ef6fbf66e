"""Letters and ends that real reads have and genomes have not: N, other ambiguous letters, homopolymer ends.

A *piece* is a part of a record that is read in one go. A record is cut at every run of `GAP_NT` or more ambiguous
letters. Homopolymers and ambiguous letters are trimmed from the ends of each piece, such as the poly-G tail that
two-colour instruments write past the end of a fragment. Within a piece, the whole codons of a run of ambiguous letters
are left out, so that reading frames continue behind it. Each ambiguous letter that remains is filled with one of the
bases that it may be. All of it follows from the sequence alone; a sequence and its reverse complement give the same.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from virnucpro.seq.strings import U_AS_T, Bytes, Ints, Strings, borders, translate
from virnucpro.types import Letters

Bools = npt.NDArray[np.bool_]

# So many ambiguous letters in a row cut a record: the gap of a scaffold, whose length in codons is not known. A shorter
# run stands for as many bases as it has letters, as where a read or a consensus was masked.
GAP_NT = 50
# The end of a piece is a homopolymer if its base makes at least this score: 1 for each letter of the base, -3 for each
# other base. It goes on until the score has fallen by more than 6, and ends where it was best.
HOMOPOLYMER_SCORE = 8
_OTHER_BASE, _LARGEST_FALL = 3, 6
_CONTEXT_NT = 4  # letters on either side that the choice of a base follows from
# Trimming may take bases that belong to the sequence: a piece may be so much shorter than a record must be.
SLACK_NT = 15

_KNOWN = b"ACGTU"
_AMBIGUOUS_FLAG = bytes(letter not in _KNOWN for letter in range(256))
_GAP = re.compile(rb"[^ACGTU]{%d,}" % GAP_NT)
_AMBIGUOUS = re.compile(rb"[^ACGTU]*")
_CODONS = re.compile(rb"[^ACGTU]{3,}")
# Letters of one base, of other bases, or ambiguous ones, which change no score.
_RUNS = {
    base: re.compile(rb"([%b]+)|([%b]+)|[^ACGTU]+" % (letters, bytes(set(_KNOWN) - set(letters))))
    for base, letters in ((b"A", b"A"), (b"C", b"C"), (b"G", b"G"), (b"T", b"TU"))
}
_BLOCK_NT = 1 << 20
_GLANCE_NT = 16
_END_NT = 1 << 10  # looked at first for a homopolymer at an end
_LOOK_NT = 24  # at either end, to tell where there is none
_ACGT = np.frombuffer(b"ACGT", np.uint8)[:, None]

# Each letter as a set of bases, one bit each, A 1, C 2, G 4, T 8: what is no IUPAC code may be any of them.
_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG",
}  # fmt: skip
_SETS = np.full(256, 15, np.uint8)
_SETS[[ord(letter) for letter in _IUPAC]] = [sum(1 << "ACGT".index(b) for b in bases) for bases in _IUPAC.values()]
_COMPLEMENT = np.array([int(f"{bases:04b}"[::-1], 2) for bases in range(16)], np.uint8)
_SIZE = np.array([bases.bit_count() for bases in range(16)])
_CHOICES = np.zeros((16, 4), np.uint8)  # the bases of a set, as sets of one
for _set in range(16):
    _members = [1 << bit for bit in range(4) if _set >> bit & 1]
    _CHOICES[_set, : len(_members)] = _members
_BASE = np.zeros(16, np.uint8)
_BASE[[1, 2, 4, 8]] = list(b"ACGT")


def count_ambiguous(sequence: bytes | memoryview, begin: int = 0, end: int | None = None) -> int:
    """Return the number of letters other than A, C, G, T and U in sequence[begin:end]."""
    end = len(sequence) if end is None else end
    starts = range(begin, end, _BLOCK_NT)  # a chromosome is not copied whole
    return sum(len(bytes(sequence[start : min(start + _BLOCK_NT, end)]).translate(None, _KNOWN)) for start in starts)


def find_pieces(sequence: bytes | memoryview) -> tuple[list[tuple[int, int]], Letters]:
    """Return the pieces of an upper-case sequence as (start, end), 0-based and half-open, and what was done to it.

    >>> find_pieces(b"NNGATTACANNTTGCAACCCGGGGGGGGGGGG")[0]
    [(2, 20)]
    """
    ambiguous = count_ambiguous(sequence)
    spans, start, gaps = [], 0, 0
    if ambiguous >= GAP_NT:
        for gap in _GAP.finditer(sequence):
            spans.append((start, gap.start()))
            gaps += gap.start() > 0 and gap.end() < len(sequence)
            start = gap.end()
    spans.append((start, len(sequence)))
    pieces, trimmed = [], 0
    for span in spans:
        begin, end, cut = _trim(sequence, *span)
        trimmed += cut
        if begin < end:
            pieces.append((begin, end))
    resolved = sum(count_ambiguous(sequence, *piece) for piece in pieces) if ambiguous else 0
    return pieces, Letters(ambiguous, resolved, gaps, trimmed)


def _trim(sequence: bytes | memoryview, begin: int, end: int) -> tuple[int, int, int]:
    """Take ambiguous letters and homopolymers from both ends; return what is left and the nt of homopolymer."""
    trimmed = 0
    while begin < end:
        first = _AMBIGUOUS.match(sequence, begin, end).end()  # type: ignore[union-attr]
        last = end
        while last > first and sequence[last - 1] not in _KNOWN:
            last -= 1
        head, tail = _homopolymer(sequence, first, last), _homopolymer(sequence, first, last, backwards=True)
        trimmed += min(head + tail, last - first)
        if (first + head, last - tail) == (begin, end):
            break
        begin, end = first + head, last - tail
    return begin, max(begin, end), trimmed


def _homopolymer(sequence: bytes | memoryview, begin: int, end: int, backwards: bool = False) -> int:
    """Return the length of the homopolymer that sequence[begin:end] begins with, or read backwards begins with."""

    def take(size: int) -> bytes:
        if backwards:
            return bytes(sequence[max(end - size, begin) : end])[::-1]
        return bytes(sequence[begin : min(begin + size, end)])

    start, longest = take(_GLANCE_NT), 0
    for base, runs in _RUNS.items():
        if start.count(base) + (start.count(b"U") if base == b"T" else 0) < HOMOPOLYMER_SCORE:
            continue  # within the largest fall, at most two other letters stand before or among so many
        size = _END_NT
        letters = take(size)
        while not (scored := _score(runs, letters))[1] and len(letters) == size:
            size *= 8
            letters = take(size)
        longest = max(longest, scored[0])
    return longest


def _score(runs: re.Pattern[bytes], letters: bytes) -> tuple[int, bool]:
    """Return the length of a homopolymer at the beginning of letters, and whether it ends before they do."""
    score = best = length = 0
    for run in runs.finditer(letters):
        if run[1]:
            score += len(run[1])
            if score > best:
                best, length = score, run.end()
        elif run[2]:
            score -= _OTHER_BASE * len(run[2])
            if score < best - _LARGEST_FALL:
                return (length if best >= HOMOPOLYMER_SCORE else 0), True
    return (length if best >= HOMOPOLYMER_SCORE else 0), False


def count_read(sequence: bytes | memoryview, begin: int, end: int) -> int:
    """Return how many letters `resolve_rows` would return of a piece."""
    if not count_ambiguous(sequence, begin, end):
        return end - begin
    runs = (run.end() - run.start() for run in _CODONS.finditer(sequence, begin, end))
    return end - begin - sum(nt - nt % 3 for nt in runs)


def resolve_rows(letters: Strings, wanted: Bools) -> Strings:
    """Return parts of pieces (N) in A, C, G, T and U alone, those that are `wanted` (N,); the others as they are.

    Of a run of ambiguous letters the whole codons are left out, and what is left of it is read as N. Each letter that
    remains is filled with one of the bases that it may stand for, chosen by a hash of the `_CONTEXT_NT` letters on
    either side. They are read on the strand on which the neighbourhood, going outwards, sorts first, so that the
    reverse complement of a sequence is filled with the complements of its bases.

    >>> resolve_rows(Strings.of([b"GATTNCARGGA", b"GATTANNNNCA", b"NNN"]), np.array([True, True, False])).tolist()
    [b'GATTTCAAGGA', b'GATTAACA', b'NNN']
    """
    places, rows = find_ambiguous(letters)
    places, rows = places[wanted[rows]], rows[wanted[rows]]
    if not len(places):
        return letters
    size, number = _runs(places, rows)
    long, over = size >= 3, size % 3
    out = long & (number >= over)
    data = letters.data.copy()
    data[places[long]] = ord("N")
    if out.any():
        kept = np.ones(len(data), np.bool_)
        kept[places[out]] = False
        data = data[kept]
        letters = Strings(data, borders(letters.lengths - np.bincount(rows[out], minlength=len(letters))))
        places, rows = (places - np.cumsum(out))[~out], rows[~out]
    data[places] = _BASE[_choose(data, places, letters.starts[rows], letters.starts[rows + 1])]
    return Strings(data, letters.starts)


def left_out(places: Ints, rows: Ints) -> Ints:
    """Return the rows of those of the ambiguous letters that `resolve_rows` leaves out; see `find_ambiguous`."""
    size, number = _runs(places, rows)
    return rows[(size >= 3) & (number >= size % 3)]


def find_ambiguous(letters: Strings) -> tuple[Ints, Ints]:
    """Return the places in `letters.data` of letters other than A, C, G, T, U, and the rows they are in, both (P,)."""
    places = ambiguous_places(letters.data)
    return places, np.searchsorted(letters.starts, places, side="right") - 1


def ambiguous_places(data: Bytes) -> Ints:
    """Return the places of letters other than A, C, G, T and U, (P,)."""
    return np.flatnonzero(translate(data, _AMBIGUOUS_FLAG))


def _runs(places: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Return, for each of these places (P,), the length of the run of letters it is in and its number there from 0."""
    first = np.flatnonzero((np.diff(places, prepend=-2) != 1) | (np.diff(rows, prepend=-1) != 0))
    sizes = np.diff(np.append(first, len(places)))
    return np.repeat(sizes, sizes), np.arange(len(places)) - np.repeat(first, sizes)


def _choose(data: Bytes, places: Ints, begins: Ints, ends: Ints) -> Bytes:
    """Return a base, as a set of one, for each of these places (P,) of strings from `begins` to `ends` (P,)."""

    def around(distance: int, of: Ints) -> tuple[Bytes, Bytes]:
        """Return the letters, as sets, at a distance before and after, the latter complemented; 0 beyond the ends."""
        before, after = places[of] - distance, places[of] + distance
        left = np.where(before >= begins[of], _SETS[data[np.maximum(before, 0)]], 0)
        right = np.where(after < ends[of], _COMPLEMENT[_SETS[data[np.minimum(after, len(data) - 1)]]], 0)
        return left.astype(np.uint8), right.astype(np.uint8)

    forward = np.ones(len(places), np.bool_)
    every = undecided = np.arange(len(places))
    distance = 0  # first the letter itself: R and Y are complements
    while len(undecided):
        left, right = around(distance, undecided)
        forward[undecided] = left <= right
        undecided, distance = undecided[(left == right) & (left > 0)], distance + 1  # 0: its own reverse complement
    letters = _SETS[data[places]]
    mine = np.where(forward, letters, _COMPLEMENT[letters])
    mixed = np.zeros(len(places), np.uint64)
    for distance in range(1, _CONTEXT_NT + 1):
        left, right = around(distance, every)
        for letter in (np.where(forward, left, right), np.where(forward, right, left)):
            mixed = (mixed ^ letter) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    chosen = _CHOICES[mine, (mixed >> np.uint64(32)) % _SIZE[mine].astype(np.uint64)]
    return np.asarray(np.where(forward, chosen, _COMPLEMENT[chosen]), np.uint8)


def may_end_in_homopolymer(sequences: Strings) -> Bools:
    """Tell of which sequences (N,) an end may be a homopolymer, if there is no ambiguous letter in them.

    It is one where the score of a base over the first `_LOOK_NT` letters reaches `HOMOPOLYMER_SCORE`, or has not fallen
    by more than `_LARGEST_FALL` at the last of them. About one random sequence in 5 000 is such.
    """
    found = np.zeros(len(sequences), np.bool_)
    if not len(sequences.data):
        return found
    for backwards in (False, True):
        score = np.zeros((4, len(sequences)), np.int8)
        best = score.copy()
        for distance in range(_LOOK_NT):
            places = sequences.starts[1:] - 1 - distance if backwards else sequences.starts[:-1] + distance
            letters = translate(sequences.data.take(places, mode="clip"), U_AS_T)
            mine = (letters == _ACGT) & (sequences.lengths > distance)  # (4, N)
            score += mine.view(np.int8) * np.int8(1 + _OTHER_BASE) - np.int8(_OTHER_BASE)
            np.maximum(best, score, out=best)
        found |= ((best >= HOMOPOLYMER_SCORE) | (score >= -_LARGEST_FALL)).any(axis=0)
    return found
