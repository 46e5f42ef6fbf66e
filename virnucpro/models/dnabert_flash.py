"""DNABERT-S (the DNABERT-2 architecture, Zhou et al. 2024): post-LayerNorm, ALiBi, gated feed-forward.

Shapes below omit the leading (T,) or (B, S). H heads, Dh head width, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.errors import ConfigError
from virnucpro.models.encoder import Attend, PackedEncoder


@dataclass(frozen=True, slots=True)
class DNABERTConfig:
    """Shape of a DNABERT-2 model; the defaults are the published 117M one."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    feed_forward: int = 3072
    vocabulary: int = 4096
    pad_token: int = 3
    eps: float = 1e-12

    def __post_init__(self) -> None:
        if min(self.layers, self.width, self.heads, self.feed_forward) < 1 or self.width % self.heads or self.eps <= 0:
            raise ConfigError(
                f"a DNABERT-2 width must be a multiple of its heads and eps above 0, got {self.layers} layers, "
                f"width {self.width}, {self.heads} heads, eps {self.eps}"
            )


def alibi_head_slopes(heads: int) -> list[float]:
    """Return one ALiBi slope a head (Press et al. 2022).

    For a power of two, the geometric series 2^(-8/heads), ...; otherwise the series of the next lower power of two,
    then every second slope of the next higher power's.
    """
    lower = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8.0 * i / lower) for i in range(1, lower + 1)]
    between = [2.0 ** (-8.0 * i / (2 * lower)) for i in range(1, 2 * lower + 1, 2)]
    return slopes + between[: heads - lower]


class DNABERTLayer(nn.Module):
    """One layer: LayerNorm(x + attention(x)), then LayerNorm(x + gated feed-forward(x))."""

    def __init__(self, config: DNABERTConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.eps)
        self.gated = nn.Linear(width, 2 * config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.eps)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        dtype = self.qkv.weight.dtype
        q, k, v = self.qkv(x.to(dtype)).unflatten(-1, (3, self.heads, -1)).unbind(-3)  # each (H, Dh)
        x = self.attention_norm(x + self.out(attend(q, k, v).flatten(-2)))
        activated, linear = self.gated(x.to(dtype)).chunk(2, dim=-1)
        return self.feed_forward_norm(x + self.down(F.gelu(activated) * linear))  # type: ignore[no-any-return]


class DNABERT(PackedEncoder):
    """A DNABERT-2 encoder. ALiBi is relative, so attention needs the slopes but no positions."""

    uses_alibi = True

    def __init__(self, config: DNABERTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DNABERTConfig()
        self.width, self.n_layers, self.pad_token = config.width, config.layers, config.pad_token
        self.head_width = config.width // config.heads
        self.embedding = nn.Embedding(config.vocabulary, config.width, padding_idx=config.pad_token)
        self.token_type = nn.Parameter(torch.zeros(2, config.width))  # only row 0 is ever used
        self.embedding_norm = nn.LayerNorm(config.width, eps=config.eps)
        self.layers = nn.ModuleList(DNABERTLayer(config) for _ in range(config.layers))
        self._slopes = torch.tensor(
            alibi_head_slopes(config.heads), device="cpu"
        )  # not a weight, so never on the meta device
        self.select_attention()

    def alibi_slopes(self, device: torch.device) -> Tensor:
        if self._slopes.device != device:
            self._slopes = self._slopes.to(device)
        return self._slopes

    def embed_tokens(self, input_ids: Tensor, sequence: Tensor, lengths: Tensor) -> Tensor:
        return self.embedding_norm(self.embedding(input_ids) + self.token_type[0])  # type: ignore[no-any-return]

    def _run(
        self, x: Tensor, input_ids: Tensor, position_ids: Tensor, attend: Attend, wanted: frozenset[int]
    ) -> dict[int, Tensor]:
        hidden = {0: x} if 0 in wanted else {}
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, attend)
            if number in wanted:
                hidden[number] = x
        return hidden
