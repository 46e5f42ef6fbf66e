"""`predict` from a FASTA file with models of the published shapes and random weights: is the GPU kept busy?

    python benchmarks/gpu_end_to_end.py --tokenizer DIR [--chunks 20000] [--protein 3B] [--smoke]

DIR holds the tokenizer.json of DNABERT-2. Compares the protein tokens per second of the whole run with those of the
model alone on batches that lie on the device already, and says what share of the wall time DNABERT-S takes.
Writes benchmarks/results/gpu_end_to_end.json. --smoke runs tiny shapes, also on a CPU, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from timing import write_results

from virnucpro.config import FrameRule
from virnucpro.data import VarlenCollator
from virnucpro.models import ESM2_SHAPES, DNABERTConfig, ESM2Config
from virnucpro.models.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.models.registry import Model, build_model
from virnucpro.pipeline.device import choose_device
from virnucpro.pipeline.engine import LocalEngine
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pipeline.provenance import describe_predictor
from virnucpro.pipeline.run import Request, run
from virnucpro.seq import read_records

MAX_TOKENS = 16384


def published_shape(protein: ESM2Config, nucleotide: DNABERTConfig, tokenizer: Path, device: torch.device) -> Model:
    """Return a model of the published structure with random weights, made on the device."""
    description = ModelDescription(
        name="random", chunk_length=500, min_length=3, frame_rule=FrameRule("stop_free"),
        nucleotide=EncoderDescription("dnabert", asdict(nucleotide), "bpe", 0, 0),
        protein=EncoderDescription("esm2", asdict(protein), "esm2", 1, 1, 1024),
        classifier=ClassifierDescription("mlp", protein.width + nucleotide.width, 512), vote="max",
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        return build_model(description, tokenizer)


def write_chunks(path: Path, chunks: int) -> None:
    """Write records of 500 nt, each with at least one frame free of stop codons."""
    rng = np.random.default_rng(0)
    codons = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT" if a + b + c not in ("TAA", "TAG", "TGA")]
    with path.open("w") as file:
        for number in range(chunks):
            file.write(f">chunk{number}\n{''.join(rng.choice(codons, 167))[:500]}\n")


def model_only(predictor: Predictor, seconds: float) -> float:
    """Return the tokens per second of the protein encoder on one full batch of 168 tokens a sequence."""
    runner = predictor.protein
    rng = np.random.default_rng(1)
    proteins = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 166)).encode() for _ in range(MAX_TOKENS // 168)]
    batch = VarlenCollator(runner.encoder.tokenizer)([(str(i), p) for i, p in enumerate(proteins)]).to(runner.device)
    wait = torch.cuda.synchronize if runner.device.type == "cuda" else lambda: None
    tokens, begin = 0, 0.0
    with torch.inference_mode():
        for number in range(10_000):
            if number == 3:  # after warm-up
                wait()
                tokens, begin = 0, time.perf_counter()
            runner.pool(runner.encode(batch), batch)
            tokens += batch.num_tokens
            if number > 3 and number % 5 == 0:
                wait()
                if time.perf_counter() - begin > seconds:
                    break
    wait()
    return tokens / (time.perf_counter() - begin)


class Made(LocalEngine):
    """The engine of `virnucpro predict` with a model that is in no directory."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.told = predictor, describe_predictor("bundled", predictor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--protein", choices=ESM2_SHAPES, default="3B")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    device = choose_device("auto")
    protein, nucleotide = ESM2_SHAPES[arguments.protein], DNABERTConfig()
    if arguments.smoke:
        protein, nucleotide = ESM2Config(2, 64, 4), DNABERTConfig(2, 48, 12, 96)
    predictor = Predictor(
        published_shape(protein, nucleotide, arguments.tokenizer, device), Options(max_tokens=MAX_TOKENS)
    )
    alone = model_only(predictor, arguments.seconds)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "chunks.fa"
        write_chunks(path, arguments.chunks)
        output = Path(directory) / "run"
        begin = time.perf_counter()
        run(Request([str(path)], output), lambda request: nullcontext(Made(predictor)))
        wall = time.perf_counter() - begin
        frames = json.loads((output / "run.json").read_text())["counts"]["frames"]
        sequences = [record.sequence for record in read_records([path])]
        begin = time.perf_counter()
        predictor.nucleotide.embed(sequences)
        dnabert = (time.perf_counter() - begin) * frames / len(sequences)
    tokens = 168 * frames
    row = {
        "protein": arguments.protein, "chunks": arguments.chunks, "frames": frames, "seconds": round(wall, 1),
        "protein_tokens_per_s": round(tokens / wall), "model_only_tokens_per_s": round(alone),
        "ratio": round(tokens / wall / alone, 3), "dnabert_share_of_wall": round(dnabert / wall, 3),
        "precision": predictor.precision, "attention": predictor.protein.encoder.model.backend.name,
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if device.type == "cuda" else None,
    }  # fmt: skip
    if arguments.smoke:
        print(row)
    else:
        write_results("gpu_end_to_end", [row])


if __name__ == "__main__":
    main()
