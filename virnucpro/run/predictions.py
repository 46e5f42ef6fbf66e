"""The output of a run of `predict`: units of called records, merged into tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from virnucpro import __version__
from virnucpro.errors import ConfigError
from virnucpro.run.directory import RunDirectory
from virnucpro.run.manifest import COMPLETE, RUNNING, Manifest, PredictOutcome, RunnerReport
from virnucpro.run.progress import in_precision, say, shown_progress, summarise
from virnucpro.run.provenance import InputFile, are_untouched, fingerprint_inputs, require_same, require_same_content
from virnucpro.run.request import Request
from virnucpro.run.sample_report import FileReport, SampleReport, report_files
from virnucpro.run.setup import PredictSetup
from virnucpro.run.state import RunState
from virnucpro.run.tally import Tally
from virnucpro.run.units import Content, ContentDigest, Unit
from virnucpro.scores.composition import Composition, SampleRule
from virnucpro.scores.reference import REFERENCE_FILE
from virnucpro.seq.source import Source
from virnucpro.words import counted


class Predictions:
    """The output of a run of `predict`; see `Output`."""

    def __init__(self, request: Request) -> None:
        self.request, self.task = request, request.task()
        self.directory: RunDirectory = self.task.directory()
        self.source: Source
        self._began = time.perf_counter()
        self._before: Manifest | None = None
        self._manifest = Manifest(RUNNING, {})
        self._setup: PredictSetup
        self._composition: Composition | None = None

    @property
    def _expected(self) -> Content | None:
        """The content that an earlier run in this directory has read to the end; this run must read the same."""
        return None if self._before is None else self._before.content

    @contextmanager
    def opened(self) -> Iterator[None]:
        with self.directory.locked():
            self._before = self.directory.open(self.request.if_exists)
            self.directory.refuse_inputs(self.request.inputs)
            self.directory.remove_leftovers()
            yield

    def start(self, setup: PredictSetup) -> RunState[Tally] | None:
        self._setup = setup
        if REFERENCE_FILE in setup.model.checksums:
            self.directory.model_reference = Path(setup.model.directory) / REFERENCE_FILE
        inputs = tuple(InputFile.describe(path) for path in self.request.inputs)
        same = {"virnucpro": __version__, **fingerprint_inputs(inputs), **setup.fingerprint()}
        fingerprint = same | self.request.fingerprint(setup.options.device)
        sample = self.request.sample or (self._before and self._before.sample) or self.request.sample_name
        command = tuple(self.request.command)
        self._manifest = Manifest(RUNNING, fingerprint, __version__, command, inputs, setup, sample=sample)
        if self._before is not None:
            require_same(self._before.fingerprint, fingerprint)
            if self._is_complete(self._before, inputs):
                self.directory.remove_units()
                if sample != self._before.sample:
                    self.directory.rename(self._before, sample)
                say(f"the run in {self.directory.path} is already complete")
                return None
        self.source = Source(self.request.inputs)
        state = RunState(Tally(), self._began, self.request.counter())
        state.end_stage("load")
        running = replace(self._manifest, content=self._expected)
        self.directory.prepare(running, fresh=self._before is None, keep_results=self._expected is not None)
        return state

    def units(self, state: RunState[Tally]) -> Iterator[Unit]:
        for unit in self.request.units(self.source, self._setup.options.device):
            state.read(unit)
            if self.request.shard is None or self.request.shard.has(unit.number):
                state.take(unit)
                yield unit

    def kept(self, unit: Unit) -> Tally | None:
        if self._before is None:
            return None
        counts = self.directory.read_unit(unit)
        if counts is None and self._expected is not None:
            before = self.directory.unit_digest(unit)
            if before is not None and before != unit.digest:
                name = f"SHA-256 of the records of unit {unit.number}"
                require_same({name: before}, {name: unit.digest})
        return counts

    def finish(self, state: RunState[Tally], report: RunnerReport) -> None:
        content = state.digest.content(self.source.fastq, state.files.files() if state.files else ())
        if self._expected is not None:
            require_same_content(self._expected, content)
        self.directory.begin()
        composition: Composition | None = None
        files: tuple[FileReport, ...] = ()
        if self.request.shard is None:
            options = self._setup.options
            units = [self.directory.unit_path(number) for number in range(state.n_units)]
            rule = SampleRule.choose(self.directory.reference(), options.preset, options.composition, options.max_fdr)
            evidence = self.directory.evidence(lambda: units)
            self._composition = composition = rule.composition(evidence)
            files = report_files(content.files, evidence, rule)
            viral = self.directory.merge(units, content, composition, rule.n_hosts)
            if viral is not None:
                state.tally = replace(state.tally, viral=viral)
        inputs = tuple(one.after_reading() for one in self._manifest.inputs or ())
        state.end_stage("predict")
        outcome = PredictOutcome(
            state.tally,
            state.ids.count(),
            None if composition is None else round(composition.prevalence, 6),
            SampleReport.of(composition, self._setup.options.composition),
            state.units,
            report,
            state.seconds,
            files,
        )
        complete = replace(self._manifest, status=COMPLETE, inputs=inputs, content=content, outcome=outcome)
        self.directory.write_manifest(complete)
        if self.request.shard is None:
            self.directory.remove_units()

    def summarise(self, state: RunState[Tally], files: str) -> None:
        """Report the counts of a finished run on stderr; `files` names the files in its directory."""
        if self._before is not None:
            verb = "was" if state.n_kept == 1 else "were"
            say(f"{state.n_kept:,} of {counted(state.n_mine, 'units')} {verb} done before")
        where = f"{files} are in {self.directory.path}"
        if self.request.shard:
            where = f"shard {self.request.shard} is in {self.directory.path}, for `virnucpro merge`"
        summarise(
            state.tally,
            state.ids.count(),
            sum(state.seconds.values()),
            self._composition,
            where,
            unit=self.request.unit,
            computed=in_precision(self._setup.options.precision, self._setup.options.device),
        )

    def _is_complete(self, before: Manifest, inputs: tuple[InputFile, ...]) -> bool:
        """Return whether the earlier run is complete and of the same input.

        Unchanged files are not read; other files, and streams, are read and compared.

        Raises:
            ConfigError: the input differs, or the manifest does not describe the earlier input.
        """
        read, done = before.content, before.status == COMPLETE
        whole = done and self.directory.has_tables(read is not None and read.fastq)
        if whole and read is None:
            raise ConfigError(
                f"the run in {self.directory.path} is complete, but its run.json does not say which records it read, "
                "so this may be another input; use --restart to begin again, or choose another --output"
            )
        if read is None or not done or are_untouched(before.inputs, inputs):
            return whole
        if whole or (self.request.shard is None and all(one.bytes is not None for one in inputs)):
            say("reading the input, to compare it with that of the earlier run")
            require_same_content(read, _read_content(self.request, self._setup.options.device))
        return whole


def _read_content(request: Request, device: str) -> Content:
    """Read the whole input, only to describe its content."""
    source, digest, files = Source(request.inputs), ContentDigest(), request.counter()
    with shown_progress(source) as counter:
        for unit in request.units(source, device):
            digest.add(unit.digest, len(unit.records))
            if files is not None:
                files.add(unit.records)
            counter.advance(len(unit.records), new=False)
    return digest.content(source.fastq, files.files() if files else ())
