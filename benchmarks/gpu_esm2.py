"""ESM-2 on one GPU: ours, Hugging Face and fair-esm beside the matrix products alone, in one process.

    python benchmarks/gpu_esm2.py [--models 3B,650M] [--workloads equal,proteins] [--contenders bound,ours] ...

Weights and sequences are random. Tokens are real ones (<cls>, residues, <eos>), never padding. Every contender runs
at the best of several batch sizes, which a short run each finds, for at least --seconds; the figure is the median
of five parts of that time. Inputs lie on the GPU before the clock starts. Writes benchmarks/results/NAME.json.

contenders (--contenders)
    bound   the four products of every layer and nothing else, without bias: what ratio_to_bound refers to; in fp8 of
            numbers that are quantised already
    ours    forward_packed with each attention backend that the device offers
    plain   ours without the fused kernels, with the preferred backend
    hf      transformers EsmModel with sdpa, padded, in file order and, where lengths differ, sorted by length
    fair    fair-esm: float32 at 2 k tokens a batch in file order, and float16 autocast sorted by length
workloads (--workloads)
    equal     sequences of 168 tokens: translated frames of 500 nt
    proteins  log-normal lengths, mean 320, 22 to 1024 tokens
    reads     sequences of 51 tokens: translated frames of 147 nt
"""

from __future__ import annotations

import argparse
import gc
import itertools
import math
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from esm2_contenders import CONTENDERS, PRECISIONS, Batch, Contender, entries
from timing import write_results

from virnucpro.data import TokenSequence
from virnucpro.models import ESM2_SHAPES, ESM2Config

WORKLOADS = ("equal", "proteins", "reads")
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense half precision, FLOP/s, from the data sheets
PARTS = 5
PEERS = ("triton", "flash-attn", "transformers", "fair-esm")


def draw(workload: str, tokens: int) -> list[TokenSequence]:
    """Return random sequences of at least `tokens` tokens in all, in the order of a file."""
    rng = np.random.default_rng(0)
    sigma = 0.6  # with the mean, about the spread of a bacterial proteome
    lengths = {
        "equal": lambda: 168,
        "proteins": lambda: int(np.clip(rng.lognormal(math.log(320) - sigma**2 / 2, sigma), 22, 1024)),
        "reads": lambda: 51,
    }[workload]
    sequences: list[TokenSequence] = []
    total = 0
    while total < tokens:
        row = rng.integers(4, 24, size=lengths())
        row[0], row[-1] = 0, 2
        sequences.append(TokenSequence(str(len(sequences)), row))
        total += len(row)
    return sequences


# ---- the clock


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(contender: Contender, batches: list[Batch], device: torch.device) -> float:
    wait(device)
    begin = time.perf_counter()
    for batch in batches:
        contender.step(*batch.inputs)
    wait(device)
    return time.perf_counter() - begin


@torch.inference_mode()
def tokens_per_second(
    contender: Contender, batches: list[Batch], seconds: float, device: torch.device, parts: int = PARTS
) -> float:
    """Return the median rate over parts of at least `seconds` in all, after a warm-up."""
    largest = max(batches, key=lambda batch: batch.tokens)
    seconds_of(contender, [largest], device)  # loads kernels, takes memory
    per_token = seconds_of(contender, [largest], device) / largest.tokens
    per_batch = per_token * statistics.mean(batch.tokens for batch in batches)
    endless = itertools.cycle(batches)
    count = max(1, math.ceil(seconds / parts / per_batch))
    rates: list[float] = []
    spent = 0.0
    while len(rates) < parts or spent < seconds:
        part = list(itertools.islice(endless, count))
        elapsed = seconds_of(contender, part, device)
        rates.append(sum(batch.tokens for batch in part) / elapsed)
        spent += elapsed
    return statistics.median(rates)


