"""The files of `virnucpro predict`, made of calls in memory by the code that makes them for the command."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from virnucpro.api.bars import shown
from virnucpro.api.called_block import CalledBlock
from virnucpro.errors import OutputError
from virnucpro.files import locked
from virnucpro.pipeline.predict import Predictor
from virnucpro.report.write import write_report
from virnucpro.run.directory import IfExists, RunDirectory
from virnucpro.run.manifest import RunnerReport
from virnucpro.run.outputs import Outputs
from virnucpro.run.predictions import Predictions
from virnucpro.run.request import Request
from virnucpro.run.rows import UnitTables
from virnucpro.run.run import run
from virnucpro.run.runner import Done
from virnucpro.run.setup import PredictSetup
from virnucpro.run.state import RunState
from virnucpro.run.tally import Tally
from virnucpro.run.task import PredictTask, describe_predictor
from virnucpro.run.units import Unit
from virnucpro.scores.decision import Decision
from virnucpro.seq.source import Source


def refuse_filled(directory: str | os.PathLike[str]) -> None:
    """Check that a directory has no files in it.

    Raises:
        OutputError: it has, or it is none.
    """
    path = Path(directory)
    if path.is_dir() and any(path.iterdir()):
        raise OutputError(f"{path} is not empty; overwrite=True replaces an earlier run, or choose another directory")


def write_calls(
    directory: str | os.PathLike[str],
    blocks: Iterator[CalledBlock],
    source: Source,
    predictor: Predictor,
    model: str,
    overwrite: bool = False,
    sample: str | None = None,
    outputs: Outputs | None = None,
) -> None:
    """Write a run of these blocks, which were read from `source` and called by a predictor with this model.

    `sample` is the name of the run in reports, None for that of the input or the directory.

    Raises:
        OutputError, ConfigError: those of `run`.
    """
    output = Path(directory)
    inputs = [file.path for file in source.files]
    if_exists = IfExists.OVERWRITE if overwrite else IfExists.FAIL
    outputs = outputs or Outputs()
    request = Request(inputs, output, model, predictor.options, if_exists, sample=sample, outputs=outputs)
    written = _Written(request, blocks, source)
    decision = replace(predictor.decision, keep_all=outputs.other)

    @contextmanager
    def open_runner(_: PredictTask, directory: RunDirectory) -> Iterator[_Writer]:
        yield _Writer(describe_predictor(model, predictor), decision, directory, written)

    run(written, open_runner, lambda source: shown(source, progress=False))
    with locked(output):
        write_report(output)


class _Written(Predictions):
    """A run whose units have been called; `called` is that of the last one that was yielded."""

    def __init__(self, request: Request, blocks: Iterator[CalledBlock], source: Source) -> None:
        super().__init__(request)
        self.called: CalledBlock
        self._blocks, self._read_from = blocks, source

    def start(self, setup: PredictSetup) -> RunState[Tally] | None:
        state = super().start(setup)
        self.source = self._read_from  # not the files again: it knows what was read
        return state

    def units(self, state: RunState[Tally]) -> Iterator[Unit]:
        for number, called in enumerate(self._blocks):
            self.called = called
            unit = Unit(number, called.block, called.block.digest)
            state.read(unit)
            state.take(unit)
            yield unit


class _Writer:
    """A runner that writes what is called already."""

    def __init__(self, setup: PredictSetup, decision: Decision, directory: RunDirectory, written: _Written) -> None:
        self.setup, self._decision = setup, decision
        self._directory, self._written = directory, written

    def submit(self, unit: Unit) -> Sequence[Done[Tally]]:
        tables = UnitTables.concat([UnitTables.of(part, self._decision) for part in self._written.called.parts])
        return [Done(len(unit.records), self._directory.write_unit(unit, tables))]

    def finish(self) -> Iterator[Done[Tally]]:
        return iter(())

    def report(self) -> RunnerReport:
        return RunnerReport({})
