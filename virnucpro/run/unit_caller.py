"""Call the units of a run with a predictor in this process, and beside a GPU with processes for the text."""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager
from threading import Lock

from virnucpro.pipeline.isolation import FAULTS, call_isolated
from virnucpro.pipeline.predict import Predictor
from virnucpro.run.rows import UnitTables
from virnucpro.run.text_pool import TextPool, text_processes
from virnucpro.seq.block import RecordBlock
from virnucpro.words import counted

logger = logging.getLogger(__name__)


class UnitCaller(AbstractContextManager["UnitCaller"]):
    """A predictor that makes the tables of units, for `at_a_time` threads at once.

    On a CPU the predictor uses all cores, so everything runs in the calling thread. Beside a GPU, processes do the text
    work of all units but the first; they start with the second unit, so that a small input does not wait for them.
    `processes` is their number; None chooses it by the device.
    """

    def __init__(self, predictor: Predictor, legacy: bool, processes: int | None = None) -> None:
        self.predictor, self._legacy = predictor, legacy
        if processes is None:
            processes = text_processes(predictor.options.threads) if predictor.device.type == "cuda" else 0
        if processes:
            # The thread that launches kernels needs the interpreter for each launch; by default others hold it 5 ms.
            sys.setswitchinterval(1e-4)
        self.at_a_time = max(1, processes)
        self._processes, self._n_units, self._lock = processes, 0, Lock()
        self._pool: TextPool | None = None

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
            if self._n_units == 2 and self._processes:
                self._pool = TextPool(self.predictor.text, self._legacy, self._processes)
            pool = self._pool
        if pool is not None:
            try:
                return pool.tables(block, self.predictor.score)
            except FAULTS as error:
                logger.info(
                    "trying %s again in this process, after a failure in a text process: %s",
                    counted(len(block), "records"),
                    error,
                )
        parts = call_isolated(self.predictor.call, block, self.predictor.decision.n_hosts)
        return UnitTables.concat([UnitTables.of(calls, self.predictor.decision, self._legacy) for calls in parts])
