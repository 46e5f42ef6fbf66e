"""Rotary position embedding: full head width, base 10000, rotate-half layout, tables always in float32.

The table is computed from position ids once per batch and shared by all layers. It is not a buffer, which a
cast of the model would round.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(position_ids: Tensor, head_width: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the rotary angles, each (..., 1, Dh/2) float32, for position_ids (...).

    angle(p, i) = p / 10000^(2i/Dh), i in 0..Dh/2-1 (Su et al. 2021, eq. 15).
    """
    exponents = torch.arange(0, head_width, 2, device=position_ids.device, dtype=torch.float32) / head_width
    angles = position_ids[..., None, None].float() * (1.0 / 10000.0**exponents)  # (..., 1, Dh/2)
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x (..., H, Dh) by the table; element i pairs with i + Dh/2; in float32, returned in the dtype of x."""
    first, second = x.float().chunk(2, dim=-1)  # each (..., H, Dh/2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
