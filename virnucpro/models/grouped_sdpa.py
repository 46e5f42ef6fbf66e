"""Packed attention by groups of equal length through torch's `scaled_dot_product_attention`.

T total tokens, H heads, Dh head width, L length of one sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from virnucpro.models.positions import position_ids_unchecked

# A CPU takes keys in blocks of this size: in bfloat16, attention over 60 or 166 keys is slower than over 64 or 176.
_CPU_BLOCK = 16
# Without AMX, torch's bfloat16 attention on a CPU is slower than two matrix products, if heads have at least this width
# and sequences at most this length.
_PRODUCTS_WIDTH, _PRODUCTS_LENGTH = 48, 256


@dataclass(frozen=True, slots=True)
class _EqualLengthGroups:
    """Sequences grouped by length: `spans` are (count, L) in order; `order` sorts the tokens into these groups."""

    spans: tuple[tuple[int, int], ...]
    order: Tensor | None  # (T,) int64; None if the tokens are in this order
    restore: Tensor | None
    bias_by_length: dict[int, Tensor]


class GroupedSDPA:
    """Sequences of equal length stacked and sent through `scaled_dot_product_attention`: exact, without a mask.

    Works on every device and dtype, is the CPU's default and the specification of the other backends.
    """

    name, differentiable = "sdpa", True

    def refusal(self, device: torch.device, dtype: torch.dtype, head_width: int, alibi: bool) -> str:
        return ""

    def prepare(self, cu_seqlens: Tensor, max_seqlen: int) -> _EqualLengthGroups:
        lengths = cu_seqlens.diff().cpu()  # groups are made on the host: on a GPU, one synchronisation for each batch
        by_length = torch.argsort(lengths, stable=True)
        runs, groups = _runs(lengths), _runs(lengths[by_length])
        if len(runs) <= len(groups) + 1:  # already in order, but perhaps for the filler at the end
            return _EqualLengthGroups(runs, None, None, {})
        total = int(lengths.sum())
        sorted_borders = F.pad(lengths[by_length].cumsum(0), (1, 0))
        within = position_ids_unchecked(sorted_borders, total)
        starts = torch.repeat_interleave(cu_seqlens[:-1].cpu().long()[by_length], lengths[by_length])
        order = starts + within  # (T,)
        restore = torch.empty_like(order)
        restore[order] = torch.arange(total)
        return _EqualLengthGroups(groups, order.to(cu_seqlens.device), restore.to(cu_seqlens.device), {})

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, plan: _EqualLengthGroups, alibi_slopes: Tensor | None = None
    ) -> Tensor:
        heads, head_width = q.shape[-2:]
        if plan.order is not None:
            q, k, v = q[plan.order], k[plan.order], v[plan.order]
        packed, begin = q.new_empty(q.shape), 0  # (T, H, Dh)
        for count, length in plan.spans:
            end = begin + count * length
            stack = (count, length, heads, head_width)
            q_, k_, v_ = (t[begin:end].view(stack).transpose(1, 2) for t in (q, k, v))  # (count, H, L, Dh)
            bias, products = None, False
            if alibi_slopes is not None:
                if length not in plan.bias_by_length:
                    plan.bias_by_length[length] = alibi_bias(alibi_slopes, length).to(q.dtype)
                bias = plan.bias_by_length[length]
            elif q.dtype == torch.bfloat16 and q.device.type == "cpu":
                products = head_width >= _PRODUCTS_WIDTH and length <= _PRODUCTS_LENGTH and not _has_amx()
                if length % _CPU_BLOCK and not products:
                    k_, v_, bias = _filled_up(k_, v_)
            out = _in_products(q_, k_, v_) if products else F.scaled_dot_product_attention(q_, k_, v_, bias)
            packed[begin:end].view(stack).copy_(out.transpose(1, 2))
            begin = end
        return packed if plan.restore is None else packed[plan.restore]


def _runs(lengths: Tensor) -> tuple[tuple[int, int], ...]:
    """Return (count, L) for each run of equal lengths."""
    values, counts = torch.unique_consecutive(lengths, return_counts=True)
    return tuple(zip(counts.tolist(), values.tolist(), strict=True))


def _filled_up(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fill k and v (count, H, L, Dh) up to a multiple of `_CPU_BLOCK`; return also the bias that hides the rest."""
    length = k.shape[-2]
    rest = -length % _CPU_BLOCK
    bias = torch.zeros(length + rest, dtype=k.dtype)
    bias[length:] = -torch.inf
    return F.pad(k, (0, 0, 0, rest)), F.pad(v, (0, 0, 0, rest)), bias.expand(1, 1, length, -1)


@cache
def _has_amx() -> bool:
    return torch.cpu._is_amx_tile_supported()


def _in_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend (count, H, L, Dh) by a product for the logits and one for the weighted sums of v."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    out: Tensor = logits.softmax(-1) @ v
    return out


def alibi_bias(slopes: Tensor, length: int) -> Tensor:
    """Return the symmetric ALiBi bias -slope_h * |i - j|, shape (H, L, L), dtype of slopes (H,)."""
    positions = torch.arange(length, device=slopes.device)
    return -slopes[:, None, None] * (positions[None, :] - positions[:, None]).abs()
