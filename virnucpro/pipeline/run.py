"""One run of `predict`: input files in, output directory out, progress and a closing summary on stderr."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from virnucpro import __version__
from virnucpro.models.registry import find_model, load_model
from virnucpro.pipeline.outputs import (
    Tally,
    prepare_directory,
    write_json,
    write_records_to_stdout,
    write_run,
)
from virnucpro.pipeline.predict import Options, Predictor, RecordResult
from virnucpro.seq import read_records
from virnucpro.types import Status

logger = logging.getLogger(__name__)

# Off a terminal, a plain line every so many seconds stands in for the progress bar.
PLAIN_LINE_SECONDS = 30.0


def run(
    inputs: Sequence[str], output: Path | None, model: str, options: Options, restart: bool, command: Sequence[str]
) -> Tally:
    """Call all records of `inputs` and write the output directory, or records.tsv to stdout if there is none.

    Raises:
        VirnucproError: with what to do about it; the output directory then holds no table of this run.
    """
    begin = time.perf_counter()
    if output is not None:
        prepare_directory(output, restart)
    predictor = Predictor(load_model(model), options)
    for name in ("nucleotide", "protein"):
        encoder = getattr(predictor, name).encoder.model
        logger.info("%s encoder: %s, %s, %s", name, predictor.device, predictor.precision, encoder.backend.name)
    loaded = time.perf_counter()
    tally = Tally()
    results = predictor.run(read_records(inputs))
    written = write_run(results, output) if output is not None else write_records_to_stdout(results)
    for result in _with_progress(written):
        tally.add(result)
    seconds = {"load": round(loaded - begin, 3), "predict": round(time.perf_counter() - loaded, 3)}
    if output is not None:
        write_json(output / "run.json", _provenance(inputs, model, predictor, tally, seconds, command))
    _summarise(tally, sum(seconds.values()), output)
    return tally


def _with_progress(results: Iterable[RecordResult]) -> Iterator[RecordResult]:
    """Pass results on, showing a bar on a terminal or plain lines elsewhere, unless warnings are silenced."""
    quiet = not logging.getLogger().isEnabledFor(logging.WARNING)
    if quiet:
        yield from results
        return
    if not sys.stderr.isatty():
        shown = time.monotonic()
        for number, result in enumerate(results, start=1):
            if time.monotonic() - shown > PLAIN_LINE_SECONDS:
                shown = time.monotonic()
                print(f"virnucpro: {number} records called", file=sys.stderr, flush=True)
            yield result
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.completed:,} records"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("records", total=None)
        for result in results:
            progress.advance(task)
            yield result


def _provenance(
    inputs: Sequence[str],
    model: str,
    predictor: Predictor,
    tally: Tally,
    seconds: dict[str, float],
    command: Sequence[str],
) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(predictor.device) if predictor.device.type == "cuda" else None
    return {
        "virnucpro": __version__,
        "command": list(command),
        "inputs": [
            {"path": name, "bytes": os.path.getsize(name) if os.path.isfile(name) else None} for name in inputs
        ],
        "model": {
            "name": predictor.description.name,
            "directory": str(find_model(model)),
            "checksums": predictor.description.checksums,
        },
        "options": {
            **asdict(predictor.options), "device": str(predictor.device), "precision": predictor.precision,
            "min_length": predictor.min_length, "min_score": predictor.threshold,
        },
        "attention": {
            "nucleotide": predictor.nucleotide.encoder.model.backend.name,
            "protein": predictor.protein.encoder.model.backend.name,
        },
        "counts": tally.to_json(),
        "seconds": seconds,
        "hardware": {"machine": platform.machine(), "cpus": os.cpu_count(), "gpu": gpu},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }  # fmt: skip


def _summarise(tally: Tally, seconds: float, output: Path | None) -> None:
    if tally.duplicates:
        logger.warning("%d records repeat an id; each has its own row, in input order", tally.duplicates)
    if not logging.getLogger().isEnabledFor(logging.WARNING):
        return
    called = tally.status[Status.OK]
    others = ", ".join(f"{count} {status}" for status, count in sorted(tally.status.items()) if status is not Status.OK)
    line = f"virnucpro: {tally.records} records: {tally.viral} virus, {called - tally.viral} other"
    line += f", not called: {others}" if others else ""
    line += f"; {seconds:.1f} s"
    print(line + (f"; tables are in {output}" if output else ""), file=sys.stderr)
