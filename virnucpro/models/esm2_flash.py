"""ESM-2 (Lin et al. 2023): a pre-LayerNorm encoder with rotary positions, packed or padded.

T total tokens, H heads, Dh head width, D width. Shapes below omit the leading (T,) or (B, S).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.errors import ConfigError
from virnucpro.models.encoder import Attend, PackedEncoder
from virnucpro.models.kernels import PLAIN, Kernels
from virnucpro.models.rotary import rotary_table


@dataclass(frozen=True, slots=True)
class ESM2Config:
    """Shape of an ESM-2 model; `vocabulary` and the special tokens default to the protein alphabet.

    `token_dropout` multiplies the embeddings by (1 - 0.15 * 0.8) / (1 - share of <mask>) as the published
    weights expect, also at inference; `dropout` acts in training only.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int = 33
    pad_token: int = 1
    mask_token: int = 32
    token_dropout: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if min(self.layers, self.width, self.heads) < 1 or self.width % self.heads or self.width // self.heads % 2:
            raise ConfigError(
                f"an ESM-2 width must be an even multiple of its heads, got {self.layers} layers, "
                f"width {self.width}, {self.heads} heads"
            )


# The six published shapes: layers, width, heads.
ESM2_SHAPES = {
    "8M": ESM2Config(6, 320, 20),
    "35M": ESM2Config(12, 480, 20),
    "150M": ESM2Config(30, 640, 20),
    "650M": ESM2Config(33, 1280, 20),
    "3B": ESM2Config(36, 2560, 40),
    "15B": ESM2Config(48, 5120, 40),
}


class ESM2Layer(nn.Module):
    """One layer: x + attention(LayerNorm(x)), then x + feed-forward(LayerNorm(x)).

    The last sum is left to the next layer, which fuses it with its LayerNorm: a layer takes and returns the residual
    stream x and the branch y that is not yet added to it (None before the first layer).
    """

    def __init__(self, config: ESM2Config) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def project(self, x: Tensor, y: Tensor | None, kernels: Kernels) -> tuple[Tensor, Tensor]:
        """Return x + y and its q, k and v (3, H, Dh), as the kernels order them."""
        x, h = kernels.add_layer_norm(x, y, self.attention_norm, self._dtype(x))
        return x, kernels.qkv(h, self.qkv, self.heads)

    def forward(
        self,
        x: Tensor,
        y: Tensor | None,
        rotary: tuple[Tensor, Tensor],
        attend: Attend,
        kernels: Kernels,
        qkv: Tensor | None = None,  # of `project`, where they are known
    ) -> tuple[Tensor, Tensor]:
        dtype = self._dtype(x)
        if qkv is None:
            x, qkv = self.project(x, y, kernels)
        attended = attend(*kernels.rotary_qk(qkv, *rotary)).flatten(-2)  # (D)
        y = F.dropout(kernels.linear(attended, self.out), self.dropout, self.training)
        x, h = kernels.add_layer_norm(x, y, self.feed_forward_norm, dtype)
        return x, F.dropout(kernels.feed_forward(h, self.up, self.down), self.dropout, self.training)

    def _dtype(self, x: Tensor) -> torch.dtype:
        if torch.is_autocast_enabled(x.device.type):  # in training: what the products cast to anyway
            return torch.get_autocast_dtype(x.device.type)
        return self.qkv.weight.dtype


class ESM2(PackedEncoder):
    """An ESM-2 encoder of any size; layer L of `repr_layers` is the output after the final LayerNorm."""

    takes_float8 = True

    def __init__(self, config: ESM2Config) -> None:
        super().__init__()
        self.config = config
        self.width, self.n_layers, self.pad_token = config.width, config.layers, config.pad_token
        self.head_width = config.width // config.heads
        self.embedding = nn.Embedding(config.vocabulary, config.width, padding_idx=config.pad_token)
        self.layers = nn.ModuleList(ESM2Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.select_attention()

    def embed_tokens(self, input_ids: Tensor, sequence: Tensor, lengths: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        if not self.config.token_dropout:
            return x  # type: ignore[no-any-return]
        masked = input_ids == self.config.mask_token
        n_masked = torch.zeros_like(lengths, dtype=torch.float32)
        n_masked.index_add_(
            0, sequence.flatten(), masked.flatten().float()
        )  # sums of whole numbers are exact in any order
        scale = (1 - 0.15 * 0.8) / (1 - n_masked / lengths)  # (N,)
        factor = scale[sequence].masked_fill(masked, 0.0)  # one pass over the embeddings for both
        return x * factor[..., None]  # type: ignore[no-any-return]

    def project_tokens(self, input_ids: Tensor, kernels: Kernels) -> Tensor | None:
        """Return the first layer's q, k and v (3, H, Dh) from a table with a row for each token of the vocabulary.

        Nothing but the token decides on them: its position enters by the rotation that follows. None where that is not
        so, for a batch that is smaller than the table, and where a row of a product might depend on how many there are.
        """
        rows = self.config.vocabulary
        rows += -rows % self.tile
        if not self.narrow or kernels.differentiable or self.config.token_dropout or input_ids.numel() <= rows:
            return None
        table = F.pad(self.embedding.weight, (0, 0, 0, rows - self.config.vocabulary))  # (rows, D)
        _, qkv = self.layers[0].project(table, None, kernels)  # type: ignore[operator]
        return qkv.index_select(0, input_ids.flatten()).view(*input_ids.shape, *qkv.shape[1:])  # type: ignore[no-any-return]

    def _run(
        self, x: Tensor, input_ids: Tensor, position_ids: Tensor, attend: Attend, wanted: frozenset[int]
    ) -> dict[int, Tensor]:
        rotary = rotary_table(position_ids, self.head_width)
        kernels = PLAIN if torch.is_grad_enabled() and not self.kernels.differentiable else self.kernels
        qkv = self.project_tokens(input_ids, kernels)
        hidden = {0: x.clone()} if 0 in wanted else {}  # x may be overwritten
        y = None
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            for number, layer in enumerate(self.layers, start=1):
                x, y = layer(x, y, rotary, attend, kernels, qkv)
                qkv = None
                if number in wanted and number < self.n_layers:
                    hidden[number] = x + y
            if self.n_layers in wanted:
                _, last = kernels.add_layer_norm(x, y, self.norm, x.dtype)
                assert isinstance(last, Tensor)
                hidden[self.n_layers] = last
        return hidden
