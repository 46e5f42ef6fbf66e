"""Mean vectors of one FASTA of proteins, file to file: ours beside fair-esm's way and loops over Hugging Face's model.

    python benchmarks/esm2_files.py [--fasta FILE] [--proteins 300] [--size 8M] [--rounds 3] [--device auto]

Each contender reads the FASTA, loads the same weights from files of its own form, embeds every protein and writes the
vectors. Weights are random, of a published shape. Without --fasta the proteins are random, with lengths as in a
bacterial proteome (log-normal, median 270, 30 to 1022 residues), in no order.

- `ours`: virnucpro.ESM2.from_pretrained, encode.
- `fair-esm`: as its extract.py does it: sorted, padded batches of 4096 tokens, one file a protein.
- `transformers`: in file order, 1, 8 or 32 at a time, or sorted by length in padded batches of 4096 tokens.

Contenders take turns, round by round; the figure is the median. On a CPU everybody has one thread, and seconds are CPU
seconds of the process, which other programs disturb less; on a GPU they are wall seconds, and a batch has 16384 tokens.

Writes benchmarks/results/esm2_files_DEVICE.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from esm2_contenders import importable
from timing import cpu_name, write_results

import virnucpro
from virnucpro.models import ESM2_SHAPES

LETTERS = "LAGVSERTIDPKQNFYMHWC"
LONGEST = 1022
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Work = Callable[[Path, Path], np.ndarray]  # FASTA and output folder to vectors (N, D) in the order of the file


def write_proteins(path: Path, count: int) -> None:
    """Write random proteins of mixed lengths."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(270), 0.6, count), 30, LONGEST).astype(int)
    path.write_text("".join(f">p{n}\n{''.join(rng.choice(list(LETTERS), size))}\n" for n, size in enumerate(lengths)))


def read_proteins(path: Path) -> tuple[list[str], list[str]]:
    """Return names and sequences of a FASTA, cut at the longest that fair-esm's way takes."""
    found = virnucpro.read_records(str(path), kind="protein")
    records = [(record.id, record.sequence.decode()[:LONGEST]) for record in found]
    return [name for name, _ in records], [sequence for _, sequence in records]


def save_weights(size: str, folder: Path) -> tuple[Path, Path]:
    """Write random weights as a checkpoint of fair-esm and as a folder in Hugging Face's form."""
    from esm.model.esm2 import ESM2 as FairESM2  # noqa: N811

    config = ESM2_SHAPES[size]
    torch.manual_seed(0)
    model = FairESM2(config.layers, config.width, config.heads, "ESM-1b", token_dropout=True)
    state = {
        ("encoder." if name.startswith("lm_head.") else "encoder.sentence_encoder.") + name: value
        for name, value in model.state_dict().items()
        if not name.startswith("contact_head.")
    }
    checkpoint, hugging_face = folder / f"{size}.pt", folder / size
    torch.save({"cfg": {"model": Namespace(encoder_attention_heads=config.heads)}, "model": state}, checkpoint)
    virnucpro.ESM2.from_pretrained(checkpoint, device="cpu", precision="fp32").save_pretrained(hugging_face)
    return checkpoint, hugging_face


def ours(weights: Path, device: torch.device, precision: str) -> Work:
    def work(fasta: Path, output: Path) -> np.ndarray:
        names, proteins = read_proteins(fasta)
        threads = 1 if device.type == "cpu" else None
        esm = virnucpro.ESM2.from_pretrained(weights, device=str(device), precision=precision, threads=threads)
        vectors = esm.encode(proteins)
        np.savez(output / "vectors.npz", names=names, vectors=vectors)
        return vectors

    return work


def in_batches(proteins: list[str], at_a_time: int | None, tokens: int) -> Iterator[list[int]]:
    """Yield the numbers of the proteins of each batch: in file order, or sorted up to so many padded tokens."""
    if at_a_time:
        yield from ([*range(i, min(i + at_a_time, len(proteins)))] for i in range(0, len(proteins), at_a_time))
        return
    batch: list[int] = []
    for number in sorted(range(len(proteins)), key=lambda n: len(proteins[n])):
        if batch and (len(batch) + 1) * (len(proteins[number]) + 2) > tokens:
            yield batch
            batch = []
        batch.append(number)
    yield batch


