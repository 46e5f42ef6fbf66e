"""Triton kernels for inference: one pass over memory for each step between the dense products of a layer.

Each kernel computes in float32 whatever dtype it loads and stores, and is the fused form of its plain twin in
`kernels`. The caller makes the tensors' device the current one, because Triton launches there. T total tokens, H heads,
Dh head width, D width, F width of the feed-forward layer. (T,) stands for any leading dimensions.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from virnucpro.models.float8 import FLOAT8, LARGEST, SMALLEST_SCALE, Float8Linear, Quantised
from virnucpro.models.kernels import Dense, Kernels, Normed

_LARGEST = tl.constexpr(LARGEST)
_SMALLEST_SCALE = tl.constexpr(SMALLEST_SCALE)


@triton.jit
def _quantised(row):
    """Return a row divided by its scale, and the scale, as `float8.quantise` does."""
    scale = tl.maximum(tl.max(tl.abs(row), axis=0) / _LARGEST, _SMALLEST_SCALE)
    return row / scale, scale


@triton.jit
def _add_layer_norm_kernel(
    x, y, weight, bias, h, scales, eps, D: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr, QUANTISE: tl.constexpr
):  # one row per program, held in registers; BLOCK is D rounded up to a power of two
    column = tl.arange(0, BLOCK)
    inside = column < D
    at = tl.program_id(0).to(tl.int64) * D + column
    row = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        row += tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(x + at, row.to(x.dtype.element_ty), mask=inside)
    mean = tl.sum(row, axis=0) / D
    centred = tl.where(inside, row - mean, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / D + eps)
    w = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    normed = centred * scale * w + b
    if QUANTISE:
        normed, scale = _quantised(normed)
        tl.store(scales + tl.program_id(0), scale)
    tl.store(h + at, normed.to(h.dtype.element_ty), mask=inside)


def add_layer_norm(x: Tensor, y: Tensor | None, norm: nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Normed]:
    """Add y to x in place and return x with its LayerNorm in `dtype`; x and y (T, D) contiguous."""
    width = x.shape[-1]
    h = torch.empty_like(x, dtype=dtype)
    scales = x.new_empty(*x.shape[:-1], 1, dtype=torch.float32) if dtype == FLOAT8 else None
    block = triton.next_power_of_2(width)
    _add_layer_norm_kernel[(x.numel() // width,)](
        x, x if y is None else y, norm.weight, norm.bias, h, scales, norm.eps,
        D=width, BLOCK=block, ADD=y is not None, QUANTISE=scales is not None, num_warps=max(1, min(16, block // 512)),
    )  # fmt: skip
    return x, h if scales is None else Quantised(h, scales)


@triton.jit(do_not_specialize=["rows"])
def _rotary_qk_kernel(
    qkv, cos, sin, rows, HEADS: tl.constexpr, HALF: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # a row is one head of q or k; the heads of a token lie side by side, T * 2H rows in all
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    inside = (row < rows) & (column < HALF)
    token = (row // (2 * HEADS)).to(tl.int64)
    angle = token * HALF + column
    c = tl.load(cos + angle, mask=inside, other=0.0)
    s = tl.load(sin + angle, mask=inside, other=0.0)
    at = token * (6 * HEADS * HALF) + (row % (2 * HEADS)) * (2 * HALF) + column
    first = tl.load(qkv + at, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(qkv + at + HALF, mask=inside, other=0.0).to(tl.float32)
    tl.store(qkv + at, (first * c - second * s).to(qkv.dtype.element_ty), mask=inside)
    tl.store(qkv + at + HALF, (second * c + first * s).to(qkv.dtype.element_ty), mask=inside)


def rotary_qk(qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate q and k of qkv (T, 3, H, Dh) in place; return views q, k, v (T, H, Dh)."""
    heads, half = qkv.shape[-2], qkv.shape[-1] // 2
    rows = qkv.numel() // (3 * half)  # 2H per token
    columns = triton.next_power_of_2(half)
    block = 2048 // columns
    _rotary_qk_kernel[(triton.cdiv(rows, block),)](
        qkv, cos, sin, rows, HEADS=heads, HALF=half, ROWS=block, COLUMNS=columns
    )
    q, k, v = qkv.unbind(-3)
    return q, k, v


