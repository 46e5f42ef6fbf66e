"""`virnucpro predict` with a model of the published shapes and random weights: is the GPU, are all GPUs kept busy?

    python benchmarks/gpu_end_to_end.py --tokenizer DIR [--chunks 40960] [--protein 3B] [--ray 1,2] [--smoke]

DIR holds the tokenizer.json of DNABERT-2. A model directory is written (float32, 12 GB, as the published weights are)
and the command runs on a FASTA file, with the local engine and on Ray with each number of GPUs of --ray. Its rate of
protein tokens stands beside that of the encoder alone on batches that lie on the device already; the share of DNABERT-S
is its time alone on such sequences. `predict_s` is all from the first loaded model to the finished tables; GPU use is
nvidia-smi's between the first and the last work of a GPU in that time. Writes benchmarks/results/gpu_end_to_end.json.
--smoke runs tiny shapes, also on a CPU, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import write_results

from virnucpro.config import FrameRule
from virnucpro.data import VarlenCollator
from virnucpro.models import ESM2_SHAPES, DNABERTConfig, ESM2Config
from virnucpro.pipeline.device import choose_device
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pretrained.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.pretrained.registry import Model, build_model
from virnucpro.pretrained.weights import save_module, sha256
from virnucpro.seq import read_records

TOKENS_A_FRAME = 168
DNABERT_CHUNKS = 8192  # on which DNABERT-S is timed alone


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


def write_model(model: Model, tokenizer: Path, directory: Path) -> None:
    """Write a model directory, its weights in float32."""
    directory.mkdir()
    (directory / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    for stem, module in model.parts().items():
        save_module(module, directory / f"{stem}.safetensors", torch.float32)
    checksums = {name: sha256(directory / name) for name in model.description.files()}
    replace(model.description, checksums=checksums).write_json(directory / "model.json")


def write_chunks(path: Path, chunks: int) -> None:
    """Write records of 500 nt, each with at least one frame free of stop codons."""
    rng = np.random.default_rng(0)
    codons = np.array(
        [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT" if a + b + c not in ("TAA", "TAG", "TGA")]
    )
    with path.open("w") as file:
        for number, row in enumerate(rng.choice(codons, (chunks, 167))):
            file.write(f">chunk{number}\n{''.join(row)[:500]}\n")


def model_only(predictor: Predictor, seconds: float) -> float:
    """Return the tokens per second of the protein encoder on one full batch of 168 tokens a sequence."""
    runner = predictor.protein
    rng = np.random.default_rng(1)
    letters = list("ACDEFGHIKLMNPQRSTVWY")
    proteins = [
        "".join(rng.choice(letters, TOKENS_A_FRAME - 2)).encode() for _ in range(runner.max_tokens // TOKENS_A_FRAME)
    ]
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


def use_at_work(uses: list[int], seconds: float) -> float:
    """Return the mean of a GPU's use, sampled every 0.25 s, from the first to the last work of the last `seconds`."""
    end = max((number for number, use in enumerate(uses) if use >= 20), default=0) + 1
    window = uses[max(0, end - round(seconds / 0.25)) : end]
    begin = next((number for number, use in enumerate(window) if use >= 20), 0)
    return round(statistics.mean(window[begin:]), 1)


