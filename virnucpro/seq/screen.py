"""Which records, and which of their chunks, a model scores, and why it does not score the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.seq.chunk import chunk_spans
from virnucpro.seq.letters import SLACK_NT, count_read, find_pieces, resolve
from virnucpro.seq.strings import Strings, translate
from virnucpro.types import Chunk, Record, Status

# A number of two bits a base; 64 is anything else, which is a part of no triplet.
_CODES = bytes((b"ACGT".find(letter) if letter != ord("U") else 3) % 65 for letter in range(256))  # -1 % 65 = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a record must be to be scored; the defaults are those of the bundled model.

    `min_length` and `chunk_length` are in nt; `max_ambiguous` is the largest share of letters other than A, C, G,
    T, U in a chunk, `max_repetition` its largest `repetition`. With `pieces`, records are cut at runs of N and trimmed
    and single ambiguous letters are filled, see `virnucpro.seq.letters`; the published models read letters as they are.
    """

    min_length: int = 75
    chunk_length: int = 500
    max_ambiguous: float = 0.5
    max_repetition: float = 0.15
    pieces: bool = True


def repetition(sequence: bytes) -> float:
    """Return how repetitive a sequence is: the probability that two of its triplets are the same, 1 of a homopolymer.

    This is the score of DUST (Morgulis et al. 2006, doi:10.1089/cmb.2006.13.1028), the sum of c (c - 1) / 2 over the
    counts c of the triplets, as a share of the largest that it can be. Triplets with ambiguous letters do not count.

    >>> repetition(b"ACACACACACACACACACACAC")
    0.47368421052631576
    """
    return float(repetitions(Strings.of([sequence]))[0])


def repetitions(sequences: Strings) -> npt.NDArray[np.float64]:
    """Return the `repetition` of each sequence, (N,)."""
    codes = translate(sequences.data, _CODES)
    triplets = np.empty(len(codes), np.uint8)
    triplets[:-2] = codes[:-2] << 4 | codes[1:-1] << 2 | codes[2:]
    ends = sequences.starts[1:][sequences.lengths > 0]
    bad = np.flatnonzero(codes & 64)
    for places in (bad, bad - 1, bad - 2, ends - 1, ends - 2):
        triplets[places[places >= 0]] = 64
    numbers = np.repeat(np.arange(len(sequences)) * 65, sequences.lengths)
    numbers += triplets
    counts = np.bincount(numbers, minlength=65 * len(sequences)).reshape(-1, 65)[:, :64]  # (N, 64)
    total = counts.sum(axis=1)
    same = np.einsum("nt,nt->n", counts, counts) - total
    return np.asarray(np.divide(same, total * (total - 1), out=np.zeros(len(total)), where=total > 1))


def screened_chunks(record: Record, limits: Limits) -> Iterator[tuple[Chunk | None, Status, str]]:
    """Yield every chunk of a record with its status, `ok` if it can be scored, and the reason if it cannot.

    A record that is not cut at all yields one item without a chunk. Of a pair each mate is cut by itself, and one that
    is too short or empty is a chunk of its own; the second mate's chunks follow the first's, counted on. With
    `limits.pieces`, the chunks are those of the pieces that are long enough, and their sequence is what is read there.
    """
    longest = max(len(part.sequence) for part in record.parts)
    if longest == 0:
        yield None, Status.EMPTY, "the record has no sequence"
        return
    if longest < limits.min_length:
        yield None, Status.TOO_SHORT, f"{longest} nt, needs {limits.min_length}"
        return
    number = 0
    for part in record.parts:
        for start, end, letters, status, reason in _chunks_of_part(part.sequence, limits):
            number += 1
            yield Chunk(record.id, number, start, letters, end - start - len(letters)), status, reason


def _chunks_of_part(sequence: bytes, limits: Limits) -> Iterator[tuple[int, int, bytes, Status, str]]:
    """Yield start, end, letters to read, status and reason of each chunk of a record or a mate."""
    size, least = len(sequence), limits.min_length
    if size < least:
        status = Status.TOO_SHORT if size else Status.EMPTY
        yield 0, size, sequence, status, f"the mate has {size} nt, needs {least}"
        return
    sizes = {(0, size): size}
    if limits.pieces:
        sizes = {piece: count_read(sequence, *piece) for piece in find_pieces(sequence)[0]}
        least -= min(SLACK_NT, least // 5)
    long_enough = [piece for piece, nt in sizes.items() if nt >= least]
    for begin, end in long_enough or [(0, size)]:
        for start, stop in ((begin + a, begin + b) for a, b in chunk_spans(end - begin, limits.chunk_length)):
            letters = sequence[start:stop]
            status, reason = _judged(letters, limits)
            if status is Status.OK and not long_enough:
                longest = max(sizes.values(), default=0)
                status, reason = Status.TOO_SHORT, f"{longest} nt without N and homopolymer ends, needs {least}"
            if limits.pieces and status is Status.OK:
                letters = resolve(letters)
            yield start, stop, letters, status, reason


def _judged(sequence: bytes, limits: Limits) -> tuple[Status, str]:
    ambiguous = len(sequence.translate(None, b"ACGTU")) / len(sequence)
    if ambiguous > limits.max_ambiguous:
        return Status.TOO_AMBIGUOUS, f"{ambiguous:.0%} of the letters are not A, C, G, T or U"
    if limits.max_repetition < 1 and (repeated := repetition(sequence)) > limits.max_repetition:
        return Status.LOW_COMPLEXITY, f"{repeated:.0%} of the pairs of triplets are equal"
    return Status.OK, ""