def best_budget(
    contender: Contender, sequences: list[TokenSequence], seconds: float, device: torch.device
) -> tuple[int, list[Batch]]:
    """Return the token budget with the highest rate in a short run, and its batches: none where none fits."""
    found: list[tuple[float, int, list[Batch]]] = []
    tokens = sum(len(sequence.tokens) for sequence in sequences)
    for budget in contender.budgets:
        if budget > tokens:
            break
        try:
            batches = contender.batches(sequences, budget)
            found.append((tokens_per_second(contender, batches, seconds / 20, device, parts=1), budget, batches))
        except torch.cuda.OutOfMemoryError:
            print(f"out of memory at {budget} tokens a batch", flush=True)
            break
        if found[-1][0] < 0.9 * max(rate for rate, _, _ in found):
            break  # past the best one
    if not found:
        return 0, []
    _, budget, batches = max(found, key=lambda entry: entry[0])
    return budget, batches


def measure(
    contender: Contender, sequences: list[TokenSequence], seconds: float, device: torch.device
) -> dict[str, Any] | None:
    """Return the rate at the best budget, the peak memory and the budget; None where nothing fits into memory."""
    on_gpu = device.type == "cuda"
    budget, batches = best_budget(contender, sequences, seconds, device)
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if not batches:
        return None
    rate = tokens_per_second(contender, batches, seconds, device)
    peak = round(torch.cuda.max_memory_allocated() / 1e9, 2) if on_gpu else None
    return {"tokens_per_s": round(rate), "peak_gb": peak, "budget": budget}


def flop_per_token(config: ESM2Config, sequences: list[TokenSequence]) -> float:
    """Return the operations of the dense products and of attention; a token's share of the latter is its length."""
    lengths = np.array([len(s.tokens) for s in sequences], dtype=float)
    return config.layers * config.width * (24 * config.width + 4 * float((lengths**2).sum() / lengths.sum()))


def rows_of(
    model: str, config: ESM2Config, arguments: argparse.Namespace, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one model, contender by contender."""
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else ""
    flop_per_s = next((value for name, value in PEAKS.items() if name in gpu), None)
    bounds: dict[str, float] = {}
    for name, precision, factory in entries(
        config, arguments.contenders, arguments.precisions, device, arguments.attention
    ):
        contender = factory()
        is_bound = name == "gemm-bound"  # the products know no sequences
        for workload in ["all"] if is_bound else arguments.workloads:
            if name == "transformers sdpa, sorted" and workload != "proteins":
                continue  # of equal lengths, which are sorted in file order, too
            sequences = draw("equal" if is_bound else workload, 4096 if arguments.smoke else 1 << 20)
            found = measure(contender, sequences, arguments.seconds, device)
            if found is None:
                continue
            if is_bound:
                bounds[precision] = found["tokens_per_s"]
            bound = bounds.get(precision) or max(bounds.values(), default=None)
            flop = 24 * config.layers * config.width**2 if is_bound else flop_per_token(config, sequences)
            yield {
                "contender": name, "model": model, "workload": workload, "precision": precision, **found,
                "ratio_to_bound": round(found["tokens_per_s"] / bound, 3) if bound else None,
                "mfu": round(found["tokens_per_s"] * flop / flop_per_s, 3) if flop_per_s else None,
            }  # fmt: skip
        del contender
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def main() -> None:
    def listed(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=listed, default=["8M", "35M", "150M", "650M", "3B"])
    parser.add_argument("--workloads", type=listed, default=list(WORKLOADS))
    parser.add_argument("--contenders", type=listed, default=list(CONTENDERS))
    parser.add_argument("--precisions", type=listed, default=list(PRECISIONS))
    parser.add_argument("--attention", type=listed, default=[], help="backends of ours; all that there are")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each contender, model and workload")
    parser.add_argument("--name", default="gpu_esm2", help="the JSON is benchmarks/results/NAME.json")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on the CPU; writes nothing")
    arguments = parser.parse_args()
    device = torch.device("cpu" if arguments.smoke else "cuda")
    models = {"tiny": ESM2Config(2, 64, 4)} if arguments.smoke else {m: ESM2_SHAPES[m] for m in arguments.models}
    rows: list[dict[str, Any]] = []
    for model, config in models.items():
        for row in rows_of(model, config, arguments, device):
            rows.append(row)
            print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)
            if not arguments.smoke:  # after each row: what has been measured survives an interruption
                write_results(arguments.name, rows, peers=PEERS, show=False)


if __name__ == "__main__":
    main()
