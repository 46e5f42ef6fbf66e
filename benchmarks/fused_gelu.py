"""Tried in gpu_esm2.py: the GELU of a feed-forward layer in the epilogue of its first product, as one Triton kernel.

The package leaves the product to cuBLAS and goes over its (T, F) once more for bias and GELU. Here each program stays
on its multiprocessor and works through tiles of the product; it adds the bias and applies GELU to the float32 sums
before anything is rounded or written. T total tokens, D width, F width of the feed-forward layer.

    TRITON_INTERPRET=1 python benchmarks/fused_gelu.py     its error, on a CPU; without the variable on a GPU, and times
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from virnucpro.models import ESM2
from virnucpro.models.float8 import Float8Linear
from virnucpro.models.triton_kernels import _gelu, bias_gelu


class Tiles(NamedTuple):
    """How to divide the work: rows x columns of the result a tile, summed over `depth` a step."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int  # of the pipeline that loads both operands
    resident: int = 1  # programs a multiprocessor: with two, one multiplies while the other is at its epilogue
    group: int = 8  # tiles below each other that are done before the next column, so that L2 has their operands
    halves: bool = True  # results go out by halves: less shared memory, which the stages need
    flatten: bool = True  # one loop over tiles and depth: the next tile's operands are loaded during the epilogue
    specialise: bool = False  # a warp group loads, two multiply: with 4 warps, neither halves nor flatten (Triton 3.6)

    def __str__(self) -> str:
        numbers = "".join(f", {name} {getattr(self, name)}" for name in ("warps", "stages", "resident", "group"))
        marks = "".join(f", {name}" for name in ("halves", "flatten", "specialise") if getattr(self, name))
        return f"{self.rows}x{self.columns}x{self.depth}{numbers}{marks}"


# In order of promise, but for those with specialised warps: were one to hang, the others have been timed before.
TILES = (
    Tiles(128, 256, 64, 8, 4),
    Tiles(128, 256, 64, 8, 3, group=16),
    Tiles(128, 128, 64, 4, 3, resident=2, group=16),
    Tiles(256, 128, 64, 8, 4),
    Tiles(128, 256, 64, 8, 4, flatten=False),
    Tiles(128, 256, 64, 4, 3, halves=False, flatten=False, specialise=True),
    Tiles(128, 128, 64, 4, 4, halves=False, flatten=False, specialise=True),
)


@triton.jit
def _activated(sums, bias, column, F, N: tl.constexpr, dtype: tl.constexpr):
    at = column + tl.arange(0, N)
    b = tl.load(bias + at, mask=at < F, other=0.0).to(tl.float32)
    return _gelu(sums + b[None, :]).to(dtype)


