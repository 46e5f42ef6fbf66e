"""One run of `predict`: input files in, output directory out, progress and a closing summary on stderr."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from virnucpro.errors import ConfigError, OutputError
from virnucpro.pipeline.isolation import score_isolated
from virnucpro.run.directory import RunDirectory
from virnucpro.run.engine import OpenEngine, load_predictor, open_local
from virnucpro.run.progress import (
    Counter,
    say,
    shown_progress,
    summarise,
)
from virnucpro.run.provenance import (
    describe_run,
    fingerprint_run,
    require_same,
    require_same_content,
    settle_inputs,
    untouched,
)
from virnucpro.run.replacement import refuse_stdout
from virnucpro.run.request import Request
from virnucpro.run.tables import REPORT, TABLES, record_row
from virnucpro.run.tally import RepeatedIds, Tally
from virnucpro.run.units import Content, ContentDigest, Unit
from virnucpro.scores.composition import Composition
from virnucpro.seq.source import Source

logger = logging.getLogger(__name__)


def run(request: Request, open_engine: OpenEngine = open_local) -> None:
    """Call all records of the input and write the output directory, or records.tsv to stdout if there is none.

    Raises:
        VirnucproError: with what to do about it; the directory then holds no table of this run, and what has
            been done of it is kept for `Begin.RESUME`.
    """
    if request.output is None:
        _run_to_stdout(request)
        return
    directory = RunDirectory(request.output, request.legacy_output, request.in_pairs)
    try:
        with directory.locked():
            _run_in(directory, request, open_engine)
    except OutputError as error:
        if os.path.isdir(directory.units):  # also of a name that is too long
            raise OutputError(f"{error}; what is done is kept for --resume") from error
        raise


class _Course:
    """How far a run is: counts of its units, records and ids, and the digest of all that it has read.

    `expected` is what an earlier run of the directory has read from beginning to end; this one must read the same.
    """

    def __init__(
        self,
        request: Request,
        source: Source,
        directory: RunDirectory,
        resumed: bool,
        expected: Content | None,
        counter: Counter,
    ) -> None:
        self.request, self.source, self.directory = request, source, directory
        self.resumed, self.expected, self.counter = resumed, expected, counter
        self.tally, self.ids, self._digest = Tally(), RepeatedIds(), ContentDigest()
        self.n_units = self.n_kept = self.n_mine = 0

    def missing(self) -> Iterator[Unit]:
        """Read the input and yield the units that are to be done, counting those that are there.

        Raises:
            ConfigError: a unit that is there shows that the input is not the expected one.
        """
        shard = self.request.shard
        for unit in self.request.units(self.source):
            self.n_units += 1
            self._digest.add(unit.digest, len(unit.records))
            if shard and not shard.has(unit.number):
                continue
            self.n_mine += 1
            for record in unit.records:
                self.ids.add(record.id)
            counts = self.directory.read_unit(unit) if self.resumed else None
            if counts is None:
                if self.expected is not None:
                    self._refuse_other_records(unit)
                yield unit
            else:
                self.n_kept += 1
                self.tally += counts
                self.counter.advance(len(unit.records), new=False)

    def _refuse_other_records(self, unit: Unit) -> None:
        before = self.directory.unit_digest(unit)
        if before is not None and before != unit.digest:
            name = f"SHA-256 of the records of unit {unit.number}"
            require_same({name: before}, {name: unit.digest})

    def content(self) -> Content:
        """Return what was read.

        Raises:
            ConfigError: it is not the expected input.
        """
        content = self._digest.content(self.source.fastq)
        if self.expected is not None:
            require_same_content(self.expected, content)
        return content

    def to_json(self) -> dict[str, Any]:
        """Return the counts as they stand in run.json."""
        counts = {**self.tally.to_json(), "records_with_a_repeated_id": self.ids.count()}
        composition = Composition.of(self.tally.evidence)
        prevalence = composition and round(composition.prevalence, 6)
        return {"counts": counts, "prevalence": prevalence, "units": {"all": self.n_units, "kept": self.n_kept}}


def _read_content(request: Request) -> Content:
    """Read the whole input, which nothing else is done with."""
    source, digest = Source(request.inputs), ContentDigest()
    with shown_progress(source) as counter:
        for unit in request.units(source):
            digest.add(unit.digest, len(unit.records))
            counter.advance(len(unit.records), new=False)
    return digest.content(source.fastq)


def _is_done(request: Request, directory: RunDirectory, before: dict[str, Any], inputs: list[dict[str, Any]]) -> bool:
    """Tell whether the run in the directory is complete and of the same input.

    Files that nobody has touched are not read; others, and streams, are read and compared.

    Raises:
        ConfigError: the input is another one, or nothing tells what the run has read.
    """
    read = Content.from_json(before.get("content"))
    whole = before["status"] == "complete" and directory.has_tables(read is not None and read.fastq)
    if whole and read is None:
        raise ConfigError(
            f"the run in {directory.path} is complete, but its run.json does not say which records it read, so it "
            "cannot be told whether this is the same input; --restart begins anew, or choose another --output"
        )
    if read is None or before["status"] != "complete" or untouched(before.get("inputs"), inputs):
        return whole
    if whole or (request.shard is None and all(described["bytes"] is not None for described in inputs)):
        say("the input is read, to compare it with what the run has read")
        require_same_content(read, _read_content(request))
    return whole


def _run_in(directory: RunDirectory, request: Request, open_engine: OpenEngine) -> None:
    started = time.perf_counter()
    before = directory.open(request.begin)
    directory.refuse_inputs(request.inputs)
    directory.remove_leftovers()
    with open_engine(request) as engine:
        told = describe_run(request.inputs, request.command, engine.told)
        told["fingerprint"] = fingerprint_run(told) | request.fingerprint()
        if before is not None:
            require_same(before["fingerprint"], told["fingerprint"])
            if _is_done(request, directory, before, told["inputs"]):
                directory.remove_units()
                if request.finish is not None and directory.lacks(request.extras):
                    request.finish(directory.path)
                say(f"the run in {directory.path} is complete; nothing is left to do")
                return
        expected = Content.from_json(before.get("content")) if before is not None else None
        loaded = time.perf_counter()
        begun = False

        def begin() -> None:  # not before the first unit is done: a run that fails till then changes nothing
            nonlocal begun
            if not begun:
                state = {"status": "running", **told, **({"content": asdict(expected)} if expected else {})}
                directory.begin(state, anew=before is None, keep_tables=expected is not None)
                begun = True

        source = Source(request.inputs)
        with shown_progress(source) as counter:
            course = _Course(request, source, directory, before is not None, expected, counter)
            for counts in engine.score(course.missing(), directory, begin, counter):
                course.tally += counts
        content = course.content()
        begin()
        closing = engine.closing()
    if request.shard is None:
        units = [directory.unit_path(number) for number in range(course.n_units)]
        directory.merge(units, content, Composition.of(course.tally.evidence))
    told = {**told, "inputs": settle_inputs(told["inputs"]), "content": asdict(content)}
    seconds = {"load": round(loaded - started, 3), "predict": round(time.perf_counter() - loaded, 3)}
    directory.write_state({"status": "complete", **told, **course.to_json(), **closing, "seconds": seconds})
    if request.shard is None:
        directory.remove_units()
        if request.finish is not None:
            request.finish(directory.path)
    if before is not None:
        say(f"{course.n_kept} of {course.n_mine} units were done before")
    where = f"{f'tables and {REPORT}' if request.finish else 'tables'} are in {directory.path}"
    if request.shard:
        where = f"shard {request.shard} is in {directory.path}, for `virnucpro merge`"
    summarise(course.tally, course.ids.count(), sum(seconds.values()), where, unit=request.unit)


def _run_to_stdout(request: Request) -> None:
    begin = time.perf_counter()
    refuse_stdout(request.inputs)
    predictor = load_predictor(request)
    tally, ids = Tally(), RepeatedIds()
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", "surrogateescape", newline="\n", write_through=True)
    try:
        out.write(TABLES["records.tsv"])
        out.flush()  # whoever reads along sees each unit once it is done
        source = Source(request.inputs)
        with shown_progress(source) as counter:
            for unit in request.units(source):
                for result in score_isolated(predictor.run, unit.records):
                    out.write(record_row(result.call))
                    tally.add(result)
                    ids.add(result.record.id)
                out.flush()
                counter.advance(len(unit.records))
    finally:
        out.detach()
    summarise(tally, ids.count(), time.perf_counter() - begin, unit=request.unit)