@triton.jit
def _gelu(x):
    """Return the exact GELU, x Phi(x) = max(x, 0) - |x| Phi(-|x|), within 1e-6 absolutely.

    Phi(-a) = polynomial(t) exp(-a^2 / 2), t = 1 / (1 + 0.23164 a), error below 1e-7 (Abramowitz and Stegun, 26.2.17):
    fewer instructions than erf, so memory and not arithmetic is the limit, and no cancellation for x < 0.
    """
    t = 1.0 / (1.0 + 0.2316419 * tl.abs(x))
    polynomial = (((0.530702715 * t - 0.726576014) * t + 0.710706871) * t - 0.142248368) * t + 0.127414796
    return tl.maximum(x, 0.0) - tl.abs(x) * (polynomial * t) * tl.exp2(-0.7213475204444817 * (x * x))


@triton.jit(do_not_specialize=["rows"])
def _bias_gelu_kernel(x, bias, rows, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    b = tl.load(bias + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    inside = (row < rows) & (column < WIDTH)[None, :]
    at = x + row.to(tl.int64) * WIDTH + column[None, :]
    value = tl.load(at, mask=inside, other=0.0).to(tl.float32) + b[None, :]
    tl.store(at, _gelu(value).to(x.dtype.element_ty), mask=inside)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Return gelu(x + bias), exact (erf), written over x (T, F) contiguous."""
    width = x.shape[-1]
    rows, block, columns = x.numel() // width, 16, 256
    grid = (
        triton.cdiv(width, columns),
        triton.cdiv(rows, block),
    )  # programs that run together read neighbouring memory
    _bias_gelu_kernel[grid](x, bias, rows, WIDTH=width, ROWS=block, COLUMNS=columns)
    return x


@triton.jit
def _quantise_kernel(x, bias, q, scales, D: tl.constexpr, BLOCK: tl.constexpr, GELU: tl.constexpr):
    column = tl.arange(0, BLOCK)
    inside = column < D
    at = tl.program_id(0).to(tl.int64) * D + column
    row = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if GELU:
        row = _gelu(row + tl.load(bias + column, mask=inside, other=0.0).to(tl.float32))
    row, scale = _quantised(row)
    tl.store(scales + tl.program_id(0), scale)
    tl.store(q + at, row.to(q.dtype.element_ty), mask=inside)


def quantise(x: Tensor, gelu_bias: Tensor | None = None) -> Quantised:
    """Return x (T, D), contiguous, in e4m3 with one scale per row; with `gelu_bias` (D,) gelu(x + bias) instead."""
    width, block = x.shape[-1], triton.next_power_of_2(x.shape[-1])
    out = Quantised(torch.empty_like(x, dtype=FLOAT8), x.new_empty(*x.shape[:-1], 1, dtype=torch.float32))
    _quantise_kernel[(x.numel() // width,)](
        x, gelu_bias, *out, D=width, BLOCK=block, GELU=gelu_bias is not None, num_warps=max(1, min(16, block // 512))
    )
    return out


def feed_forward(x: Normed, up: Dense, down: Dense) -> Tensor:
    """Return down(gelu(up(x))) for x (T, D): a product without bias, one pass for bias and GELU, the second product."""
    if isinstance(up, Float8Linear):
        return down(quantise(up.product(x, None), up.bias))  # type: ignore[no-any-return]
    assert isinstance(x, Tensor)
    wide = torch.mm(x.flatten(0, -2), up.weight.T)
    return down(bias_gelu(wide, up.bias)).view(x.shape)  # type: ignore[no-any-return]


TRITON = Kernels("triton", add_layer_norm, rotary_qk, feed_forward, quantise)


def probe(device: torch.device, dtype: torch.dtype) -> None:
    """Compile and launch the smallest kernel; raise whatever error that gives."""
    with torch.cuda.device(device):
        bias_gelu(torch.zeros(1, 16, device=device, dtype=dtype), torch.zeros(16, device=device, dtype=dtype))
