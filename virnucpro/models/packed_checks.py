"""Check the format of packed sequences: cu_seqlens, and q, k and v.

T total tokens, N sequences, H heads, Dh head width.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from virnucpro.errors import PackedFormatError

_FORMAT = "cu_seqlens holds cumulative lengths, [0, len1, len1+len2, ...]: N+1 elements for N sequences"
INTEGERS = (torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8)
HALVES = (torch.float16, torch.bfloat16)


def format_error(what: str) -> NoReturn:
    """Raise PackedFormatError with the format that was expected."""
    raise PackedFormatError(f"{what}; {_FORMAT}")


def check_borders(cu_seqlens: Tensor) -> None:
    """Raise PackedFormatError unless cu_seqlens is 1-D, starts with 0 and is strictly increasing."""
    if cu_seqlens.dim() != 1:
        format_error(f"cu_seqlens must be 1-D, got {cu_seqlens.dim()} dimensions")
    if cu_seqlens.numel() < 2:
        format_error(f"cu_seqlens needs at least 2 elements, got {cu_seqlens.numel()}")
    if cu_seqlens[0] != 0:
        format_error(f"cu_seqlens must start with 0, got {int(cu_seqlens[0])}")
    if cu_seqlens.diff().min() < 1:
        at = int((cu_seqlens[1:] <= cu_seqlens[:-1]).nonzero()[0, 0])
        pair = f"{int(cu_seqlens[at])} is followed by {int(cu_seqlens[at + 1])} at index {at + 1}"
        format_error(f"cu_seqlens must be strictly increasing (no empty sequences), got {pair}")


def check_packed(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> None:
    """Raise unless half-precision q, k, v (T, H, Dh), int32 cu_seqlens (N+1,) and max_seqlen fit together.

    Raises:
        ValueError: cu_seqlens is not int32, or q, k, v differ in shape or are not half precision.
        PackedFormatError: cu_seqlens or max_seqlen does not describe q.
    """
    if cu_seqlens.dtype != torch.int32:
        raise ValueError(f"cu_seqlens must be int32, got {cu_seqlens.dtype}; use cu_seqlens.to(torch.int32)")
    if q.dtype not in HALVES or k.dtype != q.dtype or v.dtype != q.dtype:
        raise ValueError(
            f"q, k and v must all be float16 or all bfloat16, got {q.dtype}, {k.dtype}, {v.dtype}; "
            "use q.to(torch.bfloat16), and k and v likewise"
        )
    borders = cu_seqlens.cpu()  # one synchronisation; all checks then run on the host
    check_borders(borders)
    if q.dim() != 3 or k.shape != q.shape or v.shape != q.shape:
        raise ValueError(f"q, k and v must have one shape, (T, H, Dh), got {[tuple(t.shape) for t in (q, k, v)]}")
    if borders[-1] != q.shape[0]:
        format_error(f"cu_seqlens must end at T = {q.shape[0]}, the rows of q, got {int(borders[-1])}")
    longest = int(borders.diff().max())
    if max_seqlen < longest:
        format_error(f"max_seqlen must be at least the longest sequence, {longest}, got {max_seqlen}")
