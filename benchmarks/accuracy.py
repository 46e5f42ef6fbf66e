"""Accuracy of a model on windows of labelled genomes: python benchmarks/accuracy.py DATA [--split val].

1 200 windows of virus and 200 of every other class at 500, 300 and 150 bp, drawn by taxon with a fixed seed
(the windows of `virnucpro sample`), called by `Predictor` as `virnucpro predict` does, with the prevalence of the
windows. With --virus-split the viruses are of another split than the hosts. `called` is the share that the default
preset calls virus: of virus, of hosts (mean over classes), and of every third window with its dinucleotides shuffled.
Writes benchmarks/results/accuracy_SPLIT.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from timing import write_results

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.evaluate.genomes import VIRUS, read_genomes, sample_windows
from virnucpro.evaluate.metrics import evaluate
from virnucpro.train.shuffle import shuffle_dinucleotides

LENGTHS = (500, 300, 150)
N_VIRUS, N_HOST = 1200, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--virus-split", help="where the viruses are from, if not from --split")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    virus_split = arguments.virus_split or arguments.split
    viruses = read_genomes(arguments.data, virus_split, exclude=["viroid"])
    hosts = viruses if virus_split == arguments.split else read_genomes(arguments.data, arguments.split)
    classes = sorted(set(hosts.classes.tolist()) - {VIRUS, "viroid"})
    model = load_model(arguments.model)
    prevalence = N_VIRUS / (N_VIRUS + N_HOST * len(classes)) if model.description.calibration else None
    options = Options(device=arguments.device, precision=arguments.precision, prevalence=prevalence)
    predictor = Predictor(model, options)
    rows = []
    for length in LENGTHS:
        windows = sample_windows(hosts, length, dict.fromkeys(classes, N_HOST), seed=0)
        windows += sample_windows(viruses, length, {VIRUS: N_VIRUS}, seed=0)
        records = [Record(f"window_{i}", window.sequence) for i, window in enumerate(windows, start=1)]
        begin = time.perf_counter()
        calls = [result.call for result in predictor.run(records)]
        seconds = time.perf_counter() - begin
        scores = [call.virus_score for call in calls]
        rng = np.random.default_rng(0)
        mixed = [shuffle_dinucleotides(np.frombuffer(w.sequence, np.uint8), rng).tobytes() for w in windows[::3]]
        shuffled = predictor.run([Record(f"shuffled_{i}", sequence) for i, sequence in enumerate(mixed)])
        is_virus = np.array([bool(call.is_virus) for call in calls])
        of_class = np.array([window.class_name for window in windows])
        called = {
            "virus": is_virus[of_class == VIRUS].mean(),
            "hosts": np.mean([is_virus[of_class == name].mean() for name in classes]),
            "shuffled": np.mean([bool(result.call.is_virus) for result in shuffled]),
        }
        figures = evaluate(scores, [window.class_name for window in windows])
        rows.append({
            "split": arguments.split, "virus_split": virus_split, "length": length, "precision": predictor.precision,
            **figures, "called": {name: round(float(share), 4) for name, share in called.items()},
            "seconds": round(seconds, 1),
        })  # fmt: skip
    write_results(f"accuracy_{virus_split}", rows)


if __name__ == "__main__":
    main()
