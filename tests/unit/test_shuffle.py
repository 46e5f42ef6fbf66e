"""Shuffling keeps what it says it keeps and reaches all there is; artefacts are what they are called."""

from collections import Counter
from itertools import pairwise, permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.seq.frame_table import reverse_complement
from virnucpro.seq.screen import Limits, repetitions
from virnucpro.seq.strings import Strings
from virnucpro.train.shuffle import ADAPTERS, artefact, shuffle_dinucleotides


def shuffled(sequence: bytes, rng: np.random.Generator) -> bytes:
    return shuffle_dinucleotides(np.frombuffer(sequence, np.uint8), rng).tobytes()


@given(
    st.one_of(st.text(letters, min_size=1, max_size=500) for letters in ("ACGT", "AT", "ACGTN", "A")), st.integers(0)
)
def test_dinucleotides_and_both_ends_are_kept(text, seed):
    sequence = text.encode()
    found = shuffled(sequence, np.random.default_rng(seed))
    assert Counter(pairwise(found)) == Counter(pairwise(sequence))
    assert (found[0], found[-1], len(found)) == (sequence[0], sequence[-1], len(sequence))


def test_little_else_is_kept():
    rng = np.random.default_rng(1)
    sequence = bytes(rng.choice(list(b"ACGT"), 500).tolist())
    found = shuffled(sequence, rng)
    assert sum(a == b for a, b in zip(found, sequence, strict=True)) < 250  # a quarter by chance


def test_all_arrangements_are_as_likely():
    sequence = b"GCGAGTGGG"
    pairs = Counter(pairwise(sequence))
    every = {bytes(p) for p in permutations(sequence) if Counter(pairwise(p)) == pairs}
    every = {p for p in every if (p[0], p[-1]) == (sequence[0], sequence[-1])}
    rng, draws = np.random.default_rng(2), 6000
    found = Counter(shuffled(sequence, rng) for _ in range(draws))
    assert found.keys() == every
    assert len(every) > 10
    expected = draws / len(every)
    chi_square = sum((n - expected) ** 2 / expected for n in found.values())
    freedom = len(every) - 1
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5  # four standard deviations above its mean


def test_the_random_numbers_decide():
    sequence = b"ACGGCTAAGCTTACG" * 10
    same = [shuffled(sequence, np.random.default_rng(3)) for _ in range(2)]
    assert same[0] == same[1] != shuffled(sequence, np.random.default_rng(4))


def test_artefacts_are_repeats_or_adapters():
    rng = np.random.default_rng(5)
    known = b"|".join([*ADAPTERS, *map(reverse_complement, ADAPTERS)])
    made = [artefact(150, rng).tobytes() for _ in range(200)]
    assert {len(sequence) for sequence in made} == {150}
    repeats = [s for s in made if any(s[period:] == s[:-period] for period in range(1, 7))]
    assert 70 < len(repeats) < 130
    assert repetitions(Strings.of(repeats)).min() > Limits().max_repetition
    for sequence in set(made) - set(repeats):
        assert sequence[:33] in known
        assert sum(sequence[i : i + 12] in known for i in range(138)) > 60
