"""Rotary position embedding: full head width, base 10000, rotate-half layout, tables always in float32.

The table is computed from position ids once a batch and shared by all layers; there is no buffer that a
cast of the model could round.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(position_ids: Tensor, head_width: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the rotary angles, each (..., 1, Dh) float32, for position_ids (...).

    angle(p, i) = p / 10000^(2i/Dh), i in 0..Dh/2-1, written twice along Dh (Su et al. 2021, eq. 15, with
    the halves, not the neighbours, as pairs).
    """
    exponents = torch.arange(0, head_width, 2, device=position_ids.device, dtype=torch.float32) / head_width
    angles = position_ids[..., None].float() * (1.0 / 10000.0**exponents)  # (..., Dh/2)
    angles = torch.cat((angles, angles), dim=-1)[..., None, :]  # (..., 1, Dh)
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x (..., H, Dh) by the table; computed in float32, returned in the dtype of x."""
    first, second = x.float().chunk(2, dim=-1)
    return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)
