"""What a filter of 9-mers adds to a model: python benchmarks/kmer_filter.py DATA --filter MODEL [--models NAME ...].

Windows of each class of val. `alone` is the model's evidence, `with_filter` a logistic regression on it and the sums of
the filter, which is fitted on one half of the taxa and measured on the other half. All figures are means of both
halves. AUROC is the mean over host classes; `prokaryotic` over archaea, bacteria and plasmid. `recall_1` and `recall_5`
are measured at 1 % and 5 % false positives. `filter_share` is the CPU time of the sums over that of the calls, on one
thread. Writes benchmarks/results/kmer_filter.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from timing import write_results

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.config import FrameRule
from virnucpro.evaluate.genomes import VIRUS, Genomes, Window, read_genomes, sample_windows
from virnucpro.evaluate.metrics import auroc
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.kmer_filter import KmerFilter
from virnucpro.seq.strings import Strings

LENGTHS = (150, 300, 500)
PROKARYOTIC = ("archaea", "bacteria", "plasmid")
SEED, PASS = 1, 2000  # windows of a pass of the model
Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]


def draw(genomes: Genomes, length: int, number: int) -> list[Window]:
    """Draw `number` windows of each host class and three times as many of virus, without other letters than ACGT."""
    counts = {name: number * (3 if name == VIRUS else 1) for name in set(genomes.classes.tolist())}
    windows = sample_windows(genomes, length, counts, SEED)
    return [w for w in windows if len(w.sequence) == length and not w.sequence.translate(None, b"ACGT")]


def evidence_of(predictor: Predictor, windows: list[Window]) -> tuple[Floats, float]:
    """Return the evidence (N,) of windows, NaN without a score, and the CPU seconds of a window."""
    found, seconds = [], 0.0
    for begin in range(0, len(windows), PASS):
        block = RecordBlock.of([Record("", w.sequence) for w in windows[begin : begin + PASS]])
        start = time.process_time()
        calls = predictor.call(block)
        seconds += time.process_time() - start
        found.append(calls.record.log_ratio)
    return np.concatenate(found), seconds / len(windows)


def sums_of(kmers: KmerFilter, rule: FrameRule, windows: list[Window]) -> tuple[Floats, float]:
    """Return the sums (N, S) of windows, and the CPU seconds of a window; the frames are those of the model."""
    found, seconds = [], 0.0
    for begin in range(0, len(windows), PASS):
        letters = Strings.of([w.sequence for w in windows[begin : begin + PASS]])
        frames = find_frames(letters, rule)
        start = time.process_time()
        found.append(kmers.sums(frames, len(letters)))
        seconds += time.process_time() - start
    return np.concatenate(found), seconds / len(windows)


def weights_of(classes: Names) -> Floats:
    """Return weights (N,): half for virus, the other half divided equally among host classes."""
    names, number, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return np.asarray((np.where(names == VIRUS, 0.5, 0.5 / (len(names) - 1)) / counts)[number])


def logistic(features: Floats, classes: Names) -> Floats:
    """Fit virus against hosts; return the coefficients of the features (N, D) and the intercept, (D + 1,)."""
    design = np.column_stack((features, np.ones(len(features))))
    weights, labels, fitted = weights_of(classes), classes == VIRUS, np.zeros(design.shape[1])
    ridge = np.eye(design.shape[1]) * 1e-4
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ fitted))
        gradient = design.T @ (weights * (labels - p)) - ridge @ fitted
        fitted += np.linalg.solve((design.T * (weights * p * (1 - p))) @ design + ridge, gradient)
    return fitted


def figures(evidence: Floats, classes: Names) -> dict[str, float]:
    """Return the AUROC against each host class and the recalls of this evidence (N,)."""
    virus = classes == VIRUS
    hosts = sorted(set(classes[~virus].tolist()))
    order = np.argsort(-evidence[~virus])
    passed = np.cumsum(2 * weights_of(classes)[~virus][order])
    thresholds = {rate: evidence[~virus][order][np.searchsorted(passed, rate / 100)] for rate in (1, 5)}
    return {
        **{host: auroc(evidence[virus], evidence[classes == host]) for host in hosts},
        **{f"recall_{rate}": float((evidence[virus] > threshold).mean()) for rate, threshold in thresholds.items()},
    }


def mean_of(halves: list[dict[str, float]], hosts: list[str]) -> dict[str, float]:
    """Return the mean of each figure over the halves that have it, and the mean AUROC of groups of hosts."""
    mean = {name: float(np.mean([half[name] for half in halves if name in half])) for name in (halves[0] | halves[1])}
    groups = {"auroc": hosts, "prokaryotic": PROKARYOTIC}
    grouped = {group: float(np.mean([mean[name] for name in names])) for group, names in groups.items()}
    kept = [name for name in mean if name in PROKARYOTIC or name not in hosts]
    return {name: round(value, 4) for name, value in {**grouped, **{name: mean[name] for name in kept}}.items()}


def measure(name: str, kmers: KmerFilter, windows: list[Window]) -> dict[str, Any]:
    """Return one row of the results: a model at one length."""
    model = load_model(name)
    evidence, of_model = evidence_of(Predictor(model, Options(device="cpu", precision="fp32", threads=1)), windows)
    sums, of_filter = sums_of(kmers, model.description.frame_rule, windows)
    known = ~np.isnan(evidence)
    classes, taxa = (np.array([getattr(w, field) for w in windows])[known] for field in ("class_name", "taxon"))
    evidence, features = evidence[known], np.column_stack((evidence, sums))[known]
    half = np.unique(taxa, return_inverse=True)[1] % 2
    hosts = sorted(set(classes.tolist()) - {VIRUS})
    alone, both, fits = [], [], []
    for fold in (0, 1):
        fitted, others = logistic(features[half != fold], classes[half != fold]), half == fold
        alone.append(figures(evidence[others], classes[others]))
        both.append(figures(features[others] @ fitted[:-1], classes[others]))
        fits.append(fitted.round(3).tolist())
    return {
        "model": model.description.name,
        "nt": len(windows[0].sequence),
        "windows": len(windows),
        "alone": mean_of(alone, hosts),
        "with_filter": mean_of(both, hosts),
        "coefficients": {"of": ["evidence", *kmers.layout.sides, "intercept"], "fits": fits},
        "milliseconds_model": round(1e3 * of_model, 4),
        "milliseconds_filter": round(1e3 * of_filter, 4),
        "filter_share": round(of_filter / of_model, 4),
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory with SPLIT/CLASS.fna files")
    parser.add_argument("--filter", required=True, help="model with a filter, by name or directory")
    parser.add_argument("--models", nargs="+", default=["hosts", "bundled"])
    parser.add_argument("--split", default="val")
    parser.add_argument("--windows", type=int, default=1500, help="of each host class; three times as many of virus")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kmers = load_model(arguments.filter).kmers
    if kmers is None:
        parser.error(f"the model {arguments.filter} has no filter of 9-mers; make one with `virnucpro kmers`")
    genomes, rows = read_genomes(arguments.data, arguments.split, ["viroid"]), []
    for length in LENGTHS:
        windows = draw(genomes, length, arguments.windows)
        rows += [measure(name, kmers, windows) for name in arguments.models]
    write_results("kmer_filter", rows)


if __name__ == "__main__":
    main()
