"""Embed sequences of any length with one language model: one vector per sequence, or per residue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from virnucpro.config import ComputeOptions
from virnucpro.data import iter_packed, prefetch
from virnucpro.errors import ConfigError, NumericalError
from virnucpro.models.tokenizers import ESM2Tokenizer
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.device import PRECISIONS, choose_device, choose_precision, divide_threads
from virnucpro.pretrained.registry import load_encoder
from virnucpro.types import Record

# The longest sequence that is embedded as a whole, in letters. For ESM-2 it is the longest of its training; DNABERT-S
# has no limit (ALiBi), so this bounds the memory.
LONGEST = {"protein": 1022, "nucleotide": 10_000}

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSettings:
    """How to embed: `kind` is protein or nucleotide; None is the model's only kind, or protein.

    `layer` 0 is the embedding, None the last layer; `per_residue` keeps a vector for each residue. Sequences longer
    than `max_length` (letters; None: `LONGEST`) are cut into windows of nearly equal length.
    """

    model: str
    kind: str | None = None
    layer: int | None = None
    per_residue: bool = False
    max_length: int | None = None


class Embedder:
    """A language model on its device.

    Raises:
        ConfigError: the settings do not fit the model, or the options the device.
    """

    def __init__(self, settings: EmbedSettings, options: ComputeOptions) -> None:
        self.settings = settings
        self.kind, encoder = load_encoder(settings.model, settings.kind)
        layers = encoder.model.n_layers
        if settings.layer is not None and not 0 <= settings.layer <= layers:
            raise ConfigError(
                f"layer must lie in 0..{layers} for the model {settings.model}, got {settings.layer}", "layer"
            )
        if settings.per_residue and not isinstance(encoder.tokenizer, ESM2Tokenizer):
            raise ConfigError(
                "per_residue needs one token per letter, but this encoder has longer tokens; use an ESM-2 model",
                "per_residue",
            )
        self.encoder = replace(encoder, layer=settings.layer)
        self.max_length = settings.max_length or LONGEST[self.kind]
        device = choose_device(options.device)
        self.precision = choose_precision(options.precision, device)
        encoder.model.place(device, PRECISIONS[self.precision], options.attention).eval()
        threads = divide_threads([encoder.model], options.threads)
        self.runner = AsyncInferenceRunner(self.encoder, device, options.max_tokens, options.packing, threads=threads)

    def embed(self, records: Sequence[Record]) -> Vectors:
        """Return one row per record, or one per residue with the residues of all records end to end, float32."""
        pieces = [windows(self._letters(record), self.max_length) for record in records]
        flat = [window for own in pieces for window in own]
        if self.settings.per_residue:
            return np.concatenate(list(embed_residues(self.runner, flat)))
        vectors = iter(self.runner.embed(flat))
        return np.stack([_mean([next(vectors) for _ in own], own) for own in pieces])

    def _letters(self, record: Record) -> bytes:
        # RNA is read as DNA, as in `predict`.
        return record.sequence.replace(b"U", b"T") if self.kind == "nucleotide" else record.sequence


def windows(sequence: bytes, max_length: int) -> list[bytes]:
    """Cut a sequence into the fewest windows of at most `max_length`, end to end, of nearly equal length.

    >>> windows(b"MKVLAAG", 3)
    [b'MK', b'VL', b'AAG']
    """
    n = max(1, -(-len(sequence) // max_length))
    bounds = [len(sequence) * i // n for i in range(n + 1)]
    return [sequence[begin:end] for begin, end in pairwise(bounds)]


def _mean(vectors: Sequence[Vectors], parts: Sequence[bytes]) -> Vectors:
    """Return the mean of all residues (D,): the windows' vectors weighted by length."""
    if len(vectors) == 1:
        return vectors[0]
    return np.average(vectors, axis=0, weights=[len(part) for part in parts]).astype(np.float32)


@torch.inference_mode()
def embed_residues(runner: AsyncInferenceRunner, sequences: Sequence[bytes]) -> list[Vectors]:
    """Return the hidden states of the residues of each sequence, (length, D) float32, without special tokens.

    Raises:
        NumericalError: a vector is not finite.
    """
    window, found = runner.encoder.window, {}
    items = ((str(number), sequence) for number, sequence in enumerate(sequences))
    for batch in prefetch(iter_packed(items, runner.collator, runner.max_tokens), runner.depth):
        hidden = runner.encode(batch.to(runner.device)).float().cpu().numpy()  # (T, D)
        if not np.isfinite(hidden).all():
            raise NumericalError(
                "a residue's vector is not finite, perhaps because half precision overflowed; use --precision fp32"
            )
        for name, states in zip(batch.sequence_ids, np.split(hidden, batch.cu_seqlens[1:-1].tolist()), strict=True):
            found[int(name)] = states[window.skip_first : len(states) - window.skip_last]
    return [found[number] for number in range(len(sequences))]
