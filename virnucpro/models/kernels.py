"""All work of a layer except attention, as a table of functions: plain, or fused for inference.

The plain functions are the specification: they run on every device and dtype, with autograd. The fused ones are for
inference, on CUDA in half precision (`triton_kernels`) or on a CPU (`cpu_kernels`). They may overwrite their arguments;
use only what a kernel returns.
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
    """One implementation of the work around attention in a pre-LayerNorm layer with rotary positions.

    add_layer_norm(x, y, norm, dtype): x (..., D), the residual stream; y (..., D) to add to it, or None;
        norm, a LayerNorm over D. Returns x + y in the dtype of x, and its norm in `dtype` (for e4m3 as `Quantised`).
    qkv(x, dense, heads): x (..., D), dense a linear layer from D to 3 H Dh. Returns (..., 3, H, Dh), contiguous.
    rotary_qk(qkv, cos, sin): qkv from the `qkv` kernel of the same table; cos and sin (..., 1, Dh/2) float32, see
        `rotary_table`. Returns q and k rotated, and v, each (..., H, Dh), which may be views of qkv. The elements of
        a head may be reordered, in the same way for q and k.
    linear(x, dense): x (..., D). Returns dense(x).
    feed_forward(x, up, down): x (..., D), up a linear layer from D to F, down one from F to D. Returns
        down(gelu(up(x))) with the exact (erf) GELU, (..., D). With `Float8Linear` layers x is `Quantised`.
    quantise(x): x (..., D) to e4m3 with one scale per row, see `float8`.
    differentiable: whether autograd can go through them; if not, training uses the plain ones.
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
    """Return the plain kernels through `torch.compile`, for training, where half a minute of compiling pays off."""
    compiled = partial(torch.compile, dynamic=True, backend=backend)
    return Kernels(
        "compiled", compiled(_add_layer_norm), compiled(_rotary_qk), compiled(_feed_forward), differentiable=True
    )
