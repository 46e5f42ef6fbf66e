"""Score records so that one of them which makes the model fail costs no other record its row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from virnucpro.errors import NumericalError
from virnucpro.types import Call, Record, RecordResult, Status

logger = logging.getLogger(__name__)

Score = Callable[[Sequence[Record]], Iterable[RecordResult]]

# How often the whole unit, and at the end a record alone, is tried: a fault may pass (memory taken by others).
TRIES = 3
# As many records that fail, and none that has a score: then the fault lies in the model or the machine.
MOST_FAILED = 16
# What torch raises for a fault of a kernel or of memory; its own subclasses of RuntimeError are among them.
FAULTS = (NumericalError, RuntimeError, MemoryError)
_MISTAKES = (NotImplementedError, RecursionError)  # also RuntimeErrors, but never a record's fault


def score_isolated(score: Score, records: Sequence[Record]) -> list[RecordResult]:
    """Return the results of `records`, in order; one that makes `score` fail has the status `failed`.

    All are tried together three times, then by halves, until each record at fault is alone; that one is
    tried three times again.

    Raises:
        NumericalError, RuntimeError, MemoryError: 16 records have failed alone before any got a score.
    """
    results: list[RecordResult] = []
    n_failed = 0
    pieces = [records]  # to be tried, the next one last
    while pieces:
        piece = pieces.pop()
        tries = TRIES if len(piece) in (1, len(records)) else 1
        outcome = _tried(score, piece, tries)
        if isinstance(outcome, list):
            results += outcome
        elif len(piece) > 1:
            middle = len(piece) // 2
            pieces += [piece[middle:], piece[:middle]]
        else:
            n_failed += 1
            if n_failed == MOST_FAILED and all(result.call.virus_score is None for result in results):
                raise outcome
            results.append(_failed(piece[0], outcome))
    return results


def _tried(score: Score, records: Sequence[Record], tries: int) -> list[RecordResult] | Exception:
    """Return the results, or the error of the last of `tries` attempts."""
    for attempt in range(1, tries + 1):
        try:
            return list(score(records))
        except FAULTS as error:
            if isinstance(error, _MISTAKES):
                raise
            logger.info("%d records failed, attempt %d of %d: %s", len(records), attempt, tries, _reason(error))
            fault = error.with_traceback(None)  # which holds the tensors of the attempt
    return fault


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().replace("\t", " ") if lines else type(error).__name__


def _failed(record: Record, error: Exception) -> RecordResult:
    reason = _reason(error)
    logger.warning("record %r (number %d) failed and has no score: %s", record.id, record.index + 1, reason)
    call = Call(record.id, record.length, None, None, 0, 0, None, Status.FAILED, reason)
    return RecordResult(record, call, ())
