"""Peak memory by the number of reads, and what resumability costs.

    python benchmarks/memory.py peak    # benchmarks/results/memory.json
    python benchmarks/memory.py cost    # benchmarks/results/resumability.json

Each run is `virnucpro predict` on one thread in a process of its own, on random reads of 100 nt. The model `tiny` is
random and has one layer, so that ten million reads take less than an hour on a CPU; `bundled` is what users run. What
resumability costs is the difference to the same command that writes its rows into the tables at once: no digests of
the input, no unit files, no merging. On a machine that others use, wall times differ by more than that; so a further
run takes the time inside the functions that do this, in per cent of its wall time. They also make and write the rows,
which the other command does as well: this is more than the cost.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timing import write_results

from virnucpro.config import FrameRule
from virnucpro.pretrained.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.pretrained.registry import build_model, save_weights

READ = 100
PREDICT = [sys.executable, "-m", "virnucpro"]
OPTIONS = ["--threads", "1", "--precision", "fp32", "--restart"]

# The rate of others (`fdr`), which follows from all records, takes a second pass over records.tsv either way.
NOT_RESUMABLE = """
import shutil
from virnucpro.cli.main import main
from virnucpro.run import units
from virnucpro.run.tables import FdrFiller, evidence_bytes, table_lines
from virnucpro.run.directory import RunDirectory
from virnucpro.run.tally import Tally

files, known = [], []

def write_unit(self, unit, results):
    if not files:
        for name, first_line in self.first_lines.items():
            files.append((self.path / name).open("w+b"))
            files[-1].write(first_line.encode())
    for lines, file in zip(table_lines(results), files):
        file.write("".join(lines).encode())
    known.append(evidence_bytes(result.call for result in results))
    tally = Tally()
    for result in results:
        tally.add(result)
    return tally

def merge(self, paths, content, composition=None):
    for file in files:
        file.flush()
    if composition is None:
        return
    files[0].seek(0)
    with (self.path / "filled").open("wb") as table:
        table.write(files[0].readline())
        filler = FdrFiller(table, composition)
        for evidence in known:
            filler.evidence.write(evidence)
        shutil.copyfileobj(files[0], filler, 1 << 20)
    (self.path / "filled").replace(self.path / "records.tsv")

units._digest = lambda records: ""
RunDirectory.write_unit, RunDirectory.merge = write_unit, merge
main()
"""

# `predict` that prints the share of its wall time that it spent on units.
TIMED = """
import sys
import time
from virnucpro.cli.main import main
from virnucpro.run import units
from virnucpro.run.directory import RunDirectory

spent = 0.0

def timed(function):
    def run(*arguments):
        global spent
        begin = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent += time.perf_counter() - begin
    return run

units._digest = timed(units._digest)
for name in ("write_unit", "merge", "remove_units"):
    setattr(RunDirectory, name, timed(getattr(RunDirectory, name)))
begin = time.perf_counter()
try:
    main()
finally:
    print(f"{spent / (time.perf_counter() - begin):.2%}")
