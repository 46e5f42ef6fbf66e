"""Call a block so that a record which makes the model fail costs no other record its row."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from virnucpro.errors import NumericalError
from virnucpro.pipeline.calls import CallTable, failed_calls
from virnucpro.seq.block import RecordBlock

logger = logging.getLogger(__name__)

# How often the whole block, and at the end a record alone, is tried: a fault may pass (memory taken by others).
TRIES = 3
# As many records that fail, and none that has a score: then the fault lies in the model or the machine.
MOST_FAILED = 16
# What torch raises for a fault of a kernel or of memory; its own subclasses of RuntimeError are among them.
FAULTS = (NumericalError, RuntimeError, MemoryError)
_MISTAKES = (NotImplementedError, RecursionError)  # also RuntimeErrors, but never a record's fault


def call_isolated(call: Callable[[RecordBlock], CallTable], block: RecordBlock) -> list[CallTable]:
    """Return the calls of a block, of consecutive parts where not all goes together.

    A record that makes `call` fail has the status `failed`. All are tried together three times, then by halves, until
    each record at fault is alone; that one is tried three times again.

    Raises:
        NumericalError, RuntimeError, MemoryError: 16 records have failed alone before any got a score.
    """
    done: list[CallTable] = []
    n_failed = 0
    pieces = [block]  # to be tried, the next one last
    while pieces:
        piece = pieces.pop()
        outcome = _tried(call, piece, TRIES if len(piece) in (1, len(block)) else 1)
        if isinstance(outcome, CallTable):
            done.append(outcome)
        elif len(piece) > 1:
            middle = len(piece) // 2
            pieces += [piece.slice(middle, len(piece)), piece.slice(0, middle)]
        else:
            n_failed += 1
            if n_failed == MOST_FAILED and all(np.isnan(table.record.score).all() for table in done):
                raise outcome
            reason = _reason(outcome)
            name, number = piece.record(0).id, piece.first + 1
            logger.warning("record %r (number %d) failed and has no score: %s", name, number, reason)
            done.append(failed_calls(piece, reason))
    return done


def _tried(call: Callable[[RecordBlock], CallTable], block: RecordBlock, tries: int) -> CallTable | Exception:
    """Return the calls, or the error of the last of `tries` attempts."""
    for attempt in range(1, tries + 1):
        try:
            return call(block)
        except FAULTS as error:
            if isinstance(error, _MISTAKES):
                raise
            logger.info("%d records failed, attempt %d of %d: %s", len(block), attempt, tries, _reason(error))
            fault = error.with_traceback(None)  # which holds the tensors of the attempt
    return fault


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().replace("\t", " ") if lines else type(error).__name__
