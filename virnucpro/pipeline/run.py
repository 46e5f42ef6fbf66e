"""One run of `predict`: input files in, output directory out, progress and a closing summary on stderr."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from virnucpro.data import prefetch
from virnucpro.errors import ConfigError, OutputError
from virnucpro.models.registry import DEFAULT_MODEL, load_model
from virnucpro.pipeline.isolation import score_isolated
from virnucpro.pipeline.outputs import REPORT, REPORTS, TABLES, record_row
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pipeline.progress import Source, progress, say, summarise
from virnucpro.pipeline.provenance import describe_run, fingerprint_run, require_same
from virnucpro.pipeline.run_directory import Begin, RunDirectory
from virnucpro.pipeline.tally import RepeatedIds, Tally
from virnucpro.pipeline.units import UNIT_RECORDS, Unit, iter_units

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is to do: `output` is its directory, or None for records.tsv on standard output.

    `finish` is called with the directory once the run is complete, to write `extras`.
    """

    inputs: Sequence[str]
    output: Path | None
    model: str = DEFAULT_MODEL
    options: Options = field(default_factory=Options)
    begin: Begin = Begin.NEW
    unit_records: int = UNIT_RECORDS
    command: Sequence[str] = ()
    legacy_output: bool = False
    finish: Callable[[Path], object] | None = None
    extras: Sequence[str] = REPORTS

    def units(self, source: Source) -> Iterator[Unit]:
        """Read the input in a background thread and yield its units."""
        return prefetch(iter_units(source, self.unit_records), depth=1)


def run(request: Request) -> None:
    """Call all records of the input and write the output directory, or records.tsv to stdout if there is none.

    Raises:
        VirnucproError: with what to do about it; the directory then holds no table of this run, and what has
            been done of it is kept for `Begin.RESUME`.
    """
    if request.output is None:
        _run_to_stdout(request)
        return
    directory = RunDirectory(request.output, request.legacy_output)
    try:
        with directory.locked():
            _run_in(directory, request)
    except OutputError as error:
        if directory.units.is_dir():
            raise OutputError(f"{error}; what is done is kept for --resume") from error
        raise


def _run_in(directory: RunDirectory, request: Request) -> None:
    begin = time.perf_counter()
    before = directory.open(request.begin)
    directory.refuse_inputs(request.inputs)
    predictor = _load(request)
    told = describe_run(request.inputs, request.model, predictor, request.command)
    told["fingerprint"] = fingerprint_run(told, predictor, request.unit_records)
    told["fingerprint"]["--legacy-output"] = request.legacy_output
    if before is not None:
        require_same(before["fingerprint"], told["fingerprint"])
        if before["status"] == "complete" and directory.has_tables():
            directory.remove_units()
            if request.finish is not None and directory.lacks(request.extras):
                request.finish(directory.path)
            say(f"the run in {directory.path} is complete; nothing is left to do")
            return
    loaded = time.perf_counter()

    running = {"status": "running", **told}
    tally, ids = Tally(), RepeatedIds()
    n_units = n_kept = 0
    source = Source(request.inputs)
    with progress(source) as advance:
        for unit in request.units(source):
            counts = directory.read_unit(unit) if before is not None else None
            if new := counts is None:
                results = score_isolated(predictor.run, unit.records)
                if n_units == n_kept:  # the first; a run that fails before leaves the directory as it was
                    directory.begin(running, anew=before is None)
                counts = directory.write_unit(unit, results)
            else:
                n_kept += 1
            tally += counts
            n_units += 1
            for record in unit.records:
                ids.add(record)
            advance(len(unit.records), new)
    if n_units == n_kept:
        directory.begin(running, anew=before is None)
    directory.merge(n_units)
    seconds = {"load": round(loaded - begin, 3), "predict": round(time.perf_counter() - loaded, 3)}
    counted = {**tally.to_json(), "records_with_a_repeated_id": ids.count()}
    runners = (predictor.nucleotide, predictor.protein)
    recovered = {
        "batches_halved_for_memory": sum(runner.n_out_of_memory for runner in runners),
        "embeddings_redone_in_float32": sum(runner.n_redone for runner in runners),
    }
    units = {"all": n_units, "kept": n_kept}
    done = {"counts": counted, "units": units, "recovered": recovered, "seconds": seconds}
    directory.write_state({"status": "complete", **told, **done})
    directory.remove_units()
    if request.finish is not None:
        request.finish(directory.path)
    if before is not None:
        say(f"{n_kept} of {n_units} units were done before")
    made = f"tables and {REPORT}" if request.finish else "tables"
    summarise(tally, ids.count(), sum(seconds.values()), f"; {made} are in {directory.path}")


def _run_to_stdout(request: Request) -> None:
    begin = time.perf_counter()
    predictor = _load(request)
    tally, ids = Tally(), RepeatedIds()
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", "surrogateescape", newline="\n", write_through=True)
    try:
        out.write(TABLES["records.tsv"])
        source = Source(request.inputs)
        with progress(source) as advance:
            for unit in request.units(source):
                for result in score_isolated(predictor.run, unit.records):
                    out.write(record_row(result.call))
                    tally.add(result)
                    ids.add(result.record)
                advance(len(unit.records))
    finally:
        out.detach()
    summarise(tally, ids.count(), time.perf_counter() - begin, "")


def _load(request: Request) -> Predictor:
    predictor = Predictor(load_model(request.model), request.options)
    if request.legacy_output and predictor.description.vote != "max":
        raise ConfigError(
            f"--legacy-output is how the published models write; {request.model} weighs its frames and has no such "
            "scores; use --model published-500"
        )
    for name in ("nucleotide", "protein"):
        encoder = getattr(predictor, name).encoder.model
        logger.info("%s encoder: %s, %s, %s", name, predictor.device, predictor.precision, encoder.backend.name)
    return predictor