"""


def write_tiny_model(directory: Path) -> Path:
    """Write a model of random weights, so small that reading and writing take much of the time."""
    torch.manual_seed(0)
    shape = {"layers": 1, "width": 16, "heads": 2, "token_dropout": False}
    description = ModelDescription(
        name="tiny",
        chunk_length=500,
        min_length=75,
        frame_rule=FrameRule("longest_segments", segments=3, min_aa=20, nucleotide="longest"),
        nucleotide=EncoderDescription("esm2", {**shape, "vocabulary": 69, "mask_token": 68}, "kmer-3", 1, 1),
        protein=EncoderDescription("esm2", shape, "esm2", 1, 1, limit=1024),
        classifier=ClassifierDescription("gated", 34, 8),
        vote="weighted",
    )
    model = build_model(description, directory)
    directory.mkdir()
    replace(description, checksums=save_weights(model, directory)).write_json(directory / "model.json")
    return directory


def write_reads(path: Path, number: int, length: int = READ) -> Path:
    """Write random records in gzip, cut from one random sequence at random places."""
    letters = random.Random(0)
    genome = "".join(letters.choices("ACGT", k=1 << 20))
    with gzip.open(path, "wt", encoding="ascii", compresslevel=1) as file:
        for index in range(number):
            file.write(f">read_{index}\n")
            for begin in range(0, length, 1 << 19):
                place = letters.randrange(1 << 19)
                file.write(genome[place : place + min(1 << 19, length - begin)] + "\n")
    return path


def measure(command: list[str], stdin: Path | None = None) -> dict[str, float]:
    """Run a command, with a file of gzip unpacked to its stdin; return seconds of wall and CPU and its peak in MB."""
    begin = time.perf_counter()
    unpack = subprocess.Popen(["gzip", "-dc", str(stdin)], stdout=subprocess.PIPE) if stdin else None
    process = subprocess.Popen(command, stdin=unpack and unpack.stdout, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    return {
        "seconds": round(wall, 1), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }  # fmt: skip


def measure_peaks(folder: Path, model: str, arguments: argparse.Namespace) -> None:
    """Write memory.json."""
    rows: list[dict[str, Any]] = []
    cases = [(number, READ, "gzip") for number in arguments.reads] + [(arguments.reads[-2], READ, "stdin")]
    for number, length, source in [*cases, (1, arguments.long, "gzip")]:
        reads = write_reads(folder / "reads.fa.gz", number, length)
        streamed = reads if source == "stdin" else None
        command = [*PREDICT, "predict", "-" if streamed else str(reads), "-o", str(folder / "out"), "--model", model]
        rows.append({"records": number, "nt": length, "from": source, **measure([*command, *OPTIONS], streamed)})
        print(rows[-1], flush=True)
    write_results("memory", rows)


def measure_cost(folder: Path, tiny: str, arguments: argparse.Namespace) -> None:
    """Write resumability.json; the runs of either kind take turns."""
    rows = []
    for model, number in ((tiny, arguments.tiny_reads), ("bundled", arguments.bundled_reads)):
        reads = write_reads(folder / "reads.fa.gz", number)
        tail = ["predict", str(reads), "-o", str(folder / "out"), "--model", model, *OPTIONS]
        kinds = {"resumable": [*PREDICT, *tail], "not_resumable": [sys.executable, "-c", NOT_RESUMABLE, *tail]}
        runs = [{kind: measure(command) for kind, command in kinds.items()} for _ in range(arguments.repeats)]
        row: dict[str, Any] = {"model": Path(model).name, "records": number, "repeats": arguments.repeats}
        for unit in ("seconds", "cpu_seconds"):
            medians = {kind: statistics.median(run[kind][unit] for run in runs) for kind in kinds}
            pairs = [run["resumable"][unit] / run["not_resumable"][unit] - 1 for run in runs]
            row |= {f"{kind}_{unit}": round(value, 2) for kind, value in medians.items()}
            row[f"cost_{unit}"] = f"{statistics.median(pairs):.1%}"
        timed = subprocess.run([sys.executable, "-c", TIMED, *tail], capture_output=True, text=True, check=True)
        row["share_of_wall_time_on_units"] = timed.stdout.strip()
        rows.append(row)
        print(row, flush=True)
    write_results("resumability", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("peak", "cost"))
    parser.add_argument("--reads", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--long", type=int, default=250_000_000, help="nt of one long record")
    parser.add_argument("--tiny-reads", type=int, default=50_000, help="reads for the cost with the tiny model")
    parser.add_argument("--bundled-reads", type=int, default=4_096, help="reads for the cost with the bundled model")
    parser.add_argument("--repeats", type=int, default=5, help="runs of either kind; the median counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny = str(write_tiny_model(folder / "tiny"))
        (measure_peaks if arguments.what == "peak" else measure_cost)(folder, tiny, arguments)


if __name__ == "__main__":
    main()
