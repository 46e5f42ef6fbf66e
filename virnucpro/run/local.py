"""The local runner: one model on one device, in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic

from virnucpro.run.directory import Directory
from virnucpro.run.manifest import RunnerReport
from virnucpro.run.runner import Done, Runner
from virnucpro.run.tally import C
from virnucpro.run.task import Task
from virnucpro.run.units import Unit


class LocalRunner(Generic[C]):
    """Does units in this process: one at a time, or several in threads if the task asks for that."""

    def __init__(self, task: Task[C], directory: Directory) -> None:
        self._task = task.open(directory)
        self.setup = self._task.setup
        self._threads = self._task.at_a_time
        self._pool = ThreadPoolExecutor(self._threads)
        self._pending: deque[Future[Done[C]]] = deque()

    def submit(self, unit: Unit) -> Sequence[Done[C]]:
        if self._threads == 1:
            return [self._do(unit)]
        self._pending.append(self._pool.submit(self._do, unit))
        # One unit more than there are threads, so that no thread waits.
        return [self._pending.popleft().result()] if len(self._pending) > self._threads else []

    def finish(self) -> Iterator[Done[C]]:
        while self._pending:
            yield self._pending.popleft().result()

    def report(self) -> RunnerReport:
        return RunnerReport(self._task.recovered())

    def close(self) -> None:
        """Stop threads that are still at work, for example after an interrupt."""
        for future in self._pending:
            future.cancel()
        self._task.stop()
        self._pool.shutdown()

    def _do(self, unit: Unit) -> Done[C]:
        return Done(len(unit.records), self._task.do(unit))


@contextmanager
def open_local(task: Task[C], directory: Directory) -> Iterator[Runner[C]]:
    """Open the local runner."""
    runner = LocalRunner(task, directory)
    try:
        yield runner
    finally:
        runner.close()
