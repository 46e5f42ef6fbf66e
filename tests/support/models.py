"""Small models of random weights, batches for them, and how far two results are apart."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from virnucpro.config import FrameRule
from virnucpro.data import PackedBatch, TokenSequence, pack
from virnucpro.pretrained.description import (
    TWO_CLASSES,
    ClassifierDescription,
    EncoderDescription,
    ModelDescription,
)
from virnucpro.pretrained.registry import Model, build_model, save_weights

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch draw from a generator of this seed within, and from the one before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def make_model(seed: int = 0, min_length: int = 20, classes: tuple[str, ...] = TWO_CLASSES) -> Model:
    """Return a model of random weights, small enough that a unit takes milliseconds."""
    shape = {"layers": 1, "width": 16, "heads": 2, "token_dropout": False}
    description = ModelDescription(
        name="tiny",
        chunk_length=100,
        min_length=min_length,
        frame_rule=FrameRule("longest_segments", segments=2, min_aa=5),
        nucleotide=EncoderDescription("esm2", {**shape, "vocabulary": 69, "mask_token": 68}, "kmer-3", 1, 1),
        protein=EncoderDescription("esm2", shape, "esm2", 1, 1, limit=1024),
        classifier=ClassifierDescription("gated", 34, 8),
        vote="weighted",
        classes=classes,
    )
    with seeded(seed):
        return build_model(description, directory=Path())


def write_model(model: Model, directory: Path) -> Path:
    """Write a model directory as training does."""
    directory.mkdir(parents=True)
    description = replace(model.description, checksums=save_weights(model, directory))
    description.write_json(directory / "model.json")
    return directory


def randomise(network: Network, seed: int, spread: float = 0.3, gain: float = 1.0) -> Network:
    """Give every weight a value that is not its default, so that each one matters; return the network.

    Args:
        spread: standard deviation of biases, and of the weights of norms around 1.
        gain: factor of the products' weights, whose size keeps activations about as large as their input.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in key and key.endswith("weight"):
                parameter.copy_(1 + spread * noise)
            elif parameter.dim() == 2 and "embedding" not in key and "token_type" not in key:
                parameter.copy_(gain * noise * parameter.shape[1] ** -0.5)
            else:
                parameter.copy_(noise if "embedding" in key else spread * noise)
    return network.eval()


def random_rows(lengths: Sequence[int], low: int, high: int, seed: int = 0) -> list[np.ndarray]:
    """Return a row of random tokens, at least `low` and less than `high`, for each length."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(low, high, (length,), generator=generator).numpy() for length in lengths]


def pack_rows(rows: Sequence[np.ndarray]) -> PackedBatch:
    """Pack rows of tokens, named by their number."""
    return pack([TokenSequence(str(i), row) for i, row in enumerate(rows)])


def row_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest relative L2 error of a row (a token or a pooled vector), computed in float64.

    A row that is expected to be zero, as the embedding of <mask> is, must be nearly so.
    """
    found, expected = found.double(), expected.double()
    return ((found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-9)).max().item()
