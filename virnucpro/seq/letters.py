"""Clean the letters of records: N, other ambiguous letters, and homopolymer ends, which real reads have.

A record is cut into *pieces* at every run of `GAP_NT` or more ambiguous letters. Homopolymers and ambiguous letters are
trimmed from the ends of each piece, such as the poly-G tail that two-colour instruments write past the end of a
fragment. Within a piece, the whole codons of a run of ambiguous letters are left out, so that reading frames continue
after it. Each remaining ambiguous letter is filled with one of the bases that it may stand for. The result depends only
on the sequence, and is the same for a sequence and its reverse complement.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from virnucpro.seq.strings import U_AS_T, Bytes, Ints, Strings, borders, translate
from virnucpro.types import Letters

Bools = npt.NDArray[np.bool_]

# A run of this many ambiguous letters cuts a record: it is the gap of a scaffold, of unknown length. A shorter run is
# assumed to have the right length, as in a masked read or consensus.
GAP_NT = 50
# The end of a piece is a homopolymer if it reaches at least this score: 1 for each letter of its base, -3 for each
# other base. It extends until the score has fallen by more than 6, and ends at the best score.
HOMOPOLYMER_SCORE = 8
_OTHER_BASE, _LARGEST_FALL = 3, 6
_CONTEXT_NT = 4  # letters on either side that determine the choice of a base
# Trimming may remove bases of the sequence itself, so a piece may be this much shorter than the minimum of a record.
SLACK_NT = 15

_KNOWN = b"ACGTU"
_AMBIGUOUS_FLAG = bytes(letter not in _KNOWN for letter in range(256))
_GAP = re.compile(rb"[^ACGTU]{%d,}" % GAP_NT)
_AMBIGUOUS = re.compile(rb"[^ACGTU]*")
_CODONS = re.compile(rb"[^ACGTU]{3,}")
# Runs of one base, of other bases, or of ambiguous letters, which do not change the score.
_RUNS = {
    base: re.compile(rb"([%b]+)|([%b]+)|[^ACGTU]+" % (letters, bytes(set(_KNOWN) - set(letters))))
    for base, letters in ((b"A", b"A"), (b"C", b"C"), (b"G", b"G"), (b"T", b"TU"))
}
_BLOCK_NT = 1 << 20
_GLANCE_NT = 16
_END_NT = 1 << 10  # examined first for a homopolymer at an end
_LOOK_NT = 24  # examined at either end to rule a homopolymer out
_ACGT = np.frombuffer(b"ACGT", np.uint8)[:, None]

# Each letter as a set of bases, one bit each: A 1, C 2, G 4, T 8. A letter that is not an IUPAC code may be any base.
_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG",
}  # fmt: skip
_SETS = np.full(256, 15, np.uint8)
_SETS[[ord(letter) for letter in _IUPAC]] = [sum(1 << "ACGT".index(b) for b in bases) for bases in _IUPAC.values()]
_COMPLEMENT = np.array([int(f"{bases:04b}"[::-1], 2) for bases in range(16)], np.uint8)
_SIZE = np.array([bases.bit_count() for bases in range(16)])
_CHOICES = np.zeros((16, 4), np.uint8)  # the bases of each set, as sets of one base
for _set in range(16):
    _members = [1 << bit for bit in range(4) if _set >> bit & 1]
    _CHOICES[_set, : len(_members)] = _members
_BASE = np.zeros(16, np.uint8)
_BASE[[1, 2, 4, 8]] = list(b"ACGT")


def count_ambiguous(sequence: bytes | memoryview, begin: int = 0, end: int | None = None) -> int:
    """Return the number of letters other than A, C, G, T and U in sequence[begin:end]."""
    end = len(sequence) if end is None else end
    starts = range(begin, end, _BLOCK_NT)  # in blocks, so that a chromosome is not copied whole
    return sum(len(bytes(sequence[start : min(start + _BLOCK_NT, end)]).translate(None, _KNOWN)) for start in starts)


def find_pieces(sequence: bytes | memoryview) -> tuple[list[tuple[int, int]], Letters]:
    """Return the pieces of an upper-case sequence as (start, end), 0-based and half-open, and its counts.

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
    """Trim ambiguous letters and homopolymers from both ends; return begin, end and the nt of homopolymer."""
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
    """Return the length of the homopolymer at the beginning, or `backwards` at the end, of sequence[begin:end]."""

    def take(size: int) -> bytes:
        if backwards:
            return bytes(sequence[max(end - size, begin) : end])[::-1]
        return bytes(sequence[begin : min(begin + size, end)])

    start, longest = take(_GLANCE_NT), 0
    for base, runs in _RUNS.items():
        if start.count(base) + (start.count(b"U") if base == b"T" else 0) < HOMOPOLYMER_SCORE:
            continue  # a homopolymer has at most two other letters before or among this many
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
    """Return parts of pieces (N) with only A, C, G, T and U if they are `wanted` (N,), and others unchanged.

    The whole codons of a run of ambiguous letters are left out, and its rest is read as N. Each remaining ambiguous
    letter is filled with one of the bases that it may stand for, chosen by a hash of the `_CONTEXT_NT` letters on
    either side. The hash reads them on the strand on which the neighbourhood, from the inside out, sorts first, so that
    the reverse complement of a sequence is filled with the complements of its bases.

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
    """Return the rows of the ambiguous letters that `resolve_rows` leaves out; see `find_ambiguous`."""
    size, number = _runs(places, rows)
    return rows[(size >= 3) & (number >= size % 3)]


def find_ambiguous(letters: Strings) -> tuple[Ints, Ints]:
    """Return the positions in `letters.data` of letters other than A, C, G, T, U, and their rows, both (P,)."""
    places = ambiguous_places(letters.data)
    return places, np.searchsorted(letters.starts, places, side="right") - 1


def ambiguous_places(data: Bytes) -> Ints:
    """Return the positions of letters other than A, C, G, T and U, (P,)."""
    return np.flatnonzero(translate(data, _AMBIGUOUS_FLAG))


def _runs(places: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Return for each of these positions (P,) the length of its run and its index in the run."""
    first = np.flatnonzero((np.diff(places, prepend=-2) != 1) | (np.diff(rows, prepend=-1) != 0))
    sizes = np.diff(np.append(first, len(places)))
    return np.repeat(sizes, sizes), np.arange(len(places)) - np.repeat(first, sizes)


def _choose(data: Bytes, places: Ints, begins: Ints, ends: Ints) -> Bytes:
    """Return a base, as a set of one, for each position (P,) in strings from `begins` to `ends` (P,)."""

    def around(distance: int, of: Ints) -> tuple[Bytes, Bytes]:
        """Return the letters at a distance before and after, as sets, the latter complemented; 0 beyond the ends."""
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
    """Return which sequences (N,), if they have no ambiguous letters, may end in a homopolymer.

    They are those in which the score of a base over the first `_LOOK_NT` letters reaches `HOMOPOLYMER_SCORE`, or has
    not fallen by more than `_LARGEST_FALL` at the last letter: about one random sequence in 5 000.
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
