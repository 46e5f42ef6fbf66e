"""ESM-2 on one CPU thread: ours beside Hugging Face, fair-esm, ONNX Runtime and OpenVINO, in one process.

    python benchmarks/cpu_esm2.py [--models 8M,35M] [--rounds 7] [--contenders ours,hf,fair,onnx,openvino]

Weights are random, of the published shapes; sequences are random, of 30 to 166 residues, in random order. Tokens are
real ones (<cls>, residues, <eos>), never padding, and seconds are CPU seconds of the process, which other programs on
the machine disturb less than wall time. Contenders take turns, round by round; the figure is the median of the
rounds, at the better of two batch sizes, which the first round finds. Goals: 1.2 times Hugging Face in bf16 sorted by
length, 3 times Hugging Face in file order (fp32, as a model loads), OpenVINO less 10 %.

ONNX Runtime and OpenVINO run our padded model, traced, on batches sorted by length; they are left out where not
installed: pip install onnx onnxruntime openvino. bf16 is left out where the CPU has no instructions for it.

Writes benchmarks/results/cpu_esm2.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from esm2_contenders import Batch, Contender, fair_esm, hugging_face, importable, ours, padded_batches
from timing import cpu_name, write_results
from torch import Tensor, nn

from virnucpro.data import TokenSequence
from virnucpro.models import ESM2, ESM2_SHAPES, ESM2Config

CPU = torch.device("cpu")
BUDGETS = (1024, 4096)  # tokens a batch
TOKENS = {"8M": 16_384, "35M": 8_192}  # of a round
PEERS = ("transformers", "fair-esm", "onnxruntime", "openvino")
OURS_BF16 = "ours bf16"
GOALS = {"transformers bf16, sorted": 1.2, "transformers fp32, file order": 3.0, "openvino bf16, sorted": 0.9}


def draw(tokens: int) -> list[TokenSequence]:
    """Return random sequences of 30 to 166 residues with <cls> and <eos>, `tokens` tokens in all or a few more."""
    rng = np.random.default_rng(0)
    sequences: list[TokenSequence] = []
    while sum(len(s.tokens) for s in sequences) < tokens:
        row = rng.integers(4, 24, size=rng.integers(30, 167) + 2)
        row[0], row[-1] = 0, 2
        sequences.append(TokenSequence(str(len(sequences)), row))
    return sequences


class _Padded(nn.Module):
    """Our padded model as a function of one tensor, for tracing."""

    def __init__(self, config: ESM2Config) -> None:
        super().__init__()
        self.model = ESM2(config).eval()

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids)[self.model.n_layers]  # type: ignore[no-any-return]


def _example() -> Tensor:
    rows = torch.full((3, 40), 5)
    rows[0, 30:] = 1
    return rows


def _engine(run: Callable[[Any], object]) -> Contender:
    def batches(sequences: list[TokenSequence], budget: int) -> list[Batch]:
        padded = padded_batches(CPU, by_length=True)(sequences, budget)
        return [Batch(batch.tokens, (batch.inputs[0].numpy(),)) for batch in padded]

    return Contender(run, batches, BUDGETS)


def open_vino(config: ESM2Config, precision: str) -> Contender:
    import openvino

    with torch.no_grad():
        converted = openvino.convert_model(_Padded(config), example_input=_example())
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "THROUGHPUT"}
    return _engine(openvino.compile_model(converted, "CPU", {**hints, "NUM_STREAMS": 1}))


def onnx_runtime(config: ESM2Config) -> Contender:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        axes = {"input_ids": {0: "rows", 1: "padded"}}
        torch.onnx.export(
            _Padded(config), (_example(),), path, dynamo=False, input_names=["input_ids"], dynamic_axes=axes,
            opset_version=17,
        )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return _engine(lambda ids: session.run(None, {"input_ids": ids}))


def contenders(config: ESM2Config, kinds: list[str]) -> Iterator[tuple[str, Contender]]:
    """Yield the contenders that can run here by name."""
    has_bf16 = torch.cpu._is_avx512_bf16_supported()
    if not has_bf16:
        print("skipped: bf16, this CPU has no instructions for it", flush=True)
    precisions = {"fp32": torch.float32, **({"bf16": torch.bfloat16} if has_bf16 else {})}
    for precision, dtype in precisions.items():
        if "ours" in kinds:
            yield f"ours {precision}", replace(ours(config, dtype, CPU), budgets=BUDGETS)
        if "hf" in kinds and importable("transformers"):
            for order in ("file order", "sorted"):
                made = hugging_face(config, dtype, CPU, by_length=order == "sorted")
                yield f"transformers {precision}, {order}", replace(made, budgets=BUDGETS)
        if "openvino" in kinds and importable("openvino"):
            yield f"openvino {precision}, sorted", open_vino(config, {"fp32": "f32", "bf16": "bf16"}[precision])
    if "fair" in kinds and importable("esm"):
        made = replace(fair_esm(config, False, CPU), budgets=BUDGETS)
        yield "fair-esm fp32, file order", made
        yield "fair-esm fp32, sorted", replace(made, batches=padded_batches(CPU, by_length=True))
    if "onnx" in kinds and importable("onnx") and importable("onnxruntime"):
        yield "onnxruntime fp32, sorted", onnx_runtime(config)


@dataclass(slots=True)
class Entry:
    """A contender, its batches and what was measured of it."""

    name: str
    contender: Contender
    batches: list[Batch] = field(default_factory=list)
    budget: int = 0
    rates: list[float] = field(default_factory=list)

    def choose(self, sequences: list[TokenSequence]) -> None:
        """Take the batch size of the higher rate, after a warm-up of each."""
        found = {}
        for budget in self.contender.budgets:
            batches = self.contender.batches(sequences, budget)
            self.rate(batches[:1])
            found[budget] = self.rate(batches), batches
        self.budget = max(found, key=lambda budget: found[budget][0])
        self.batches = found[self.budget][1]

    @torch.inference_mode()
    def rate(self, batches: list[Batch]) -> float:
        """Return tokens per CPU-second."""
        begin = time.process_time()
        for batch in batches:
            self.contender.step(*batch.inputs)
        return sum(batch.tokens for batch in batches) / (time.process_time() - begin)

    def row(self, model: str) -> dict[str, Any]:
        low, high = min(self.rates), max(self.rates)
        return {
            "contender": self.name, "model": model, "tokens_per_cpu_s": round(statistics.median(self.rates)),
            "lowest": round(low), "highest": round(high), "rounds": len(self.rates), "tokens_a_batch": self.budget,
        }  # fmt: skip


def measure(model: str, kinds: list[str], rounds: int) -> list[dict[str, Any]]:
    """Return the rows of one model: contenders, then our ratio to those of the goals."""
    sequences = draw(TOKENS[model])
    entries = [Entry(name, contender) for name, contender in contenders(ESM2_SHAPES[model], kinds)]
    for entry in entries:
        entry.choose(sequences)
    for _, entry in itertools.product(range(rounds), entries):
        entry.rates.append(entry.rate(entry.batches))
    rows = [entry.row(model) for entry in entries]
    rates = {row["contender"]: row["tokens_per_cpu_s"] for row in rows}
    for row in rows:
        if (goal := GOALS.get(row["contender"])) and OURS_BF16 in rates:
            row |= {"ours_bf16_is": round(rates[OURS_BF16] / row["tokens_per_cpu_s"], 2), "goal": goal}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="8M,35M")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--contenders", default="ours,hf,fair,onnx,openvino")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for model in arguments.models.split(","):
        rows += measure(model, arguments.contenders.split(","), arguments.rounds)
    load = f"load {os.getloadavg()[0]:.1f} at the end, one thread measured"
    write_results("cpu_esm2", rows, device=f"{cpu_name()}, {load}", peers=PEERS)


if __name__ == "__main__":
    main()
