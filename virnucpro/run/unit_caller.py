"""Call the units of a run with a predictor in this process, and beside a GPU with processes for the text."""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager
from threading import Lock

from virnucpro.pipeline.isolation import FAULTS, call_isolated
from virnucpro.pipeline.predict import Predictor
from virnucpro.run.rows import UnitTables
from virnucpro.run.text_pool import TextPool
from virnucpro.seq.block import RecordBlock
from virnucpro.words import counted

logger = logging.getLogger(__name__)


class UnitCaller(AbstractContextManager["UnitCaller"]):
    """A predictor that makes the tables of units, for `at_a_time` threads at once.

    On a CPU the predictor uses all cores, so everything runs in the calling thread. Beside a GPU, the processes of
    `pool` do the text work of all units but the first, so that a small input does not wait for their start.
    """

    def __init__(self, predictor: Predictor, legacy: bool, pool: TextPool | None = None) -> None:
        self.predictor, self._legacy, self._pool = predictor, legacy, pool
        if pool is not None:
            # The thread that launches kernels needs the interpreter for each launch; by default others hold it 5 ms.
            sys.setswitchinterval(1e-4)
        self.at_a_time = 1 if pool is None else pool.size
        self._n_units, self._lock = 0, Lock()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop running threads after their current batch, and the processes."""
        self.predictor.stop()
        if self._pool is not None:
            self._pool.close()

    def tables(self, block: RecordBlock) -> UnitTables:
        """Return the tables of a block; a record on which the model fails gets a row with the reason."""
        with self._lock:
            self._n_units += 1
            pool = self._pool if self._n_units > 1 else None
        if pool is not None:
            try:
                return pool.tables(self.predictor.text, self._legacy, block, self.predictor.score)
            except FAULTS as error:
                logger.info(
                    "trying %s again in this process, after a failure in a text process: %s",
                    counted(len(block), "records"),
                    error,
                )
        parts = call_isolated(self.predictor.call, block, self.predictor.decision.n_hosts)
        return UnitTables.concat([UnitTables.of(calls, self.predictor.decision, self._legacy) for calls in parts])
