"""Dense layers in 8-bit floating point (e4m3): one scale per weight row and one per token, sums in float32.

T total tokens, D width. (T,) stands for any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

FLOAT8 = torch.float8_e4m3fn
LARGEST = 448.0  # the largest number of e4m3
SMALLEST_SCALE = 1e-12  # avoids division by zero for a row of zeros


class Quantised(NamedTuple):
    """values (T, D) in e4m3 and scale (T, 1) float32: the numbers are values * scale."""

    values: Tensor
    scale: Tensor


Quantise = Callable[[Tensor], Quantised]


def quantise(x: Tensor) -> Quantised:
    """Scale each row of x (T, D) so that its largest number is the largest of e4m3, and round."""
    x = x.float()
    scale = (x.abs().amax(-1, keepdim=True) / LARGEST).clamp_min(SMALLEST_SCALE)
    return Quantised((x / scale).to(FLOAT8), scale)


class Float8Linear(nn.Module):
    """A linear layer without gradients that multiplies in e4m3; its input is a float tensor or `Quantised`.

    weight (out, in) e4m3, scale (1, out) float32, bias (out,). The output has the dtype of the bias: bfloat16 on a GPU.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear, quantise: Quantise = quantise) -> None:
        super().__init__()
        values, scale = quantise(linear.weight.detach())
        self.register_buffer("weight", values)
        self.register_buffer("scale", scale.T.contiguous())
        self.register_buffer("bias", linear.bias.detach())
        self.quantise = quantise

    def forward(self, x: Tensor | Quantised) -> Tensor:
        return self.product(x, self.bias)

    def product(self, x: Tensor | Quantised, bias: Tensor | None) -> Tensor:
        """Return x weight^T + bias, (T, out); pass None to leave the bias to a fused step that follows."""
        values, scale = x if isinstance(x, Quantised) else self.quantise(x)
        out = torch._scaled_mm(
            values.flatten(0, -2), self.weight.T, scale_a=scale.flatten(0, -2), scale_b=self.scale, bias=bias,
            out_dtype=self.bias.dtype, use_fast_accum=True,
        )  # fmt: skip
        return out.view(*values.shape[:-1], -1)

    def to_linear(self) -> nn.Linear:
        """Return the layer that has the same weights in the dtype of the bias."""
        out, width = self.weight.shape
        linear = nn.Linear(width, out, device=self.weight.device, dtype=self.bias.dtype)
        with torch.no_grad():
            linear.weight.copy_(self.weight.float() * self.scale.T)
            linear.bias.copy_(self.bias)
        return linear


def to_float8(module: nn.Module, quantise: Quantise) -> None:
    """Replace every linear layer inside `module`, one by one, so that memory never holds both forms of all layers."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Float8Linear(child, quantise))
        else:
            to_float8(child, quantise)


def from_float8(module: nn.Module) -> None:
    """Undo `to_float8`, except for the rounding."""
    for name, child in module.named_children():
        if isinstance(child, Float8Linear):
            setattr(module, name, child.to_linear())
        else:
            from_float8(child)
