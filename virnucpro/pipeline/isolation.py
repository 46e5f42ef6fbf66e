"""Call a block so that a record on which the model fails does not affect the other records."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from virnucpro.errors import NumericalError
from virnucpro.pipeline.calls import CallTable, failed_calls
from virnucpro.seq.block import RecordBlock
from virnucpro.words import counted

logger = logging.getLogger(__name__)

# Attempts with the whole block, and with a single record: a fault may pass, such as lack of memory.
TRIES = 3
# If this many records fail and none has a score, the model or the machine is at fault, not the records.
MAX_FAILED = 16
# What torch raises for faults of kernels and memory; its own errors are subclasses of RuntimeError.
FAULTS = (NumericalError, RuntimeError, MemoryError)
_MISTAKES = (NotImplementedError, RecursionError)  # subclasses of RuntimeError that are never a record's fault


def call_isolated(call: Callable[[RecordBlock], CallTable], block: RecordBlock, n_hosts: int) -> list[CallTable]:
    """Return the calls of a block, in consecutive parts if a record fails; `n_hosts` is that of the decision.

    The block is tried three times, then its halves, and so on, until each failing record is alone. That record is
    tried three more times and then gets the status `failed`.

    Raises:
        NumericalError, RuntimeError, MemoryError: 16 records have failed alone before any got a score.
    """
    done: list[CallTable] = []
    n_failed = 0
    pieces = [block]  # a stack
    while pieces:
        piece = pieces.pop()
        outcome = _try(call, piece, TRIES if len(piece) in (1, len(block)) else 1)
        if isinstance(outcome, CallTable):
            done.append(outcome)
        elif len(piece) > 1:
            middle = len(piece) // 2
            pieces += [piece.slice(middle, len(piece)), piece.slice(0, middle)]
        else:
            n_failed += 1
            if n_failed == MAX_FAILED and all(np.isnan(table.record.score).all() for table in done):
                raise outcome
            reason = _reason(outcome)
            name, number = piece.record(0).id, piece.first + 1
            logger.warning("the model failed on record %r (number %d), which gets no score: %s", name, number, reason)
            done.append(failed_calls(piece, reason, n_hosts))
    return done


def _try(call: Callable[[RecordBlock], CallTable], block: RecordBlock, tries: int) -> CallTable | Exception:
    """Try up to `tries` times; return the calls, or the last error."""
    for attempt in range(1, tries + 1):
        try:
            return call(block)
        except FAULTS as error:
            if isinstance(error, _MISTAKES):
                raise
            logger.info(
                "%s failed, attempt %d of %d: %s", counted(len(block), "records"), attempt, tries, _reason(error)
            )
            fault = error.with_traceback(None)  # the traceback would keep the attempt's tensors in memory
    return fault


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().replace("\t", " ") if lines else type(error).__name__
