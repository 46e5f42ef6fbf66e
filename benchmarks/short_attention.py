"""Tried in gpu_esm2.py: attention over short sequences as one Triton kernel, rotary positions included.

FlashAttention's kernels work on tiles of 128 by 128 tokens, which short sequences fill badly, and q and k have been
written once more, rotated, before. Here a program has some queries of one head of one sequence, goes through its keys
in blocks and rotates both as it loads them. T total tokens, N sequences, H heads, Dh head width.

    TRITON_INTERPRET=1 python benchmarks/short_attention.py     its error, on a CPU; without the variable on a GPU
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from virnucpro.models import ESM2
from virnucpro.models.packed_attention import AttentionBackend

LONGEST = 256  # tokens of a sequence; batches with longer ones go the old way
Tiles = tuple[int, int, int, int]
# Queries, keys, warps and stages of the pipeline that loads keys.
TILES = ((64, 64, 4, 2), (64, 64, 4, 1), (64, 32, 4, 2), (64, 32, 4, 3), (128, 64, 8, 2), (32, 64, 2, 2))


@triton.jit
def _half(x, at, inside, columns, HALF: tl.constexpr):
    """Load both halves of rows of q or k."""
    mask = inside[:, None] & (columns < HALF)[None, :]
    first = tl.load(x + at[:, None] + columns[None, :], mask=mask, other=0.0)
    second = tl.load(x + at[:, None] + HALF + columns[None, :], mask=mask, other=0.0)
    return first, second


@triton.jit
def _rotated(first, second, cos, sin, token, inside, columns, HALF: tl.constexpr):
    mask = inside[:, None] & (columns < HALF)[None, :]
    at = token[:, None] * HALF + columns[None, :]
    c = tl.load(cos + at, mask=mask, other=0.0)
    s = tl.load(sin + at, mask=mask, other=0.0)
    a, b = first.to(tl.float32), second.to(tl.float32)
    return (a * c - b * s).to(first.dtype), (b * c + a * s).to(first.dtype)


@triton.jit
def _attention_kernel(
    q, k, v, cos, sin, out, borders, scale, stride, out_stride,
    HALF: tl.constexpr, HALF_COLUMNS: tl.constexpr, COLUMNS: tl.constexpr, ROTARY: tl.constexpr,
    BLOCKS: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0)
    sequence = tl.program_id(1) // BLOCKS
    start = (tl.program_id(1) % BLOCKS) * QUERIES
    begin = tl.load(borders + sequence).to(tl.int64)
    length = (tl.load(borders + sequence + 1) - begin).to(tl.int32)
    if start < length:
        columns, wide = tl.arange(0, HALF_COLUMNS), tl.arange(0, COLUMNS)
        row = start + tl.arange(0, QUERIES)
        inside, token = row < length, begin + row
        q1, q2 = _half(q, token * stride + head * 2 * HALF, inside, columns, HALF)
        if ROTARY:
            q1, q2 = _rotated(q1, q2, cos, sin, token, inside, columns, HALF)
        most = tl.full([QUERIES], float("-inf"), tl.float32)
        total = tl.zeros([QUERIES], tl.float32)
        sums = tl.zeros([QUERIES, COLUMNS], tl.float32)
        for first_key in range(0, length, KEYS):
            key = first_key + tl.arange(0, KEYS)
            real, at = key < length, begin + key
            k1, k2 = _half(k, at * stride + head * 2 * HALF, real, columns, HALF)
            if ROTARY:
                k1, k2 = _rotated(k1, k2, cos, sin, at, real, columns, HALF)
            logits = tl.dot(q2, tl.trans(k2), tl.dot(q1, tl.trans(k1))) * scale
            logits = tl.where(real[None, :], logits, float("-inf"))
            higher = tl.maximum(most, tl.max(logits, axis=1))
            weights = tl.exp2(logits - higher[:, None])
            shrink = tl.exp2(most - higher)
            values = tl.load(
                v + (at * stride)[:, None] + head * 2 * HALF + wide[None, :],
                mask=real[:, None] & (wide < 2 * HALF)[None, :], other=0.0,
            )  # fmt: skip
            sums = tl.dot(weights.to(values.dtype), values, sums * shrink[:, None])
            total = total * shrink + tl.sum(weights, axis=1)
            most = higher
        result = (sums / total[:, None]).to(out.dtype.element_ty)
        there = out + (token * out_stride)[:, None] + head * 2 * HALF + wide[None, :]
        tl.store(there, result, mask=inside[:, None] & (wide < 2 * HALF)[None, :])


def attention(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, longest: int, rotary: tuple[Tensor, Tensor] | None,
    tiles: Tiles = TILES[0],
) -> Tensor:  # fmt: skip
    """Attend within sequences; q, k, v (T, H, Dh) with one stride a token, before rotation where `rotary` is given.

    Returns:
        (T, H, Dh) in the dtype of q.
    """
    tokens, heads, width = q.shape
    if not (q.stride() == k.stride() == v.stride() and q.stride()[1:] == (width, 1)):  # of plain kernels
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    queries, keys, warps, stages = tiles
    out = torch.empty(tokens, heads, width, dtype=q.dtype, device=q.device)
    blocks = triton.cdiv(longest, queries)
    cos, sin = rotary if rotary else (q, q)
    _attention_kernel[heads, blocks * (len(cu_seqlens) - 1)](
        q, k, v, cos, sin, out, cu_seqlens, 1.4426950408889634 * width**-0.5, q.stride(0), out.stride(0),
        HALF=width // 2, HALF_COLUMNS=max(16, triton.next_power_of_2(width // 2)),
        COLUMNS=max(16, triton.next_power_of_2(width)), ROTARY=rotary is not None,
        BLOCKS=blocks, QUERIES=queries, KEYS=keys, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return out


@dataclass
class ShortAttention:
    """A backend of ESM-2: this kernel for batches of short sequences, `other` for the rest."""

    other: AttentionBackend
    rotate: Any  # of the kernels that the model had
    tiles: Tiles = TILES[0]
    fused: bool = True  # False: rotated before, as for every backend
    name: str = "short"
    rotary: tuple[Tensor, Tensor] | None = None
    short: bool = False

    def prepare(self, cu_seqlens: Tensor, max_seqlen: int) -> Any:
        self.short = max_seqlen <= LONGEST
        return (cu_seqlens, max_seqlen) if self.short else self.other.prepare(cu_seqlens, max_seqlen)

    def rotary_qk(self, qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
        self.rotary = (cos, sin) if self.short and self.fused else None
        return qkv.unbind(-3) if self.rotary else self.rotate(qkv, cos, sin)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, plan: Any, alibi_slopes: Tensor | None = None) -> Tensor:
        if not self.short:
            return self.other.attend(q, k, v, plan, alibi_slopes)
        return attention(q, k, v, *plan, self.rotary, self.tiles)


def shorten(model: ESM2, tiles: Tiles = TILES[0], fused: bool = True) -> ESM2:
    """Give a placed model this attention."""
    backend = ShortAttention(model.backend, model.kernels.rotary_qk, tiles, fused)
    model.backend, model.kernels = backend, replace(model.kernels, rotary_qk=backend.rotary_qk)  # type: ignore[assignment]
    return model


def main() -> None:
    from virnucpro.data import TokenSequence, pack
    from virnucpro.models import ESM2Config
    from virnucpro.models.kernels import PLAIN

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    for width, lengths in itertools.product((16, 24, 32, 64), ([168] * 3, [1, 64, 65, 200, 7], [51] * 5)):
        torch.manual_seed(0)
        model = ESM2(ESM2Config(2, 4 * width, 4)).eval()
        rows = [torch.randint(4, 24, (n,)).numpy() for n in lengths]
        batch = pack([TokenSequence(str(i), row) for i, row in enumerate(rows)]).to(device)
        ids, borders = batch.input_ids.cpu(), batch.cu_seqlens.cpu()
        exact = model.forward_packed(ids, borders, batch.max_seqlen)[2].detach()
        state = model.state_dict()
        for fused in (True, False):
            with torch.inference_mode():
                short = ESM2(model.config).eval()
                short.load_state_dict(state)
                short.place(device, dtype)
                if device == "cpu":
                    short.kernels = PLAIN  # its own keep q and k in another order
                short = shorten(short, fused=fused)
                found = short.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[2].cpu()
            error = float((found - exact).norm() / exact.norm())
            assert short.backend.name == "short"
            assert error < (1e-2 if device == "cuda" else 1e-5), error
            print(f"head width {width}, lengths {lengths}, fused {fused}: relative error {error:.1e}")


if __name__ == "__main__":
    main()