def predict(chunks: Path, model: Path, output: Path, options: list[str], watch: bool) -> dict[str, Any]:
    """Run the command; return what run.json says of it, and what nvidia-smi saw of the GPUs that were used."""
    query = [
        "nvidia-smi",
        "--query-gpu=index,utilization.gpu,memory.used",
        "--format=csv,noheader,nounits",
        "-lms",
        "250",
    ]
    with tempfile.TemporaryFile("w+") as seen:
        watcher = subprocess.Popen(query, stdout=seen) if watch else None
        command = [sys.executable, "-m", "virnucpro", "predict", str(chunks), "--model", str(model), "-o", str(output)]
        begin = time.perf_counter()
        subprocess.run([*command, *options], check=True)
        wall = time.perf_counter() - begin
        manifest = json.loads((output / "run.json").read_text())
        seconds = manifest["seconds"]
        row: dict[str, Any] = {
            "chunks": manifest["counts"]["chunks"], "frames": manifest["counts"]["frames"], "wall_s": round(wall, 1),
            "load_s": round(seconds["load"], 1), "predict_s": round(seconds["predict"], 1),
            "chunks_per_s": round(manifest["counts"]["chunks"] / seconds["predict"], 1),
            "precision": manifest["options"]["precision"], "attention": manifest["attention"],
        }  # fmt: skip
        if watcher:
            watcher.terminate()
            watcher.wait()
            seen.seek(0)
            gpus: dict[int, list[tuple[int, int]]] = {}
            for line in seen.read().splitlines():
                if line.count(",") == 2:
                    index, use, memory = (int(field) for field in line.split(","))
                    gpus.setdefault(index, []).append((use, memory))
            used = [rows for rows in gpus.values() if max(memory for _, memory in rows) > 4000]
            row["gpu_use_percent"] = [use_at_work([use for use, _ in rows], seconds["predict"]) for rows in used]
            row["peak_gb"] = [round(max(memory for _, memory in rows) * 1.048576e-3, 1) for rows in used]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=40_960)
    parser.add_argument("--protein", choices=ESM2_SHAPES, default="3B")
    parser.add_argument("--ray", type=lambda text: text.split(","), default=[], help="numbers of GPUs, e.g. 1,2")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    device = choose_device("auto")
    on_gpu = device.type == "cuda"
    protein, nucleotide = ESM2_SHAPES[arguments.protein], DNABERTConfig()
    if arguments.smoke:
        protein, nucleotide = ESM2Config(2, 64, 4), DNABERTConfig(2, 48, 12, 96)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        chunks, model = Path(directory) / "chunks.fa", Path(directory) / "model"
        write_chunks(chunks, arguments.chunks)
        made = published_shape(protein, nucleotide, arguments.tokenizer, device)
        write_model(made, arguments.tokenizer, model)
        predictor = Predictor(made, Options())
        alone = model_only(predictor, arguments.seconds)
        sequences = [record.sequence for record, _ in zip(read_records([chunks]), range(DNABERT_CHUNKS), strict=False)]
        predictor.nucleotide.embed(sequences[:1024])  # warm-up
        begin = time.perf_counter()
        predictor.nucleotide.embed(sequences)
        a_frame = (time.perf_counter() - begin) / len(sequences)
        del made, predictor
        torch.cuda.empty_cache()
        runs = {"local": [], **{f"ray, {n} GPUs": ["--engine", "ray", "--gpus", n] for n in arguments.ray}}
        for name, options in runs.items():
            row = predict(chunks, model, Path(directory) / name.replace(", ", "-").replace(" ", ""), options, on_gpu)
            gpus = max(1, int(options[-1])) if options else 1
            rate = TOKENS_A_FRAME * row["frames"] / row["predict_s"] / gpus
            dnabert = a_frame * row["frames"] / row["predict_s"] / gpus
            to_local = rows[0]["predict_s"] / row["predict_s"] if rows else 1.0
            rows.append({
                "engine": name, "protein": arguments.protein, "to_local": round(to_local, 3), **row,
                "protein_tokens_per_s_and_gpu": round(rate), "model_only_tokens_per_s": round(alone),
                "ratio": round(rate / alone, 3), "dnabert_share": round(dnabert, 3),
                "ratio_less_dnabert": round(rate / alone / (1 - dnabert), 3),
            })  # fmt: skip
            print(rows[-1], flush=True)
            if not arguments.smoke:  # after each run: what has been measured survives an interruption
                write_results("gpu_end_to_end", rows, show=False)


if __name__ == "__main__":
    main()
