"""The filter of 9-mers against sets of 9-mers and plain loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.config import FrameRule
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.kmer_filter import MAX_HITS, K, KmerFilter, kmer_codes
from virnucpro.seq.strings import Strings

SIDES = ("virus", "bacteria", "other")
PROTEINS = st.lists(st.text("ACDEFGHIKLMNPQRSTVWYX*", max_size=40).map(str.encode), max_size=8)
CHUNKS = st.lists(st.text("ACGTN", max_size=120).map(str.encode), max_size=8)
RULES = st.sampled_from([FrameRule(), FrameRule("longest_segments", 3, 5, "longest", 0.5)])


def plain_9_mers(protein: bytes) -> list[bytes]:
    found = [protein[i : i + K] for i in range(len(protein) - K + 1)]
    return [kmer for kmer in found if not set(kmer) & set(b"X*")]


@given(PROTEINS)
def test_numbers_stand_for_9_mers(proteins: list[bytes]) -> None:
    codes, owner = kmer_codes(Strings.of(proteins))
    plain = [(kmer, row) for row, protein in enumerate(proteins) for kmer in plain_9_mers(protein)]
    assert owner.tolist() == [row for _, row in plain]
    numbers = dict(zip([kmer for kmer, _ in plain], codes.tolist(), strict=True))
    assert [numbers[kmer] for kmer, _ in plain] == codes.tolist()  # one number each
    assert len(set(numbers.values())) == len(numbers)  # and different ones


@given(CHUNKS, CHUNKS, RULES, st.integers(1, 3), st.integers(0, 2**32))
def test_sums_are_those_of_sets_and_a_plain_loop(
    known: list[bytes], others: list[bytes], rule: FrameRule, one_in: int, seed: int
) -> None:
    codes = np.unique(kmer_codes(find_frames(Strings.of(known), rule).proteins, one_in)[0])
    side = np.random.default_rng(seed).integers(0, len(SIDES), len(codes))
    made = KmerFilter.build(codes, side, SIDES, one_in)
    sets = dict(zip(codes.tolist(), side.tolist(), strict=True))
    frames = find_frames(Strings.of(others + known), rule)
    expected = np.zeros((len(others + known), len(SIDES)))
    for chunk, protein in zip(frames.chunk.tolist(), frames.proteins, strict=True):
        for code in kmer_codes(Strings.of([protein]), one_in)[0]:
            found = sets.get(int(code), int(made.find(np.array([code]))[0]))  # a false hit is a hit, too
            if found < len(SIDES):
                expected[chunk, found] += 1
    assert made.sums(frames, len(expected)).tolist() == np.minimum(expected, MAX_HITS).tolist()
