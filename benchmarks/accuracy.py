"""Accuracy of a model on windows of labelled genomes: python benchmarks/accuracy.py DATA [--split val].

1 200 windows of virus and 200 of every other class at 500, 300 and 150 bp, drawn by taxon with a fixed seed
(the windows of `virnucpro sample`), called by `Predictor` as `virnucpro predict` does. Writes
benchmarks/results/accuracy_SPLIT.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from timing import write_results

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.train.evaluate import evaluate
from virnucpro.train.genomes import VIRUS, read_genomes, sample_windows

LENGTHS = (500, 300, 150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    genomes = read_genomes(arguments.data, arguments.split, exclude=["viroid"])
    per_class = {name: 1200 if name == VIRUS else 200 for name in set(genomes.classes.tolist())}
    predictor = Predictor(load_model(arguments.model), Options(device=arguments.device))
    rows = []
    for length in LENGTHS:
        windows = sample_windows(genomes, length, per_class, seed=0)
        records = [Record(f"window_{i}", window.sequence) for i, window in enumerate(windows, start=1)]
        begin = time.perf_counter()
        scores = [result.call.virus_score for result in predictor.run(records)]
        seconds = time.perf_counter() - begin
        figures = evaluate(scores, [window.class_name for window in windows]).to_json()
        rows.append({"split": arguments.split, "length": length, **figures, "seconds": round(seconds, 1)})
    write_results(f"accuracy_{arguments.split}", rows)


if __name__ == "__main__":
    main()
