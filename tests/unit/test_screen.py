"""Which chunks are scored."""

import pytest

from virnucpro.models.description import ModelDescription
from virnucpro.models.registry import BUNDLED
from virnucpro.seq import Limits, screened_chunks
from virnucpro.types import Chunk, Record, Status

LIMITS = Limits(min_length=10, chunk_length=20, max_ambiguous=0.5)


def test_the_defaults_are_those_of_the_bundled_model() -> None:
    model = ModelDescription.from_json(BUNDLED / "model.json")
    assert Limits() == Limits(model.min_length, model.chunk_length, model.max_ambiguous)


@pytest.mark.parametrize(
    ("sequence", "status", "reason"),
    [
        (b"", Status.EMPTY, "the record has no sequence"),
        (b"ACGTACGTA", Status.TOO_SHORT, "9 nt, needs 10"),
    ],
)
def test_records_that_are_not_cut(sequence: bytes, status: Status, reason: str) -> None:
    assert list(screened_chunks(Record("r", sequence), LIMITS)) == [(None, status, reason)]


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
    [(chunk, found, reason)] = screened_chunks(Record("r", sequence), LIMITS)
    assert (chunk, found) == (Chunk("r", 1, 0, sequence), status)
    assert reason == ("" if status is Status.OK else "60% of the letters are not A, C, G, T or U")


def test_every_chunk_is_judged_alone() -> None:
    found = list(screened_chunks(Record("r", b"N" * 20 + b"A" * 20), LIMITS))
    assert [(chunk.start, status) for chunk, status, _ in found if chunk] == [
        (0, Status.TOO_AMBIGUOUS),
        (20, Status.OK),
    ]