def transformers(weights: Path, device: torch.device, precision: str, at_a_time: int | None, tokens: int) -> Work:
    @torch.inference_mode()
    def work(fasta: Path, output: Path) -> np.ndarray:
        from transformers import EsmModel, EsmTokenizer

        names, proteins = read_proteins(fasta)
        (output / "vocab.txt").write_text("\n".join(("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
                                                     "<null_1>", "<mask>")))  # fmt: skip
        tokenizer = EsmTokenizer(str(output / "vocab.txt"))
        model = EsmModel.from_pretrained(weights, add_pooling_layer=False, attn_implementation="sdpa")
        model.eval().to(device, DTYPES[precision])
        vectors = np.empty((len(proteins), model.config.hidden_size), np.float32)
        for batch in in_batches(proteins, at_a_time, tokens):
            inputs = tokenizer([proteins[n] for n in batch], return_tensors="pt", padding=True).to(device)
            states = model(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"].clone()
            mask[:, 0] = 0
            mask[torch.arange(len(batch)), inputs["attention_mask"].sum(1) - 1] = 0  # <eos>
            vectors[batch] = ((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).cpu().numpy()
        np.savez(output / "vectors.npz", names=names, vectors=vectors)
        return vectors

    return work


def fair_esm(checkpoint: Path, size: str, device: torch.device, tokens: int) -> Work:
    @torch.inference_mode()
    def work(fasta: Path, output: Path) -> np.ndarray:
        from esm import Alphabet, FastaBatchedDataset
        from esm.model.esm2 import ESM2 as FairESM2  # noqa: N811

        config = ESM2_SHAPES[size]
        with torch.serialization.safe_globals([Namespace]):
            state = torch.load(checkpoint, weights_only=True)["model"]
        model = FairESM2(config.layers, config.width, config.heads, "ESM-1b", token_dropout=True)
        names = {key.removeprefix("encoder.").removeprefix("sentence_encoder."): key for key in state}
        model.load_state_dict({name: state[key] for name, key in names.items()}, strict=False)
        model.eval().to(device)
        dataset = FastaBatchedDataset.from_file(fasta)
        loader = torch.utils.data.DataLoader(
            dataset,
            collate_fn=Alphabet.from_architecture("ESM-1b").get_batch_converter(LONGEST),
            batch_sampler=dataset.get_batch_indices(tokens, extra_toks_per_seq=1),
        )
        found = {}
        for labels, proteins, ids in loader:
            states = model(ids.to(device), repr_layers=[config.layers])["representations"][config.layers].cpu()
            for label, protein, state in zip(labels, proteins, states, strict=True):
                found[label] = state[1 : min(len(protein), LONGEST) + 1].mean(0).clone()
                torch.save(
                    {"label": label, "mean_representations": {config.layers: found[label]}}, output / f"{label}.pt"
                )
        return torch.stack([found[label] for label in dataset.sequence_labels]).numpy()

    return work


def contenders(size: str, folder: Path, device: torch.device) -> Iterator[tuple[str, Work]]:
    checkpoint, weights = save_weights(size, folder)
    on_gpu = device.type == "cuda"
    tokens = 16384 if on_gpu else 4096
    for precision in DTYPES if on_gpu or torch.cpu._is_avx512_bf16_supported() else ["fp32"]:
        yield f"ours {precision}", ours(weights, device, precision)
        for at_a_time in (1, 8, 32, None):
            order = f"file order, {at_a_time} at a time" if at_a_time else "sorted"
            yield f"transformers {precision}, {order}", transformers(weights, device, precision, at_a_time, tokens)
    yield "fair-esm fp32", fair_esm(checkpoint, size, device, tokens)


def seconds(work: Work, fasta: Path, device: torch.device) -> tuple[float, np.ndarray]:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    with tempfile.TemporaryDirectory() as output:
        begin = clock()
        vectors = work(fasta, Path(output))
        return clock() - begin, vectors


def measure(fasta: Path, size: str, rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """Return a row a contender: seconds, rate, speed beside Hugging Face in file order, distance of the vectors."""
    with tempfile.TemporaryDirectory() as folder:
        work = dict(contenders(size, Path(folder), device))
        small = Path(folder) / "small.fa"
        write_proteins(small, 4)
        for function in work.values():
            seconds(function, small, device)
        times: dict[str, list[float]] = {name: [] for name in work}
        vectors = {}
        for _, name in itertools.product(range(rounds), work):
            spent, vectors[name] = seconds(work[name], fasta, device)
            times[name].append(spent)
            print(f"{name}: {spent:.1f} s", flush=True)
    expected = vectors["ours fp32"]
    proteins = read_proteins(fasta)[1]
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    rows = []
    for name, spent in medians.items():
        precision = name.split()[1].rstrip(",")
        in_order = [medians[f"transformers {precision}, file order, {n} at a time"] for n in (1, 8, 32)]
        error = np.linalg.norm(vectors[name] - expected, axis=1) / np.linalg.norm(expected, axis=1)
        rows.append(
            {
                "contender": name, "size": size, "proteins": len(proteins), "residues": sum(map(len, proteins)),
                "seconds": round(spent, 2), "lowest": round(min(times[name]), 2), "highest": round(max(times[name]), 2),
                "proteins_per_s": round(len(proteins) / spent, 1), "rounds": rounds,
                "times_best_file_order": round(min(in_order) / spent, 2),
                "times_file_order_8": round(in_order[1] / spent, 2),
                "largest_relative_error": float(f"{error.max():.1e}"),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", type=Path)
    parser.add_argument("--proteins", type=int, default=300)
    parser.add_argument("--size", default="8M", choices=ESM2_SHAPES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args()
    if not (importable("transformers") and importable("esm")):
        raise SystemExit("needs: pip install transformers fair-esm")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    there = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(there if arguments.device == "auto" else arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        fasta = arguments.fasta or Path(folder) / "proteins.fa"
        if not arguments.fasta:
            write_proteins(fasta, arguments.proteins)
        rows = measure(fasta, arguments.size, arguments.rounds, device)
    described = f"{cpu_name()}, load {os.getloadavg()[0]:.1f} at the end" if device.type == "cpu" else None
    name = "cpu" if device.type == "cpu" else "gpu"
    write_results(f"esm2_files_{name}", rows, device=described, peers=("transformers", "fair-esm"))


if __name__ == "__main__":
    main()
