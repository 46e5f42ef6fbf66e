"""The work of a layer but for attention, as a table of functions: plain, or fused for inference.

The plain functions are the specification: they serve every device and dtype, and autograd. The fused ones are for
inference, on CUDA in half precision (`triton_kernels`) or on a CPU (`cpu_kernels`); they may overwrite their arguments,
so callers use only what a kernel returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.float8 import FLOAT8, Float8Linear, Quantise, Quantised, quantise
from virnucpro.models.rotary import apply_rotary

Normed = Tensor | Quantised
Dense = nn.Linear | Float8Linear


@dataclass(frozen=True, slots=True)
class Kernels:
    """One way to do the elementwise work of a pre-LayerNorm layer with rotary positions.

    add_layer_norm(x, y, norm, dtype): x (..., D), the residual stream; y (..., D) to be added to it, or None;
        norm, a LayerNorm over D. Returns x + y in the dtype of x, and its norm in `dtype`, for e4m3 `Quantised`.
    qkv(x, dense, heads): x (..., D), dense a linear layer from D to 3 H Dh. Returns (..., 3, H, Dh), contiguous.
    rotary_qk(qkv, cos, sin): what `qkv` of the same table returned; cos and sin (..., 1, Dh/2) float32, see
        `rotary_table`. Returns q and k rotated, and v, each (..., H, Dh), perhaps views of qkv. The elements of
        a head of q and k may be in another order, if it is the same for both.
    linear(x, dense): x (..., D). Returns dense(x).
    feed_forward(x, up, down): x (..., D), up a linear layer from D to F, down one back. Returns
        down(gelu(up(x))) with the exact (erf) GELU, (..., D). The layers may be `Float8Linear`, x then `Quantised`.
    quantise(x): x (..., D) in e4m3, a scale a row, see `float8`.
    differentiable: whether they serve autograd; where they do not, training takes the plain ones.
    """

    name: str
    add_layer_norm: Callable[[Tensor, Tensor | None, nn.LayerNorm, torch.dtype], tuple[Tensor, Normed]]
    rotary_qk: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    feed_forward: Callable[[Normed, Dense, Dense], Tensor]
    quantise: Quantise = quantise
    qkv: Callable[[Normed, Dense, int], Tensor] = lambda x, dense, heads: dense(x).unflatten(-1, (3, heads, -1))
    linear: Callable[[Normed, Dense], Tensor] = lambda x, dense: dense(x)
    differentiable: bool = False


def _add_layer_norm(x: Tensor, y: Tensor | None, norm: nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Normed]:
    x = x if y is None else x + y
    return x, quantise(norm(x)) if dtype == FLOAT8 else norm(x).to(dtype)


def _rotary_qk(qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv.unbind(-3)
    return apply_rotary(q, cos, sin), apply_rotary(k, cos, sin), v


def _feed_forward(x: Normed, up: Dense, down: Dense) -> Tensor:
    return down(F.gelu(up(x)))  # type: ignore[no-any-return]


PLAIN = Kernels("plain", _add_layer_norm, _rotary_qk, _feed_forward, differentiable=True)


def compiled_kernels(backend: str = "inductor") -> Kernels:
    """Return the plain kernels through `torch.compile`: for training, where half a minute of compiling pays."""
    compiled = partial(torch.compile, dynamic=True, backend=backend)
    return Kernels(
        "compiled", compiled(_add_layer_norm), compiled(_rotary_qk), compiled(_feed_forward), differentiable=True
    )