@triton.jit(do_not_specialize=["rows"])
def _gelu_product_kernel(
    x_at, weight_at, bias, out_at, rows, F: tl.constexpr, D: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, GROUP: tl.constexpr,
    HALVES: tl.constexpr, FLATTEN: tl.constexpr, SPECIALISE: tl.constexpr,
):  # fmt: skip
    # Descriptors for the copy engine (TMA), made here and not by the host: specialised warps need smaller ones.
    x = tl.make_tensor_descriptor(x_at, [rows, D], [D, 1], [M, K])
    weight = tl.make_tensor_descriptor(weight_at, [F, D], [D, 1], [N, K])
    out = tl.make_tensor_descriptor(out_at, [rows, F], [F, 1], [M, N // 2 if HALVES else N])
    down, across = tl.cdiv(rows, M), tl.cdiv(F, N)
    for tile in tl.range(
        tl.program_id(0), down * across, tl.num_programs(0), flatten=FLATTEN, warp_specialize=SPECIALISE
    ):
        first = tile // (GROUP * across) * GROUP
        height = min(GROUP, down - first)
        row = (first + tile % (GROUP * across) % height) * M
        column = tile % (GROUP * across) // height * N
        sums = tl.zeros([M, N], tl.float32)
        for k in range(0, D, K):  # what lies outside is loaded as zeros, and not stored
            sums = tl.dot(x.load([row, k]), weight.load([column, k]).T, sums)
        if HALVES:
            left, right = tl.split(tl.permute(tl.reshape(sums, [M, 2, N // 2]), [0, 2, 1]))
            out.store([row, column], _activated(left, bias, column, F, N // 2, out.dtype))
            column += N // 2
            out.store([row, column], _activated(right, bias, column, F, N // 2, out.dtype))
        else:
            out.store([row, column], _activated(sums, bias, column, F, N, out.dtype))


def gelu_product(x: Tensor, weight: Tensor, bias: Tensor, tiles: Tiles = TILES[0]) -> Tensor:
    """Return gelu(x weight^T + bias), exact (erf): x (T, D), weight (F, D) and the result (T, F) of one half dtype.

    x and weight contiguous, D and F multiples of 8.
    """
    (rows, depth), width = x.shape, len(weight)
    out = x.new_empty(rows, width)
    places = torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 3  # several tiles each
    count = triton.cdiv(rows, tiles.rows) * triton.cdiv(width, tiles.columns)
    triton.set_allocator(lambda size, alignment, stream: torch.empty(size, dtype=torch.int8, device=x.device))
    _gelu_product_kernel[(min(count, places * tiles.resident),)](
        x, weight, bias, out, rows, F=width, D=depth,
        M=tiles.rows, N=tiles.columns, K=tiles.depth, GROUP=tiles.group,
        HALVES=tiles.halves, FLATTEN=tiles.flatten, SPECIALISE=tiles.specialise,
        num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip
    return out


def fuse(model: ESM2, tiles: Tiles = TILES[0]) -> ESM2:
    """Give a placed model this feed-forward layer; one in 8-bit floating point keeps its own."""
    other = model.kernels.feed_forward

    def feed_forward(x, up, down):
        if isinstance(up, Float8Linear):
            return other(x, up, down)
        return down(gelu_product(x.flatten(0, -2), up.weight, up.bias, tiles)).view(x.shape)

    model.kernels = replace(model.kernels, feed_forward=feed_forward)
    return model


def operands(rows: int, depth: int, width: int, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    """Return x, weight, bias and what is to be found, in float32."""
    torch.manual_seed(0)
    x, weight = torch.randn(rows, depth, device=device), torch.randn(width, depth, device=device) * depth**-0.5
    x, weight, bias = x.to(dtype), weight.to(dtype), torch.randn(width, device=device).to(dtype)
    return x, weight, bias, torch.nn.functional.gelu(torch.addmm(bias.float(), x.float(), weight.float().T))


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found.float() - exact).norm() / exact.norm())


def milliseconds(step: Callable[[], object], at_least: float = 500.0) -> tuple[float, int]:
    """Return the median time of a step and of how many: enough in a row that the GPU reaches its power limit."""

    def times(runs: int) -> list[float]:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(runs + 1)]
        events[0].record()
        for event in events[1:]:
            step()
            event.record()
        torch.cuda.synchronize()
        return [a.elapsed_time(b) for a, b in itertools.pairwise(events)]

    times(3)
    runs = max(20, round(at_least / statistics.median(times(10))))
    return statistics.median(times(runs)), runs


def compare(rows: int, depth: int, width: int) -> None:
    """Check and time cuBLAS and every option at one shape."""
    x, weight, bias, exact = operands(rows, depth, width, torch.bfloat16, "cuda")
    product = partial(torch.mm, x, weight.T, out=x.new_empty(rows, width))
    steps: list[tuple[str, Callable[[], Tensor]]] = [
        ("torch.mm", product),
        ("torch.mm, bias_gelu", lambda: bias_gelu(product(), bias)),
        *((str(tiles), partial(gelu_product, x, weight, bias, tiles)) for tiles in TILES),
        ("torch.mm again", product),  # is the GPU as fast as it was?
    ]
    for name, step in steps:
        try:
            error = relative_error(step(), exact)
        except Exception as fault:  # of the compiler, of any class
            print(f"skipped: {name}: {type(fault).__name__}: {str(fault)[:200]}", flush=True)
            continue
        time, runs = milliseconds(step)
        note = "no GELU" if step is product else f"error {error:.1e}{'' if error < 1e-2 else ' WRONG'}"
        speed = f"{time:.3f} ms  {2e-9 * rows * depth * width / time:4.0f} TFLOP/s  {runs} runs"
        print(f"T {rows} D {depth} F {width}  {speed}  {note}  {name}", flush=True)


def main() -> None:
    if torch.cuda.is_available():
        for depth, rows in ((2560, 16384), (2560, 16896), (1280, 16384), (1280, 16896)):
            compare(rows, depth, 4 * depth)
        x, weight, bias, exact = operands(4097, 2560, 10240, torch.bfloat16, "cuda")  # as batches of a model are
        for tiles in TILES[:2]:
            print(f"T 4097: error {relative_error(gelu_product(x, weight, bias, tiles), exact):.1e}: {tiles}")
        return
    for dtype, most in ((torch.float32, 1e-5), (torch.float16, 1e-3)):  # the interpreter cannot multiply bfloat16
        for shape in ((512, 64, 512), (300, 80, 320), (128, 320, 1280), (2100, 64, 256)):
            x, weight, bias, exact = operands(*shape, dtype, "cpu")
            for tiles in TILES:
                error = relative_error(gelu_product(x, weight, bias, tiles), exact)
                assert error < most, error
                print(f"{shape} {dtype}: relative error {error:.1e}: {tiles}", flush=True)


if __name__ == "__main__":
    main()
