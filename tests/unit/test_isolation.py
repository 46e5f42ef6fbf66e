"""Calling by halves: the record at fault is found, the others keep their results, mistakes are not hidden."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.errors import NumericalError, StoppedError
from virnucpro.pipeline.calls import CallTable, FrameCalls, call_chunks, call_records
from virnucpro.pipeline.isolation import MAX_FAILED, TRIES, call_isolated
from virnucpro.scores.decision import Decision
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import cut_chunks
from virnucpro.seq.screen import Limits
from virnucpro.types import Record, RecordResult, Status


def records(number: int) -> RecordBlock:
    return RecordBlock.of([Record(f"r{i}", b"GATTACA" * 5, index=i + 3) for i in range(number)])


def answer(block: RecordBlock) -> CallTable:
    """Return the calls of records each of which has one chunk with one frame, and is a virus."""
    chunks, n = cut_chunks(block, Limits(10, 500, max_repetition=1)), len(block)
    given = FrameCalls(np.arange(n), np.zeros(n, np.int8), np.full(n, 11), np.tile([0.1, 0.9], (n, 1)), np.zeros(n))
    decision = Decision(None, None, None, 0.5)
    sums = np.zeros((len(chunks), 0))
    return call_records(block, chunks, *call_chunks(chunks, given, "max", decision, sums), decision, sums)


def failing(bad, error: Exception):
    """Return what calls blocks unless one of the records, by their numbers from 0, is bad."""

    def call(block: RecordBlock) -> CallTable:
        if not set(bad).isdisjoint(range(block.first - 3, block.first - 3 + len(block))):
            raise error
        return answer(block)

    return call


def results(tables: list[CallTable]) -> list[RecordResult]:
    return [result for table in tables for result in table.results()]


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=10))
def test_the_records_at_fault_are_found_and_no_other(number, bad):
    block = records(number)
    found = results(call_isolated(failing(bad, NumericalError("not\tfinite\nsecond line")), block, 0))
    assert [result.record for result in found] == list(block.records())
    assert {r.record.index - 3 for r in found if r.call.status is Status.FAILED} == bad & set(range(number))
    for result in found:
        if result.call.status is Status.FAILED:
            assert (result.call.reason, result.call.virus_score) == ("not finite", None)
        else:
            assert (result.call.status, result.call.is_virus) == (Status.OK, True)


def test_a_fault_that_passes_leaves_no_trace():
    calls = []

    def call(block: RecordBlock) -> CallTable:
        calls.append(len(block))
        if len(calls) < TRIES:
            raise RuntimeError("out of memory")
        return answer(block)

    assert [result.call.status for result in results(call_isolated(call, records(2), 0))] == [Status.OK] * 2
    assert calls == [2] * TRIES


@pytest.mark.parametrize(
    "error", [TypeError("x"), KeyError("x"), NotImplementedError("x"), RecursionError("x"), StoppedError("x", 75)]
)
def test_mistakes_and_signals_are_not_a_record_s_fault(error):
    with pytest.raises(type(error)):
        call_isolated(failing({1}, error), records(4), 0)


def test_when_all_records_fail_the_error_is_raised():
    block = records(MAX_FAILED)
    with pytest.raises(NumericalError):
        call_isolated(failing(range(100), NumericalError("x")), block, 0)
    few = call_isolated(failing(range(100), NumericalError("x")), block.slice(1, len(block)), 0)
    assert {result.call.status for result in results(few)} == {Status.FAILED}
