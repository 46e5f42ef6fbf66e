"""The contenders of gpu_esm2.py: each a model with random weights, what it does with a batch, and its batches."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.data import TokenSequence, pack, pack_by_tokens, pad
from virnucpro.models import ESM2, ESM2Config
from virnucpro.models.float8 import FLOAT8, Float8Linear, quantise
from virnucpro.models.kernels import PLAIN
from virnucpro.models.packed_attention import explain_backends

CONTENDERS = ("bound", "ours", "plain", "hf", "fair")
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": FLOAT8}  # fp8: of ours and the bound alone
BUDGETS = (4096, 8192, 16384, 32768, 65536, 131072, 262144)  # tokens a batch
MOST_WORK = 8e12  # tokens x layers x width^2 in a batch: 32 k tokens of 3B, whose batches then take a third of a second


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs on the device, with the number of real tokens in them."""

    tokens: int
    inputs: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Contender:
    """`step` runs one batch; `batches` makes those of a workload for one of the token budgets to choose from."""

    step: Callable[..., object]
    batches: Callable[[list[TokenSequence], int], list[Batch]]
    budgets: tuple[int, ...]


def budgets_for(config: ESM2Config) -> tuple[int, ...]:
    """Return the token budgets to choose from: larger ones for smaller models."""
    return tuple(b for b in BUDGETS if b * config.layers * config.width**2 <= MOST_WORK)


def shuffled(batches: list[Batch]) -> list[Batch]:
    """Mix the batches, so that each part of the time sees all lengths."""
    return [batches[i] for i in np.random.default_rng(1).permutation(len(batches))]


def packed_batches(device: torch.device) -> Callable[[list[TokenSequence], int], list[Batch]]:
    def batches(sequences: list[TokenSequence], budget: int) -> list[Batch]:
        packed = [pack(group).to(device) for group in pack_by_tokens(sequences, budget)]
        return shuffled([Batch(b.num_tokens, (b,)) for b in packed])

    return batches


def padded_batches(
    device: torch.device, by_length: bool, pad_token: int = 1
) -> Callable[[list[TokenSequence], int], list[Batch]]:
    def batches(sequences: list[TokenSequence], budget: int) -> list[Batch]:
        mean = sum(len(s.tokens) for s in sequences) / len(sequences)
        size = max(1, int(budget / mean))
        rows = sorted(sequences, key=lambda s: len(s.tokens)) if by_length else sequences
        packed = [pack(rows[i : i + size]) for i in range(0, len(rows), size)]
        return shuffled([Batch(b.num_tokens, (pad(b, pad_token).to(device),)) for b in packed])

    return batches


def gemm_bound(config: ESM2Config, dtype: torch.dtype, device: torch.device) -> Contender:
    with torch.device(device):
        d, half = config.width, torch.bfloat16 if dtype == FLOAT8 else dtype
        shapes = [(3, 1), (1, 1), (4, 1), (1, 4)]  # out and in, in widths
        linears = [[nn.Linear(d * i, d * o, dtype=half) for o, i in shapes] for _ in range(config.layers)]
    quantised = [[Float8Linear(linear) for linear in layer] for layer in linears] if dtype == FLOAT8 else []

    def step(x: Any, wide: Any) -> None:
        for qkv, out, up, down in quantised:
            qkv.product(x, None), out.product(x, None), up.product(x, None), down.product(wide, None)
        for qkv, out, up, down in [] if quantised else linears:
            F.linear(x, qkv.weight), F.linear(x, out.weight), F.linear(x, up.weight), F.linear(wide, down.weight)

    def batches(sequences: list[TokenSequence], budget: int) -> list[Batch]:
        inputs = (torch.randn(budget, config.width * n, device=device, dtype=half) for n in (1, 4))
        return [Batch(budget, tuple(quantise(x) if quantised else x for x in inputs))]

    return Contender(step, batches, budgets_for(config))


