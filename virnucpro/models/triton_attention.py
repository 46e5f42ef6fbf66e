"""Attention within the borders of packed sequences as one Triton kernel, for inference in half precision.

FlashAttention's tiles of 128 by 128 tokens stay mostly empty for reads and short frames; these tiles are smaller.
T total tokens, N sequences, H heads, Dh head width.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Queries and keys of a tile, warps, stages of the loop over keys. One stage: sequences have few tiles of keys, and the
# memory of a second stage would leave room for fewer programs on a multiprocessor.
QUERIES, KEYS, WARPS, STAGES = 64, 64, 4, 1


@triton.jit
def _attention_kernel(
    q, k, v, slopes, out, borders, scale, stride, out_stride,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ALIBI: tl.constexpr,
    BLOCKS, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    # A program takes one tile of queries of one head of one sequence and loops over its keys. Logits are base 2.
    head, place = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS
    sequence, start = place // BLOCKS, (place % BLOCKS) * QUERIES
    begin = tl.load(borders + sequence).to(tl.int64)
    length = (tl.load(borders + sequence + 1) - begin).to(tl.int32)
    if start < length:
        column = tl.arange(0, COLUMNS)
        row, key = start + tl.arange(0, QUERIES), tl.arange(0, KEYS)
        wide = (column < WIDTH)[None, :]
        inside = (row < length)[:, None] & wide
        queries = tl.load(
            q + (begin + row)[:, None] * stride + (head * WIDTH + column)[None, :], mask=inside, other=0.0
        )
        if ALIBI:
            slope = tl.load(slopes + head) * 1.4426950408889634
        running_max = tl.full([QUERIES], float("-inf"), tl.float32)
        total = tl.zeros([QUERIES], tl.float32)
        sums = tl.zeros([QUERIES, COLUMNS], tl.float32)
        for first in range(0, length, KEYS):
            real = first + key < length
            at = (begin + first + key)[:, None] * stride + (head * WIDTH + column)[None, :]
            mask = real[:, None] & wide
            keys = tl.load(k + at, mask=mask, other=0.0)
            logits = tl.dot(queries, tl.trans(keys)) * scale
            if ALIBI:
                logits -= slope * tl.abs(row[:, None] - (first + key)[None, :]).to(tl.float32)
            logits = tl.where(real[None, :], logits, float("-inf"))
            higher = tl.maximum(running_max, tl.max(logits, axis=1))
            weights = tl.exp2(logits - higher[:, None])
            shrink = tl.exp2(running_max - higher)
            total = total * shrink + tl.sum(weights, axis=1)
            values = tl.load(v + at, mask=mask, other=0.0)
            sums = tl.dot(weights.to(values.dtype), values, sums * shrink[:, None])
            running_max = higher
        result = (sums / total[:, None]).to(out.dtype.element_ty)
        tl.store(out + (begin + row)[:, None] * out_stride + (head * WIDTH + column)[None, :], result, mask=inside)


def attention(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int, alibi_slopes: Tensor | None = None
) -> Tensor:
    """Attend within sequences, logits scaled by Dh ** -0.5, minus slope * |i - j| if `alibi_slopes` are given.

    Uses the running maximum and sum of Milakov and Gimelshein (2018), in float32.

    Args:
        q: (T, H, Dh) float16 or bfloat16.
        k, v: as q.
        cu_seqlens: (N+1,) int32, valid.
        max_seqlen: length of the longest sequence, or more.
        alibi_slopes: (H,) float32.

    Returns:
        (T, H, Dh), dtype of q.
    """
    tokens, heads, width = q.shape
    if not (q.stride() == k.stride() == v.stride() and q.stride()[1:] == (width, 1)):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    out = torch.empty(tokens, heads, width, dtype=q.dtype, device=q.device)
    blocks = triton.cdiv(max_seqlen, QUERIES)
    _attention_kernel[(heads * blocks * (len(cu_seqlens) - 1),)](
        q, k, v, alibi_slopes, out, cu_seqlens, 1.4426950408889634 * width**-0.5, q.stride(0), out.stride(0),
        HEADS=heads, WIDTH=width, COLUMNS=max(16, triton.next_power_of_2(width)), ALIBI=alibi_slopes is not None,
        BLOCKS=blocks, QUERIES=QUERIES, KEYS=KEYS, num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
    return out
