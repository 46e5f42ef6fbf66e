"""The filter of 9-mers: what it finds, how often it errs, and its bytes."""

import hashlib

import numpy as np
import pytest

from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.kmer_filter import MAX_HITS, KmerFilter, KmerLayout, kmer_codes
from virnucpro.seq.strings import Strings

SIDES = ("virus", "host")
RULE = FrameRule("longest_segments", segments=3, min_aa=20, nucleotide="longest")


def random_codes(n: int, seed: int) -> np.ndarray:
    return np.unique(np.random.default_rng(seed).integers(0, 2**45, n, dtype=np.uint64))


def filter_of(codes: np.ndarray, seed: int = 0) -> tuple[KmerFilter, np.ndarray]:
    side = np.random.default_rng(seed).integers(0, len(SIDES), len(codes))
    return KmerFilter.build(codes, side, SIDES), side


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 257, 5000, 60000])
def test_every_9_mer_is_found_on_its_side(n: int) -> None:
    codes = random_codes(n, seed=n)
    made, side = filter_of(codes)
    assert made.find(codes).tolist() == side.tolist()


def test_one_other_9_mer_in_65536_is_taken_for_one_of_each_side() -> None:
    codes = random_codes(60000, seed=1)
    made, _ = filter_of(codes)
    others = np.setdiff1d(random_codes(1_000_000, seed=2), codes)
    # 16 numbers stand for sides at most, and all are equally likely: so many false hits are expected for each.
    expected = len(others) / 65536
    found = np.bincount(made.find(others), minlength=65536)[:16]
    assert np.abs(found - expected).max() < 6 * np.sqrt(expected)  # six standard deviations
    assert abs(found.sum() - 16 * expected) < 6 * np.sqrt(16 * expected)


def test_a_filter_takes_about_two_and_a_quarter_bytes_a_9_mer() -> None:
    made, _ = filter_of(random_codes(60000, seed=1))
    assert made.cells.nbytes / 60000 < 2.6  # fewer than a million need slightly more


def test_the_same_9_mers_give_the_same_bytes() -> None:
    codes = np.arange(2000, dtype=np.uint64) * np.uint64(1_000_003)
    made = KmerFilter.build(codes, np.arange(2000) % 2, SIDES)
    assert made.layout == KmerLayout(SIDES, one_in=1, segment=256, seed=0)
    assert hashlib.sha256(made.cells.astype("<u2").tobytes()).hexdigest().startswith("97503cd59c103b2133c4a7fe70dd4f46")


def test_only_whole_9_mers_of_known_residues_count() -> None:
    proteins = Strings.of([b"", b"MKVLAAGI", b"MKVLAAGIT", b"XMKVLAAGITX", b"MKVLXAGITTMKV", b"MKVL*MKVLAAGITA"])
    codes, owner = kmer_codes(proteins)
    assert owner.tolist() == [2, 3, 5, 5]
    assert codes[0] == codes[1] == codes[2] != codes[3]


@pytest.mark.parametrize("one_in", [2, 3, 7])
def test_one_9_mer_of_several_is_used_wherever_it_is(one_in: int) -> None:
    residues = np.random.default_rng(0).choice(np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8), 30000).tobytes()
    every, _ = kmer_codes(Strings.of([residues]))
    used, _ = kmer_codes(Strings.of([residues]), one_in)
    share = 1 / one_in
    assert abs(len(used) / len(every) - share) < 6 * np.sqrt(share * (1 - share) / len(every))
    pieces, _ = kmer_codes(Strings.of([residues[i : i + 9] for i in range(len(residues) - 8)]), one_in)
    assert pieces.tolist() == used.tolist()


def test_hits_of_a_chunk_are_limited() -> None:
    dna = b"GCT" * 7 + b"AAATGGGATGTTCATCGTTTTAATGAACAACTTTGG" + b"GCT" * 7
    frames = find_frames(Strings.of([dna, b"TAA", dna[:60]]), RULE)
    codes, owner = kmer_codes(frames.proteins)
    chunk = frames.chunk[owner]
    assert (chunk == 0).sum() > MAX_HITS
    made = KmerFilter.build(np.unique(codes), np.zeros(len(np.unique(codes)), np.int64), SIDES)
    sums = made.sums(frames, 4)
    assert sums.dtype == np.float64
    assert sums[:, 0].tolist() == [min(MAX_HITS, int((chunk == row).sum())) for row in range(4)]
    assert sums[1].tolist() == sums[3].tolist() == [0, 0]


def test_hits_of_a_chunk_do_not_depend_on_those_beside_it() -> None:
    rng = np.random.default_rng(4)
    letters = [rng.choice(np.frombuffer(b"ACGT", np.uint8), 300).tobytes() for _ in range(500)]
    frames = find_frames(Strings.of(letters), RULE)
    assert len(frames.proteins.data) > 2 * 32768  # more than two blocks
    codes = np.unique(kmer_codes(frames.proteins)[0])[::20]
    made, _ = filter_of(codes)
    sums = made.sums(frames, len(letters))
    assert sums.any(axis=0).all()
    alone = [made.sums(find_frames(Strings.of([one]), RULE), 1)[0].tolist() for one in letters]
    assert sums.tolist() == alone


def test_without_frames_there_are_no_hits() -> None:
    made, _ = filter_of(random_codes(100, seed=3))
    assert made.sums(find_frames(Strings.of([]), RULE), 0).shape == (0, 2)
    assert made.sums(find_frames(Strings.of([b"TAA", b"A"]), RULE), 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("codes", "side", "message"),
    [([7, 7], [0, 1], "given twice"), ([7, 8], [0, 2], "must lie in 0..1")],
    ids=["twice", "no such side"],
)
def test_wrong_9_mers_are_refused(codes: list[int], side: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KmerFilter.build(np.array(codes, np.uint64), np.array(side), SIDES)


@pytest.mark.parametrize(
    ("sides", "one_in", "segment", "message"),
    [
        ((), 1, 4, "1 to 16 sides"),
        (SIDES, 0, 4, "one_in"),
        (SIDES, 1, 3, "power of two"),
        (SIDES, 1, 0, "power of two"),
    ],
    ids=["no side", "none", "3", "0"],
)
def test_a_wrong_layout_is_refused(sides: tuple[str, ...], one_in: int, segment: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KmerLayout(sides, one_in, segment, 0)


@pytest.mark.parametrize("shape", [8, 13, (3, 4)], ids=["two segments", "a part", "a matrix"])
def test_cells_that_do_not_fit_are_refused(shape: int | tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="3 whole segments of 4"):
        KmerFilter(KmerLayout(SIDES, 1, 4, 0), np.zeros(shape, np.uint16))
