"""The main loop of a run: units of an input are kept or done, then the files of the run are finished.

What is done with a unit is a task (`run/task.py`), where it is done a runner (`run/local.py`, `distributed/`), and what
becomes of the units an output (`run/predictions.py`, `run/embeddings.py`).
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
OpenRunner = Callable[[Any, Any], AbstractContextManager[Runner[C]]]  # of a task and its directory


class Output(Protocol[C]):
    """The files that a run makes, and the input that it reads for them."""

    @property
    def task(self) -> Task[C]: ...
    @property
    def directory(self) -> Directory: ...
    @property
    def source(self) -> Source | None: ...

    def opened(self) -> AbstractContextManager[object]:
        """Lock the directory and look for an earlier run in it; a run that fails before its first unit changes nothing.

        Raises:
            OutputError, ConfigError: the directory holds what must not be replaced, or cannot be used.
        """

    def start(self, setup: Any) -> RunState[C] | None:
        """Prepare a run that computes with `setup`; return None if it is complete.

        Raises:
            ConfigError: the earlier run, which is to go on, is another one.
        """

    def units(self, state: RunState[C]) -> Iterator[Unit]:
        """Read the input, count it and yield the units of this run."""

    def kept(self, unit: Unit) -> C | None:
        """Return the counts of a unit that is done already.

        Raises:
            ConfigError: it was done, but of another input.
        """

    def finish(self, state: RunState[C], report: RunnerReport) -> None:
        """Make the files of the run, once the files of all its units are there, and complete its manifest."""


def run(
    output: Output[C], open_runner: OpenRunner[C] = open_local, show: ShowProgress = shown_progress
) -> RunState[C] | None:
    """Do the units of a run that are not done yet and finish its files; return its counts, None if it was complete.

    `show` gives the counter of records, which may show itself.

    Raises:
        VirnucproError: with what to do about it; what has been done is kept for `IfExists.RESUME`.
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
        if os.path.isdir(output.directory.path / "units"):  # also of a name that is too long
            raise OutputError(f"{error}; what is done is kept for --resume") from error
        raise


def _add(done: Iterable[Done[C]], state: RunState[C], counter: Counter) -> None:
    for unit in done:
        state.add(unit.counts)
        counter.advance(unit.records, unit.worker, unit.ready)
