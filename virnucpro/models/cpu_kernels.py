"""Kernels for inference on a CPU: fewer passes over memory than the plain kernels, and equal to them up to rounding.

In bfloat16, oneDNN adds the bias and applies the exact GELU while the product is in the cache, by an operator made for
torch.compile. Rotary positions are one product of complex numbers. It needs the two elements of a pair side by side, so
`qkv` reorders the rows of q and k. Attention does not depend on their order.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.kernels import Dense, Kernels, Normed

# Private to torch, so it may be missing or unable to run; then the plain product is used.
_FUSED = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
if _FUSED is not None and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
    _FUSED = None


def add_layer_norm(x: Tensor, y: Tensor | None, norm: nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Normed]:
    """Return x + y, written over x, and its norm in `dtype`."""
    x = x if y is None else x.add_(y)
    return x, norm(x).to(dtype)


def linear(x: Normed, dense: Dense) -> Tensor:
    """Return dense(x)."""
    return _dense(x, dense.weight, dense.bias)


def qkv(x: Normed, dense: Dense, heads: int) -> Tensor:
    """Return q, k and v of x (..., D) as (..., 3, H, Dh); in q and k, elements i and i + Dh/2 are side by side."""
    order = _paired(heads, dense.weight.shape[0] // (3 * heads))
    return _dense(x, dense.weight[order], dense.bias[order]).unflatten(-1, (3, heads, -1))  # type: ignore[no-any-return, no-untyped-call]


def rotary_qk(qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate q and k of `qkv`'s layout in float32; return q, k, v (..., H, Dh)."""
    qk = qkv[..., :2, :, :].float()  # if qkv is float32, a view that is overwritten
    pairs = qk.unflatten(-1, (-1, 2))  # type: ignore[no-untyped-call]
    torch.view_as_complex(pairs).mul_(torch.complex(cos, sin).unsqueeze(-3))
    q, k = qk.to(qkv.dtype).unbind(-3)
    return q, k, qkv[..., 2, :, :]


def feed_forward(x: Normed, up: Dense, down: Dense) -> Tensor:
    """Return down(gelu(up(x))), the exact GELU."""
    return linear(_dense(x, up.weight, up.bias, "gelu"), down)


def _dense(x: Normed, weight: Tensor, bias: Tensor, then: str = "none") -> Tensor:
    assert isinstance(x, Tensor)  # for the type checker: e4m3 has other kernels
    if _FUSED is not None and x.dtype == torch.bfloat16:
        return _FUSED(x, weight, bias, then, [], "none")  # type: ignore[no-any-return]
    product = F.linear(x, weight, bias)
    return F.gelu(product) if then == "gelu" else product


@lru_cache(maxsize=16)
def _paired(heads: int, head_width: int) -> Tensor:
    """Return the order of the 3 H Dh rows of q, k and v in which the pairs of q and k are neighbours."""
    rows = torch.arange(3 * heads * head_width).view(3, heads, 2, head_width // 2)
    paired = rows.transpose(-1, -2).reshape(3, -1)
    return torch.cat((paired[:2].flatten(), rows[2].flatten()))


CPU = Kernels("cpu", add_layer_norm, rotary_qk, feed_forward, qkv=qkv, linear=linear)
