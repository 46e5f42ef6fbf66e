"""Embeddings of whole sequences with one of a model's encoders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from virnucpro.config import default_threads
from virnucpro.errors import ConfigError, InputError, OutputError
from virnucpro.models.registry import load_model
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.device import PRECISIONS, choose_device, choose_precision
from virnucpro.pipeline.outputs import atomic_path, atomic_writer
from virnucpro.pipeline.predict import Options
from virnucpro.types import Record


def embed_records(
    records: Iterable[Record], directory: Path, model: str, kind: str, options: Options
) -> tuple[int, int]:
    """Write embeddings.safetensors and ids.tsv; return the number of sequences and the width.

    Raises:
        ConfigError: `kind` is neither protein nor nucleotide.
        InputError: a record has no sequence.
        OutputError: a file cannot be written.
    """
    if kind not in ("protein", "nucleotide"):
        raise ConfigError(f"kind must be protein or nucleotide, got {kind!r}")
    encoder = getattr(load_model(model), kind)
    device = choose_device(options.device)
    torch.set_num_threads(options.threads or default_threads())
    encoder.model.place(device, PRECISIONS[choose_precision(options.precision, device)], options.attention).eval()
    runner = AsyncInferenceRunner(encoder, device, options.max_tokens, options.packing)

    everything = list(records)
    if empty := next((record for record in everything if not record.sequence), None):
        raise InputError(f"{empty.source}: record {empty.id!r} has no sequence; remove it")
    sequences = [record.sequence for record in everything]
    if kind == "nucleotide":
        sequences = [sequence.replace(b"U", b"T") for sequence in sequences]  # RNA, as `predict` reads it
    vectors = runner.embed(sequences)
    path = directory / "embeddings.safetensors"
    with atomic_path(path) as temporary:
        try:
            save_file({"embeddings": torch.from_numpy(vectors)}, temporary)
        except SafetensorError as error:
            raise OutputError(f"{path} cannot be written: {error}; choose another --output") from error
        temporary.chmod(0o644)  # safetensors writes it readable by its owner alone
    with atomic_writer(directory / "ids.tsv") as file:
        file.write("row\tseq_name\tlength\n")
        file.writelines(f"{row}\t{r.id}\t{len(r.sequence)}\n" for row, r in enumerate(everything))
    return len(everything), encoder.model.width
