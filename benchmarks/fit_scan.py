"""What `virnucpro scan` should expect of a window: python benchmarks/fit_scan.py DATA [--model bundled] [--split val].

Genomes are put together of labelled ones: pieces of 20 kb of bacteria and archaea, a piece of a virus of 10 to 30 kb
after every ninth. Windows are scored as by `virnucpro scan`; for each pair of `neutral` and `weight` of a grid,
recall and precision of bases. Writes benchmarks/results/fit_scan.json, the best first by their harmonic mean (F1).
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from timing import write_results

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.evaluate.genomes import VIRUS, Genomes, read_genomes
from virnucpro.pipeline.regions import Landscape, posteriors

HOST_PIECES, HOST_NT, EVERY = 90, 20_000, 9
VIRUS_NT = (10_000, 30_000)
NEUTRAL = (1.0, 0.5, 0.0, -0.5, -1.0, -1.5, -2.0, -2.5)
WEIGHT = (0.1, 0.2, 0.3, 0.5, 1.0)


def pieces(genomes: Genomes, classes: list[str], lengths: list[int], rng: np.random.Generator) -> list[bytes]:
    """Return one piece of each length, each of another record as long as there are some."""
    fitting = [i for i in rng.permutation(len(genomes.ids)) if genomes.classes[i] in classes]
    found = []
    for length in lengths:
        record = next(i for i in fitting if genomes.lengths[i] >= length)
        fitting = [*(i for i in fitting if i != record), record]
        start = int(rng.integers(genomes.lengths[record] - length + 1))
        found.append(genomes.piece(record, start, length).tobytes())
    return found


def evidence(predictor: Predictor, sequence: bytes, step: int) -> npt.NDArray[np.float64]:
    width = predictor.description.chunk_length
    starts = range(0, len(sequence) - width + 1, step)
    windows = (Record(f"{start}", sequence[start : start + width]) for start in starts)
    ratios = [result.call.log_ratio for result in predictor.run(windows)]
    return np.array([np.nan if ratio is None else ratio for ratio in ratios])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--split", default="val")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    genomes = read_genomes(arguments.data, arguments.split, exclude=["viroid"])
    hosts = pieces(genomes, ["bacteria", "archaea"], [HOST_NT] * HOST_PIECES, rng)
    lengths = rng.integers(*VIRUS_NT, HOST_PIECES // EVERY).tolist()
    viruses = iter(pieces(genomes, [VIRUS], lengths, rng))
    predictor = Predictor(load_model(arguments.model), Options(device=arguments.device))
    step = predictor.description.chunk_length // 2
    ratios, truth = [], []
    for number, host in enumerate(hosts, start=1):
        for sequence, is_virus in [(host, False), *([(next(viruses), True)] if number % EVERY == 0 else [])]:
            ratios.append(evidence(predictor, sequence, step))
            truth.append(np.full(len(ratios[-1]), is_virus))
    along, true = np.concatenate(ratios), np.concatenate(truth)
    rows = []
    for neutral, weight in product(NEUTRAL, WEIGHT):
        called = posteriors(along, step, Landscape(weight=weight, neutral=neutral)) >= 0.5
        right = int((called & true).sum())
        recall, precision = right / int(true.sum()), right / max(1, int(called.sum()))
        rows.append({
            "neutral": neutral, "weight": weight, "recall": round(recall, 3), "precision": round(precision, 3),
            "f1": round(2 * right / int(called.sum() + true.sum()), 3),
        })  # fmt: skip
    write_results("fit_scan", sorted(rows, key=lambda row: -row["f1"]))


if __name__ == "__main__":
    main()
