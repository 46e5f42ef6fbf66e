"""Peak memory by the number of reads, and what resumability costs: python benchmarks/memory.py [--reads N ...].

Each run is `virnucpro predict` in a process of its own on random 100 bp reads; with `--model tiny` (the
default) a random model of one layer, so that a million reads take minutes on a CPU. `--long N` adds one record
of N bases. The cost of unit files is the time of the same run with its units scored only, next to the whole.
Writes benchmarks/results/memory.json.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from timing import write_results

from virnucpro.config import FrameRule
from virnucpro.models.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.models.registry import build_model, save_weights

READ = 100

# Called in a child: everything that `predict` does with its units but the writing of them.
WITHOUT_UNIT_FILES = """
import sys
from pathlib import Path
from virnucpro import Options, Predictor, load_model, read_records
from virnucpro.pipeline.isolation import score_isolated
from virnucpro.pipeline.outputs import table_lines
from virnucpro.pipeline.units import iter_units
from virnucpro.data import prefetch
predictor = Predictor(load_model(sys.argv[2]), Options())
with open(sys.argv[3], "w") as out:
    for unit in prefetch(iter_units(read_records([sys.argv[1]])), depth=1):
        for lines in table_lines(score_isolated(predictor.run, unit.records)):
            out.writelines(lines)
"""


def write_tiny_model(directory: Path) -> Path:
    """Write a model of random weights, so small that reading and writing take most of the time."""
    torch.manual_seed(0)
    shape = {"layers": 1, "width": 16, "heads": 2, "token_dropout": False}
    description = ModelDescription(
        name="tiny",
        chunk_length=500,
        min_length=75,
        frame_rule=FrameRule("longest_segments", segments=1, min_aa=20),
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
    """Write random records, cut from one random sequence at random places."""
    letters = random.Random(0)
    genome = "".join(letters.choices("ACGT", k=1 << 20))
    with path.open("w", encoding="ascii") as file:
        for index in range(number):
            file.write(f">read_{index}\n")
            for begin in range(0, length, 1 << 19):
                place = letters.randrange(1 << 19)
                file.write(genome[place : place + min(1 << 19, length - begin)] + "\n")
    return path


def measure(command: list[str]) -> tuple[float, int]:
    """Run a command; return its wall time in seconds and its peak memory in MB."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    return seconds, usage.ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--long", type=int, default=0, help="length of one long record, 0 for none")
    parser.add_argument("--cost", type=int, default=100_000, help="reads for the cost of unit files, 0 for none")
    parser.add_argument("--repeats", type=int, default=3, help="runs of either kind; the quickest counts")
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = str(write_tiny_model(folder / "model")) if arguments.model == "tiny" else arguments.model
        predict = [str(Path(sys.executable).with_name("virnucpro")), "predict", "--model", model, "--restart"]
        cases = [(number, READ) for number in arguments.reads] + [(1, arguments.long)] * bool(arguments.long)
        for number, length in cases:
            reads = write_reads(folder / "reads.fa", number, length)
            seconds, peak = measure([*predict, str(reads), "-o", str(folder / "out")])
            rows.append({"records": number, "nt": length, "seconds": round(seconds, 1), "peak_mb": peak})
            print(rows[-1], flush=True)
        if arguments.cost:
            reads = str(write_reads(folder / "reads.fa", arguments.cost))
            plain = [sys.executable, "-c", WITHOUT_UNIT_FILES, reads, model, str(folder / "tables")]
            pairs = [
                (measure(plain)[0], measure([*predict, reads, "-o", str(folder / "out")])[0])
                for _ in range(arguments.repeats)
            ]
            without, whole = (min(column) for column in zip(*pairs, strict=True))
            cost = {"without_unit_files_s": round(without, 2), "with_unit_files_s": round(whole, 2)}
            rows.append({"records": arguments.cost, "nt": READ, **cost, "cost": f"{whole / without - 1:.1%}"})
    write_results("memory", rows)


if __name__ == "__main__":
    main()