def ours(
    config: ESM2Config,
    dtype: torch.dtype,
    device: torch.device,
    attention: str = "auto",
    plain: bool = False,
) -> Contender:
    with torch.device(device):
        model = ESM2(config)
    model.eval().place(device, dtype, attention)
    if plain:
        model.kernels = PLAIN

    def step(batch: Any) -> object:
        return model.forward_packed(
            batch.input_ids, batch.cu_seqlens, batch.max_seqlen, position_ids=batch.position_ids
        )

    return Contender(step, packed_batches(device), budgets_for(config))


def hugging_face(config: ESM2Config, dtype: torch.dtype, device: torch.device, by_length: bool) -> Contender:
    from transformers import EsmConfig, EsmModel

    shape = EsmConfig(
        vocab_size=33, hidden_size=config.width, num_hidden_layers=config.layers, num_attention_heads=config.heads,
        intermediate_size=4 * config.width, pad_token_id=1, mask_token_id=32, max_position_embeddings=1026,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False, layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="sdpa",
    )  # fmt: skip
    with torch.device(device):
        model = EsmModel(shape, add_pooling_layer=False)
    model.eval().to(device, dtype)

    def step(ids: Tensor, mask: Tensor) -> object:
        return model(input_ids=ids, attention_mask=mask).last_hidden_state

    def batches(sequences: list[TokenSequence], budget: int) -> list[Batch]:
        padded = padded_batches(device, by_length)(sequences, budget)
        return [Batch(b.tokens, (b.inputs[0], (b.inputs[0] != 1).long())) for b in padded]

    return Contender(step, batches, budgets_for(config))


def fair_esm(config: ESM2Config, autocast: bool, device: torch.device) -> Contender:
    from esm.model.esm2 import ESM2 as FairESM2  # noqa: N811

    with torch.device(device):
        model = FairESM2(config.layers, config.width, config.heads, "ESM-1b", token_dropout=True).eval().to(device)
    half = torch.float16 if device.type == "cuda" else torch.bfloat16

    def step(ids: Tensor) -> object:
        with torch.autocast(device.type, half, enabled=autocast):
            return model(ids, repr_layers=[config.layers])["representations"][config.layers]

    return Contender(step, padded_batches(device, by_length=autocast), budgets_for(config) if autocast else (2048,))


Entry = tuple[str, str, Callable[[], Contender]]  # name, precision, factory


def entries(
    config: ESM2Config, kinds: list[str], precisions: list[str], device: torch.device, attention: list[str]
) -> Iterator[Entry]:
    """Name the contenders of one model; each is built when its turn comes."""
    for precision in precisions:
        dtype = PRECISIONS[precision]
        if "bound" in kinds:
            yield "gemm-bound", precision, lambda dtype=dtype: gemm_bound(config, dtype, device)
        if "ours" in kinds:
            half = torch.bfloat16 if dtype == FLOAT8 else dtype
            for name, reason in explain_backends(device, half, config.width // config.heads):
                if attention and name not in attention:
                    continue
                if reason:
                    print(f"skipped: ours {name} {precision}: it {reason}", flush=True)
                    continue
                yield f"ours {name}", precision, lambda name=name, dtype=dtype: ours(config, dtype, device, name)
        if dtype == FLOAT8:
            continue
        if "plain" in kinds:
            yield "ours, plain kernels", precision, lambda dtype=dtype: ours(config, dtype, device, plain=True)
        if "hf" in kinds and importable("transformers"):
            for order, sort in (("file order", False), ("sorted", True)):
                name = f"transformers sdpa, {order}"
                yield name, precision, lambda dtype=dtype, sort=sort: hugging_face(config, dtype, device, sort)
    if "fair" in kinds and importable("esm"):
        yield "fair-esm, file order", "fp32", lambda: fair_esm(config, False, device)
        yield "fair-esm, sorted", "autocast", lambda: fair_esm(config, True, device)


def importable(module: str) -> bool:
    there = importlib.util.find_spec(module) is not None
    if not there:
        print(f"skipped: {module} cannot be imported", flush=True)
    return there
