"""One run of `predict`: input files in, output directory out, progress and a closing summary on stderr."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from virnucpro.data import prefetch
from virnucpro.errors import ConfigError, OutputError
from virnucpro.models.registry import DEFAULT_MODEL, load_model
from virnucpro.pipeline.composition import Composition
from virnucpro.pipeline.isolation import score_isolated
from virnucpro.pipeline.outputs import TABLES, record_row
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pipeline.provenance import describe_run, fingerprint_run, require_same
from virnucpro.pipeline.run_directory import Begin, RunDirectory
from virnucpro.pipeline.tally import RepeatedIds, Tally
from virnucpro.pipeline.units import UNIT_RECORDS, Unit, iter_units
from virnucpro.seq import read_pairs, read_records
from virnucpro.types import Status

logger = logging.getLogger(__name__)

# Off a terminal, a plain line every so many seconds stands in for the progress bar.
PLAIN_LINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is to do: `output` is its directory, or None for records.tsv on standard output.

    `paired` says that the inputs are two files of mates.
    """

    inputs: Sequence[str]
    output: Path | None
    model: str = DEFAULT_MODEL
    options: Options = field(default_factory=Options)
    begin: Begin = Begin.NEW
    unit_records: int = UNIT_RECORDS
    command: Sequence[str] = ()
    legacy_output: bool = False
    paired: bool = False

    def __post_init__(self) -> None:
        if self.paired and len(self.inputs) != 2:
            raise ConfigError(f"--paired takes two files, those of reads 1 and of reads 2, got {len(self.inputs)}")

    def units(self) -> Iterator[Unit]:
        """Read the input in a background thread and yield its units."""
        records = read_pairs(*self.inputs) if self.paired else read_records(self.inputs)
        return prefetch(iter_units(records, self.unit_records), depth=1)


def run(request: Request) -> None:
    """Call all records of the input and write the output directory, or records.tsv to stdout if there is none.

    Raises:
        VirnucproError: with what to do about it; the directory then holds no table of this run, and what has
            been done of it is kept for `Begin.RESUME`.
    """
    if request.output is None:
        _run_to_stdout(request)
        return
    directory = RunDirectory(request.output, request.legacy_output, request.paired)
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
    told["fingerprint"] |= {"--legacy-output": request.legacy_output, "--paired": request.paired}
    if before is not None:
        require_same(before["fingerprint"], told["fingerprint"])
        if before["status"] == "complete" and directory.has_tables():
            directory.remove_units()
            _say(f"the run in {directory.path} is complete; nothing is left to do")
            return
    loaded = time.perf_counter()

    running = {"status": "running", **told}
    tally, ids = Tally(), RepeatedIds()
    n_units = n_kept = 0
    with _progress() as advance:
        for unit in request.units():
            counts = directory.read_unit(unit) if before is not None else None
            if counts is None:
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
            advance(len(unit.records))
    if n_units == n_kept:
        directory.begin(running, anew=before is None)
    composition = Composition.of(tally.evidence)
    directory.merge(n_units, composition)
    seconds = {"load": round(loaded - begin, 3), "predict": round(time.perf_counter() - loaded, 3)}
    counted = {**tally.to_json(), "records_with_a_repeated_id": ids.count()}
    runners = (predictor.nucleotide, predictor.protein)
    recovered = {
        "batches_halved_for_memory": sum(runner.n_out_of_memory for runner in runners),
        "embeddings_redone_in_float32": sum(runner.n_redone for runner in runners),
    }
    units = {"all": n_units, "kept": n_kept}
    prevalence = composition and round(composition.prevalence, 6)
    done = {"counts": counted, "prevalence": prevalence, "units": units, "recovered": recovered, "seconds": seconds}
    directory.write_state({"status": "complete", **told, **done})
    directory.remove_units()
    if before is not None:
        _say(f"{n_kept} of {n_units} units were done before")
    _summarise(tally, ids, sum(seconds.values()), f"; tables are in {directory.path}")


def _run_to_stdout(request: Request) -> None:
    begin = time.perf_counter()
    predictor = _load(request)
    tally, ids = Tally(), RepeatedIds()
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", "surrogateescape", newline="\n", write_through=True)
    try:
        out.write(TABLES["records.tsv"])
        with _progress() as advance:
            for unit in request.units():
                for result in score_isolated(predictor.run, unit.records):
                    out.write(record_row(result.call))
                    tally.add(result)
                    ids.add(result.record)
                advance(len(unit.records))
    finally:
        out.detach()
    _summarise(tally, ids, time.perf_counter() - begin, "")


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


class _PlainLines:
    """Progress off a terminal: a line every so often."""

    def __init__(self) -> None:
        self._number, self._shown = 0, time.monotonic()

    def __call__(self, records: int) -> None:
        self._number += records
        if time.monotonic() - self._shown > PLAIN_LINE_SECONDS:
            self._shown = time.monotonic()
            _say(f"{self._number} records called")


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Give a function that is told of records as they are done: a bar on a terminal, plain lines elsewhere."""
    if not (sys.stderr.isatty() and _may_speak()):
        yield _PlainLines()
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.completed:,} records"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("records", total=None)
        yield lambda records: bar.advance(task, records)


def _may_speak() -> bool:
    return logging.getLogger().isEnabledFor(logging.WARNING)


def _say(line: str) -> None:
    if _may_speak():
        print(f"virnucpro: {line}", file=sys.stderr, flush=True)


def _summarise(tally: Tally, ids: RepeatedIds, seconds: float, where: str) -> None:
    if duplicates := ids.count():
        logger.warning("%d records repeat an id; each has its own row, in input order", duplicates)
    called = tally.status[Status.OK.value]
    others = [f"{n} {status}" for status, n in sorted(tally.status.items()) if n and status != Status.OK.value]
    line = f"{tally.records} records: {tally.viral} virus, {called - tally.viral} other"
    line += f", not called: {', '.join(others)}" if others else ""
    if composition := Composition.of(tally.evidence):
        line += f"; estimated share of virus {composition.prevalence:.2%}"
    _say(f"{line}; {seconds:.1f} s{where}")
