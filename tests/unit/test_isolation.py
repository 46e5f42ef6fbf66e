"""Scoring by halves: the record at fault is found, the others keep their results, mistakes are not hidden."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.errors import NumericalError, StoppedError
from virnucpro.pipeline.isolation import MAX_FAILED, TRIES, score_isolated
from virnucpro.types import (
    Call,
    ChunkResult,
    Record,
    RecordResult,
    Status,
)


def answer(record: Record) -> RecordResult:
    call = Call(record.id, 0, True, 0.9, 1, 0, None, Status.OK)
    return RecordResult(record, call, (ChunkResult(0, 3, call, ()),))


def failing(bad: set[int], error: Exception):
    def score(records):
        for record in records:
            if record.index in bad:
                raise error
            yield answer(record)

    return score


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=10))
def test_the_records_at_fault_are_found_and_no_other(number, bad):
    records = [Record(f"r{i}", b"", index=i) for i in range(number)]
    results = score_isolated(failing(bad, NumericalError("not\tfinite\nsecond line")), records)
    assert [result.record for result in results] == records
    assert {r.record.index for r in results if r.call.status is Status.FAILED} == bad & set(range(number))
    for result in results:
        if result.record.index in bad:
            assert (result.call.reason, result.call.virus_score) == ("not finite", None)


def test_a_fault_that_passes_leaves_no_trace():
    calls = []

    def score(records):
        calls.append(len(records))
        if len(calls) < TRIES:
            raise RuntimeError("out of memory")
        return map(answer, records)

    records = [Record("a", b""), Record("b", b"")]
    assert [result.call.status for result in score_isolated(score, records)] == [Status.OK] * 2
    assert calls == [2] * TRIES


@pytest.mark.parametrize(
    "error", [TypeError("x"), KeyError("x"), NotImplementedError("x"), RecursionError("x"), StoppedError("x", 75)]
)
def test_mistakes_and_signals_are_not_a_record_s_fault(error):
    with pytest.raises(type(error)):
        score_isolated(failing({1}, error), [Record(f"r{i}", b"", index=i) for i in range(4)])


def test_when_all_records_fail_the_error_is_raised():
    records = [Record(f"r{i}", b"", index=i) for i in range(MAX_FAILED)]
    with pytest.raises(NumericalError):
        score_isolated(failing(set(range(100)), NumericalError("x")), records)
    few = score_isolated(failing(set(range(100)), NumericalError("x")), records[1:])
    assert {result.call.status for result in few} == {Status.FAILED}
