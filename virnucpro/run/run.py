"""The main loop of a run: keep or do each unit of the input, then finish the files of the run.

A task (`run/task.py`) says what is done with a unit, a runner (`run/local.py`, `distributed/`) where it is done, and an
output (`run/predictions.py`, `run/embeddings.py`) makes files from the units.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from virnucpro.errors import OutputError
from virnucpro.run.directory import Directory
from virnucpro.run.local import open_local
from virnucpro.run.manifest import RunnerReport
from virnucpro.run.progress import Counter, shown_progress
from virnucpro.run.runner import Done, Runner
from virnucpro.run.state import RunState
from virnucpro.run.tally import C
from virnucpro.run.task import Task
from virnucpro.run.units import Unit
from virnucpro.seq.source import Source

ShowProgress = Callable[[Source | None], AbstractContextManager[Counter]]
OpenRunner = Callable[[Any, Any], AbstractContextManager[Runner[C]]]  # called with a task and its directory


class Output(Protocol[C]):
    """The files that a run makes, and the input that it reads."""

    @property
    def task(self) -> Task[C]: ...
    @property
    def directory(self) -> Directory: ...
    @property
    def source(self) -> Source | None: ...

    def opened(self) -> AbstractContextManager[object]:
        """Lock the directory and look for an earlier run. A run that fails before its first unit changes nothing.

        Raises:
            OutputError, ConfigError: the directory holds files that must not be replaced, or cannot be used.
        """

    def start(self, setup: Any) -> RunState[C] | None:
        """Prepare a run that computes with `setup`; return None if it is already complete.

        Raises:
            ConfigError: the run to resume has another setup or input.
        """

    def units(self, state: RunState[C]) -> Iterator[Unit]:
        """Read the input, count it and yield the units of this run."""

    def kept(self, unit: Unit) -> C | None:
        """Return the counts of a unit that is already done, None if it is not.

        Raises:
            ConfigError: it was done from another input.
        """

    def finish(self, state: RunState[C], report: RunnerReport) -> None:
        """Make the files of the run from the files of all its units, and complete its manifest."""


def run(
    output: Output[C], open_runner: OpenRunner[C] = open_local, show: ShowProgress = shown_progress
) -> RunState[C] | None:
    """Do the missing units of a run and finish its files; return its counts, None if it was already complete.

    `show` gives the counter of records, which may show itself.

    Raises:
        VirnucproError: the message says what to do; finished units are kept for `IfExists.RESUME`.
    """
    try:
        with output.opened():
            with open_runner(output.task, output.directory) as runner:
                state = output.start(runner.setup)
                if state is None:
                    return None
                with show(output.source) as counter:
                    for unit in output.units(state):
                        counts = output.kept(unit)
                        if counts is not None:
                            state.keep(counts)
                            counter.advance(len(unit.records), new=False)
                        else:
                            _add(runner.submit(unit), state, counter)
                    _add(runner.finish(), state, counter)
                report = runner.report()
            output.finish(state, report)
            return state
    except OutputError as error:
        if os.path.isdir(output.directory.path / "units"):  # False also if the name is too long
            raise OutputError(f"{error}; finished units are kept, so continue with --resume") from error
        raise


def _add(done: Iterable[Done[C]], state: RunState[C], counter: Counter) -> None:
    for unit in done:
        state.add(unit.counts)
        counter.advance(unit.records, unit.worker, unit.ready)
