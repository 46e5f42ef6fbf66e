"""Which chunks are scored."""

import numpy as np
import pytest
from as_objects import chunks
from specified_types import Chunk

from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.locations import BUNDLED
from virnucpro.seq.screen import Limits, repetitions
from virnucpro.seq.strings import Strings
from virnucpro.types import Record, Status

# Letters as they are: what is cut and filled of them is in test_letters.py.
LIMITS = Limits(min_length=10, chunk_length=20, max_ambiguous=0.5, pieces=False)


def test_the_defaults_are_those_of_the_bundled_model() -> None:
    model = ModelDescription.from_json(BUNDLED / "model.json")
    assert Limits() == Limits(model.min_length, model.chunk_length, model.max_ambiguous, model.max_repetition)


@pytest.mark.parametrize(
    ("sequence", "status", "reason"),
    [
        (b"", Status.EMPTY, "the record has no sequence"),
        (b"ACGTACGTA", Status.TOO_SHORT, "9 nt, needs 10"),
    ],
)
def test_records_that_are_not_cut(sequence: bytes, status: Status, reason: str) -> None:
    assert chunks(Record("r", sequence), LIMITS) == [(None, status, reason)]


@pytest.mark.parametrize(
    ("sequence", "status"),
    [
        (b"ACGTUACGTU", Status.OK),
        (b"ACGTUNNNNN", Status.OK),
        (b"ACGTNNNNNN", Status.TOO_AMBIGUOUS),
        (b"ACGTXY-.*R", Status.TOO_AMBIGUOUS),
    ],
)
def test_ambiguity(sequence: bytes, status: Status) -> None:
    [(chunk, found, reason)] = chunks(Record("r", sequence), LIMITS)
    assert (chunk, found) == (Chunk("r", 1, 0, sequence), status)
    assert reason == ("" if status is Status.OK else "60% of the letters are not A, C, G, T or U")


def test_every_chunk_is_judged_alone() -> None:
    found = chunks(Record("r", b"N" * 20 + b"GATTACAGCCTGAGGTCAAT"), LIMITS)
    assert [(chunk.start, status) for chunk, status, _ in found if chunk] == [
        (0, Status.TOO_AMBIGUOUS),
        (20, Status.OK),
    ]


def repetition(sequence: bytes) -> float:
    return float(repetitions(Strings.of([sequence]))[0])


def plain_repetition(sequence: bytes) -> float:
    triplets = [sequence[i : i + 3] for i in range(len(sequence) - 2)]
    triplets = [t for t in triplets if not t.strip(b"ACGT")]
    pairs = [a == b for i, a in enumerate(triplets) for b in triplets[:i]]
    return sum(pairs) / len(pairs) if pairs else 0.0


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        (b"A" * 75, 1.0),
        (b"AC" * 40, 0.5),
        (b"ACG" * 40, 1 / 3),
        (b"AACCGT" * 40, 1 / 6),
        (b"", 0.0),
        (b"AC", 0.0),
        (b"ACGT", 0.0),
        (b"N" * 50, 0.0),
    ],
)
def test_repetition_of_simple_repeats(sequence, expected):
    assert repetition(sequence) == pytest.approx(expected, abs=0.01)


def test_repetition_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    for letters in (b"ACGT", b"AAAT", b"ACGTN"):
        sequence = bytes(rng.choice(list(letters), 120).tolist())
        assert repetition(sequence) == pytest.approx(plain_repetition(sequence), abs=1e-12)
        assert repetition(sequence.replace(b"T", b"U")) == repetition(sequence)


def test_simple_chunks_are_not_scored():
    limits = Limits(10, 40, 0.5, max_repetition=0.3)
    found = chunks(Record("r", b"AC" * 20 + b"GATTACAGCCTGAGGTCAAT" * 2), limits)
    assert [(status, reason) for _, status, reason in found] == [
        (Status.LOW_COMPLEXITY, "49% of the pairs of triplets are equal"),
        (Status.OK, ""),
    ]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            b"ACGTTGCA" * 5,
            b"GATTACAC" * 5,
            [(n, 20 * (n % 2 == 0), 20 + 20 * (n % 2 == 0), "ok") for n in (1, 2, 3, 4)],
        ),
        (b"ACGTTGCAAC", b"GATTAC", [(1, 0, 10, "ok"), (2, 0, 6, "too_short")]),
        (b"", b"ACGTTGCAAC", [(1, 0, 0, "empty"), (2, 0, 10, "ok")]),
    ],
)
def test_the_chunks_of_a_pair_follow_each_other(first, second, expected):
    pair = Record("p", b"", mates=(Record("p/1", first), Record("p/2", second)))
    found = chunks(pair, LIMITS)
    assert [(c.index, c.start, c.start + len(c.sequence), status) for c, status, _ in found] == expected
    assert all(chunk.record_id == "p" for chunk, _, _ in found)
    joined = b"".join(chunk.sequence for chunk, _, _ in found)
    assert joined == first + second


@pytest.mark.parametrize(
    ("first", "second", "status", "reason"),
    [
        (b"ACGT", b"ACGTACGTA", Status.TOO_SHORT, "9 nt, needs 10"),
        (b"", b"", Status.EMPTY, "the record has no sequence"),
    ],
)
def test_pairs_that_are_not_cut(first, second, status, reason):
    pair = Record("p", b"", mates=(Record("p", first), Record("p", second)))
    assert chunks(pair, LIMITS) == [(None, status, reason)]
