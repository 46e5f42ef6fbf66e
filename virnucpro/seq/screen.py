"""What a record and its chunks must be so that a model scores them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.seq.strings import Strings, translate

# A number of two bits a base; 64 is anything else, which is a part of no triplet.
_CODES = bytes((b"ACGT".find(letter) if letter != ord("U") else 3) % 65 for letter in range(256))  # -1 % 65 = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a record must be to be scored; the defaults are those of the bundled model.

    `min_length` and `chunk_length` are in nt; `max_ambiguous` is the largest share of letters other than A, C, G,
    T, U in a chunk, `max_repetition` its largest share of equal pairs of triplets, see `repetitions`. With `pieces`,
    records are cut at runs of N and trimmed and single ambiguous letters are filled, see `virnucpro.seq.letters`; the
    published models read letters as they are.
    """

    min_length: int = 75
    chunk_length: int = 500
    max_ambiguous: float = 0.5
    max_repetition: float = 0.15
    pieces: bool = True


def repetitions(sequences: Strings) -> npt.NDArray[np.float64]:
    """Return how repetitive each sequence is, (N,): the probability that two of its triplets are the same.

    This is the score of DUST (Morgulis et al. 2006, doi:10.1089/cmb.2006.13.1028), the sum of c (c - 1) / 2 over the
    counts c of the triplets, as a share of the largest that it can be, 1 of a homopolymer. Triplets with ambiguous
    letters do not count.

    >>> repetitions(Strings.of([b"ACACACACACACACACACACAC", b"GATTACA"])).tolist()
    [0.47368421052631576, 0.0]
    """
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
