"""How far bf16, fp16 and fp8 lie from float32: vectors of random ESM-2, scores and calls of a trained model.

    python benchmarks/precision.py [DATA] [--models "8M 650M"] [--device cuda] [--model bundled] [--split val]

Vectors: pooled, of random weights at their initialisation, relative L2 error, largest and median over 96 sequences of
22 to 1024 tokens; also without the channel that is largest in float32. Scores: of DATA's windows of 500, 300 and 150 nt
as benchmarks/accuracy.py draws them; a call flips if it is another than in float32, and `farthest_flip` is how far
from the threshold, as a score, the farthest of those lay in float32. Writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import write_results

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.data import TokenSequence, pack
from virnucpro.evaluate.genomes import VIRUS, read_genomes, sample_windows
from virnucpro.evaluate.metrics import evaluate
from virnucpro.models import ESM2, ESM2_SHAPES
from virnucpro.models.pooling import PoolingWindow, mean_pool_packed
from virnucpro.pipeline.device import PRECISIONS
from virnucpro.scores.calibration import probability

LENGTHS = (500, 300, 150)


@torch.inference_mode()
def vectors(name: str, lower: list[str], device: torch.device) -> Iterator[dict[str, Any]]:
    torch.manual_seed(0)
    with torch.device(device):
        model = ESM2(ESM2_SHAPES[name]).eval()
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5.6, 0.6, 96), 22, 1024).astype(int)
    rows = [np.concatenate(([0], rng.integers(4, 24, n - 2), [2])) for n in lengths]
    batch = pack([TokenSequence(str(i), row) for i, row in enumerate(rows)]).to(device)

    def pooled(precision: str) -> torch.Tensor:
        placed = copy.deepcopy(model).place(device, PRECISIONS[precision])
        hidden = placed.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[model.n_layers]
        return mean_pool_packed(hidden, batch.cu_seqlens, PoolingWindow(1, 1), batch.position_ids).double()

    exact = pooled("fp32")
    rest = torch.ones(model.width, dtype=torch.bool, device=device)
    rest[exact.abs().mean(0).argmax()] = False
    for precision in lower:
        found = pooled(precision)
        row: dict[str, Any] = {"what": "vectors", "model": f"ESM-2 {name}, random", "precision": precision}
        for label, kept in (("", slice(None)), ("_without_largest_channel", rest)):
            errors = (found - exact)[:, kept].norm(dim=1) / exact[:, kept].norm(dim=1)
            row |= {f"largest{label}": f"{errors.max():.2e}", f"median{label}": f"{errors.median():.2e}"}
        yield row


def scores(data: Path, split: str, name: str, lower: list[str], device: str) -> Iterator[dict[str, Any]]:
    genomes = read_genomes(data, split, exclude=["viroid"])
    per_class = {c: 1200 if c == VIRUS else 200 for c in set(genomes.classes.tolist())}
    windows = {length: sample_windows(genomes, length, per_class, seed=0) for length in LENGTHS}
    exact: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for precision in ["fp32", *lower]:
        predictor = Predictor(load_model(name), Options(device=device, precision=precision))
        for length, drawn in windows.items():
            calls = [r.call for r in predictor.run(Record(str(i), w.sequence) for i, w in enumerate(drawn))]
            found = np.array([np.nan if call.virus_score is None else call.virus_score for call in calls])
            virus = np.array([call.is_virus for call in calls])
            classes = [w.class_name for w in drawn]
            accuracy = evaluate([None if np.isnan(s) else s for s in found], classes)["macro_auroc"]
            row = {"what": "scores", "model": name, "precision": precision, "length": length, "macro_auroc": accuracy}
            if precision == "fp32":
                exact[length] = found, virus
            else:
                reference, called = exact[length]
                off, flipped = np.abs(found - reference), virus != called
                decision = predictor.decision
                cut = decision.min_score
                if cut is None:
                    cut = float(probability(decision.thresholds[length], decision.prevalence))
                row |= {
                    "largest_difference": round(float(np.nanmax(off)), 5),
                    "mean_difference": round(float(np.nanmean(off)), 6),
                    "flips": int(flipped.sum()), "calls": len(calls),
                    "farthest_flip": round(float(np.abs(reference - cut)[flipped].max(initial=0)), 5),
                }  # fmt: skip
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument(
        "--models", type=str.split, default=["8M", "35M", "150M", "650M", "3B"], help="with spaces between"
    )
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["bf16", "fp16", "fp8"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--split", default="val")
    parser.add_argument("--name", default="precision", help="the JSON is benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.models:
        rows += vectors(name, arguments.precisions, torch.device(arguments.device))
        print(*rows[-len(arguments.precisions) :], sep="\n", flush=True)
    if arguments.data:
        rows += scores(arguments.data, arguments.split, arguments.model, arguments.precisions, arguments.device)
    write_results(arguments.name, rows)


if __name__ == "__main__":
    main()
