"""What is done to the letters of a record, by plain loops: what `virnucpro.seq.letters` must give."""

import re

from virnucpro.types import Letters

IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG",
}  # fmt: skip
COMPLEMENT = dict(zip("ACGT", "TGCA", strict=True))


def homopolymer(letters: str) -> int:
    """Return the length of the homopolymer that letters begin with."""
    longest = 0
    for base in (base for base in ("A", "C", "G", "TU") if sum(map(letters[:16].count, base)) >= 8):
        score = best = length = 0
        for place, letter in enumerate(letters, start=1):
            score += 1 if letter in base else -3 if letter in "ACGTU" else 0
            if score < best - 6:
                break
            if score > best:
                best, length = score, place
        longest = max(longest, length if best >= 8 else 0)
    return longest


def pieces_of(sequence: str) -> tuple[list[tuple[int, int]], Letters]:
    """Return the pieces of a sequence and what was done to its letters."""
    gaps = [gap.span() for gap in re.finditer("[^ACGTU]{50,}", sequence)]
    ends = [place for gap in gaps for place in gap]
    pieces, trimmed = [], 0
    for begin, end in zip([0, *ends[1::2]], [*ends[::2], len(sequence)], strict=True):
        before = None
        while before != (begin, end):
            before = begin, end
            begin += len(re.match("[^ACGTU]*", sequence[begin:end])[0])
            end -= len(re.match("[^ACGTU]*", sequence[begin:end][::-1])[0])
            head, tail = homopolymer(sequence[begin:end]), homopolymer(sequence[begin:end][::-1])
            trimmed += min(head + tail, end - begin)
            begin, end = begin + head, max(end - tail, begin + head)
        if begin < end:
            pieces.append((begin, end))
    resolved = sum(ambiguous(sequence[begin:end]) for begin, end in pieces)
    inner = sum(begin > 0 and end < len(sequence) for begin, end in gaps)
    return pieces, Letters(ambiguous(sequence), resolved, inner, trimmed)


def ambiguous(sequence: str) -> int:
    return sum(letter not in "ACGTU" for letter in sequence)


def leave_out(letters: str) -> str:
    """Return letters without the whole codons of runs of ambiguous letters; what is left of a run is N."""
    return re.sub("[^ACGTU]{3,}", lambda run: "N" * (len(run[0]) % 3), letters)


def resolve(letters: str) -> str:
    """Return what is read of a part of a piece."""
    sets = [sum(1 << "ACGT".index(base) for base in IUPAC.get(letter, "ACGT")) for letter in leave_out(letters)]
    return "".join(b if b in "ACGTU" else fill(sets, place) for place, b in enumerate(leave_out(letters)))


def fill(sets: list[int], place: int) -> str:
    """Return the base for an ambiguous letter, chosen by a hash of its neighbours, see `virnucpro.seq.letters`."""
    left = (sets[place::-1] + [0] * (len(sets) + 4))[: len(sets) + 4]
    right = [int(f"{one:04b}"[::-1], 2) for one in sets[place:]] + [0] * (place + 4)
    near, far = (left, right) if left <= right else (right, left)
    mixed = 0
    for letter in (pair for both in zip(near[1:5], far[1:5], strict=True) for pair in both):
        mixed = (mixed ^ letter) * 0x9E3779B97F4A7C15 % 2**64
        mixed ^= mixed >> 29
    choices = [base for bit, base in enumerate("ACGT") if near[0] >> bit & 1]
    chosen = choices[(mixed >> 32) % len(choices)]
    return chosen if near is left else COMPLEMENT[chosen]
