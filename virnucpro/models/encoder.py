"""PackedEncoder, the base of both language models: precision, attention backend, packed and padded forward.

T total tokens, N sequences, B rows of a padded batch, S its padded length, H heads, Dh head width, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.float8 import FLOAT8, from_float8, to_float8
from virnucpro.models.grouped_sdpa import alibi_bias
from virnucpro.models.kernel_choice import kernels_for
from virnucpro.models.kernels import (
    PLAIN,
    Kernels,
)
from virnucpro.models.packed_attention import AttentionBackend, choose_backend
from virnucpro.models.positions import position_ids_unchecked

# Packed batches are filled up to a multiple of this many tokens. A GPU is fastest at multiples of 128; on a CPU, oneDNN
# keeps a compiled product for each shape, which fills memory if all shapes differ.
_TILES = {"cuda": 128, "cpu": 64}

# Up to this width, operators are too short to divide among threads; each batch gets one thread instead.
_NARROW = 640

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class PackedEncoder(nn.Module, ABC):
    """A transformer encoder over packed sequences.

    The residual stream, LayerNorm and the embedding table stay in float32; in half precision only the
    dense products and attention run in the lower type.
    """

    width: int
    n_layers: int
    head_width: int
    pad_token: int
    embedding: nn.Embedding
    uses_alibi = False
    takes_float8 = False  # if False, the dense layers use bfloat16 when e4m3 is requested
    backend: AttentionBackend
    attends: tuple[torch.device, torch.dtype, int, bool]  # device, dtype, head width, whether ALiBi is needed
    kernels: Kernels = PLAIN
    dtype = torch.float32  # of the dense layers
    narrow = False  # on a CPU: give each batch one thread
    tile = 1  # packed batches are filled up to a multiple of this many tokens

    def select_attention(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, attention: str = "auto"
    ) -> None:
        """Choose the attention backend for q, k and v on `device` in `dtype` (see `choose_backend`).

        While autograd records, the first backend that it can go through is used instead.
        """
        self.attends = torch.device(device), dtype, self.head_width, self.uses_alibi
        self.backend = choose_backend(*self.attends, attention)

    def place(
        self, device: torch.device | str, dtype: torch.dtype = torch.float32, attention: str = "auto"
    ) -> PackedEncoder:
        """Move to `device` and the dense layers to `dtype`, choose attention backend and kernels; return self.

        With e4m3 (torch.float8_e4m3fn) everything but the dense products runs as with bfloat16.
        """
        float8, dtype = dtype == FLOAT8 and self.takes_float8, torch.bfloat16 if dtype == FLOAT8 else dtype
        from_float8(self)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.to(device, dtype)  # one by one, so that memory never holds the whole model twice
        self.to(device)
        self.dtype = dtype
        self.select_attention(device, dtype, attention)
        self.narrow = torch.device(device).type == "cpu" and self.width <= _NARROW
        self.kernels = kernels_for(torch.device(device), FLOAT8 if float8 else dtype, self.narrow)
        if float8:
            to_float8(self, self.kernels.quantise)
        self.tile = _TILES[torch.device(device).type]
        return self

    def forward_packed(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        repr_layers: Collection[int] | None = None,
        position_ids: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """Encode a packed batch; no sequence sees another.

        Args:
            input_ids: (T,) int64.
            cu_seqlens: (N+1,) int32, valid (see PackedBatch); on the device of input_ids.
            max_seqlen: length of the longest sequence.
            repr_layers: layers to return: 0 is the embedding, i the output of layer i, the last one after
                the final LayerNorm if the model has one. None means the last.
            position_ids: (T,) int64 that restart at every border; None: they are computed.

        Returns:
            layer -> (T, D) hidden states.
        """
        if position_ids is None:
            position_ids = position_ids_unchecked(cu_seqlens, input_ids.shape[0])
        total = input_ids.shape[0]
        if tail := -total % self.tile:  # as a sequence of its own, which no other token attends to
            input_ids = F.pad(input_ids, (0, tail), value=self.pad_token)
            position_ids = torch.cat((position_ids, torch.arange(tail, device=position_ids.device)))
            cu_seqlens = F.pad(cu_seqlens, (0, 1), value=total + tail)
            max_seqlen = max(max_seqlen, tail)
        backend = self.backend
        if torch.is_grad_enabled() and not backend.differentiable:
            backend = choose_backend(*self.attends, differentiable=True)
        plan = backend.prepare(cu_seqlens, max_seqlen)
        slopes = self.alibi_slopes(input_ids.device)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # each (T, H, Dh)
            return backend.attend(q, k, v, plan, slopes)

        sequence = torch.repeat_interleave(
            torch.arange(cu_seqlens.shape[0] - 1, device=cu_seqlens.device),
            cu_seqlens.long().diff(),
            output_size=input_ids.shape[0],
        )
        x = self.embed_tokens(input_ids, sequence, cu_seqlens.diff())
        hidden = self._run(x, input_ids, position_ids, attend, self._wanted(repr_layers))
        return {layer: states[:total] for layer, states in hidden.items()}

    def forward(self, input_ids: Tensor, repr_layers: Collection[int] | None = None) -> dict[int, Tensor]:
        """Encode a padded batch: the slow path, which is the specification of the packed one.

        Args:
            input_ids: (B, S) int64, filled up with the pad token on the right.
            repr_layers: as in `forward_packed`.

        Returns:
            layer -> (B, S, D); positions of padding hold unspecified values.
        """
        real = input_ids != self.pad_token  # (B, S)
        rows, padded = input_ids.shape
        mask = real[:, None, None, :]  # (B, 1, 1, S): which keys are attended to
        slopes = self.alibi_slopes(input_ids.device)
        if slopes is not None:
            mask = alibi_bias(slopes, padded)[None].masked_fill(~mask, float("-inf"))  # (B, H, S, S)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # each (B, S, H, Dh)
            bias = mask if mask.dtype == torch.bool else mask.to(q.dtype)
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # each (B, H, S, Dh)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2)

        sequence = torch.arange(rows, device=input_ids.device)[:, None].expand(rows, padded)
        x = self.embed_tokens(input_ids, sequence, real.sum(-1))
        x = x * real[..., None]
        position_ids = torch.arange(padded, device=input_ids.device).expand(rows, padded)
        return self._run(x, input_ids, position_ids, attend, self._wanted(repr_layers))

    def _wanted(self, repr_layers: Collection[int] | None) -> frozenset[int]:
        wanted = frozenset({self.n_layers} if repr_layers is None else repr_layers)
        if not wanted <= frozenset(range(self.n_layers + 1)):
            raise ValueError(f"repr_layers must lie in 0..{self.n_layers}, got {sorted(wanted)}")
        return wanted

    def alibi_slopes(self, device: torch.device) -> Tensor | None:
        """Return the (H,) float32 ALiBi slopes, or None for a model without ALiBi."""
        return None

    @abstractmethod
    def embed_tokens(self, input_ids: Tensor, sequence: Tensor, lengths: Tensor) -> Tensor:
        """Return float32 token embeddings (..., D); `sequence` (...) numbers the sequence of each token,
        `lengths` (N,) counts the real tokens of each."""

    @abstractmethod
    def _run(
        self, x: Tensor, input_ids: Tensor, position_ids: Tensor, attend: Attend, wanted: frozenset[int]
    ) -> dict[int, Tensor]: ...
