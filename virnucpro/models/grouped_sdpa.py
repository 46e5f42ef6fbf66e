"""Packed attention by groups of equal length through torch's `scaled_dot_product_attention`.

T total tokens, H heads, Dh head width, L length of one sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from virnucpro.models.positions import position_ids_unchecked


@dataclass(frozen=True, slots=True)
class _EqualLengthGroups:
    """Sequences by length: `spans` are (count, L) in the length-sorted order, `order` brings tokens there."""

    spans: tuple[tuple[int, int], ...]
    order: Tensor | None  # (T,) int64; None: the batch is sorted already
    restore: Tensor | None
    bias_by_length: dict[int, Tensor]


class GroupedSDPA:
    """Sequences of equal length stacked and sent through `scaled_dot_product_attention`: exact, without a mask.

    Works on every device and dtype, is the CPU's default and the specification of the other backends.
    """

    name = "sdpa"

    def refusal(self, device: torch.device, dtype: torch.dtype, head_width: int, alibi: bool) -> str:
        return ""

    def prepare(self, cu_seqlens: Tensor, max_seqlen: int) -> _EqualLengthGroups:
        lengths = cu_seqlens.diff().cpu()  # grouping is host work: one synchronisation a batch on a GPU
        by_length = torch.argsort(lengths, stable=True)
        values, counts = torch.unique_consecutive(lengths[by_length], return_counts=True)
        spans = tuple(zip(counts.tolist(), values.tolist(), strict=True))
        if bool((lengths[1:] >= lengths[:-1]).all()):
            return _EqualLengthGroups(spans, None, None, {})
        total = int(lengths.sum())
        sorted_borders = F.pad(lengths[by_length].cumsum(0), (1, 0))
        within = position_ids_unchecked(sorted_borders, total)
        starts = torch.repeat_interleave(cu_seqlens[:-1].cpu().long()[by_length], lengths[by_length])
        order = starts + within  # (T,)
        restore = torch.empty_like(order)
        restore[order] = torch.arange(total)
        return _EqualLengthGroups(spans, order.to(cu_seqlens.device), restore.to(cu_seqlens.device), {})

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, plan: _EqualLengthGroups, alibi_slopes: Tensor | None = None
    ) -> Tensor:
        heads, head_width = q.shape[-2:]
        if plan.order is not None:
            q, k, v = q[plan.order], k[plan.order], v[plan.order]
        outputs, begin = [], 0
        for count, length in plan.spans:
            end = begin + count * length
            stack = (count, length, heads, head_width)
            q_, k_, v_ = (t[begin:end].view(stack).transpose(1, 2) for t in (q, k, v))  # (count, H, L, Dh)
            bias = None
            if alibi_slopes is not None:
                if length not in plan.bias_by_length:
                    plan.bias_by_length[length] = alibi_bias(alibi_slopes, length).to(q.dtype)
                bias = plan.bias_by_length[length]
            out = F.scaled_dot_product_attention(q_, k_, v_, attn_mask=bias)  # (count, H, L, Dh)
            outputs.append(out.transpose(1, 2).reshape(count * length, heads, head_width))
            begin = end
        packed = torch.cat(outputs)  # (T, H, Dh)
        return packed if plan.restore is None else packed[plan.restore]


def alibi_bias(slopes: Tensor, length: int) -> Tensor:
    """Return the symmetric ALiBi bias -slope_h * |i - j|, shape (H, L, L), dtype of slopes (H,)."""
    positions = torch.arange(length, device=slopes.device)
    return -slopes[:, None, None] * (positions[None, :] - positions[:, None]).abs()
