"""Mean pooling on the device: packed hidden states (T, D) become one vector per sequence, (N, D) float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from virnucpro.models.positions import position_ids_unchecked


@dataclass(frozen=True, slots=True)
class PoolingWindow:
    """Which tokens of a sequence enter the mean: all but `skip_first` and `skip_last`, at most `limit`."""

    skip_first: int = 0
    skip_last: int = 0
    limit: int | None = None


def mean_pool_packed(
    hidden: Tensor, cu_seqlens: Tensor, window: PoolingWindow, position_ids: Tensor | None = None
) -> Tensor:
    """Return the mean of each sequence's hidden states over the window, accumulated in float32.

    Args:
        hidden: (T, D) of any float dtype.
        cu_seqlens: (N+1,) int32 on the same device.
        window: which tokens count.
        position_ids: (T,) that restart at every border; None: they are computed.

    Returns:
        (N, D) float32. A sequence without a token in the window gives NaN, which callers check for.
    """
    total = hidden.shape[0]
    if position_ids is None:
        position_ids = position_ids_unchecked(cu_seqlens, total)
    lengths = cu_seqlens.long().diff()  # (N,)
    last = lengths - window.skip_last
    if window.limit is not None:
        last = last.clamp(max=window.skip_first + window.limit)
    counts = last - window.skip_first  # (N,)
    per_token = torch.stack((last, counts), dim=1).repeat_interleave(lengths, dim=0, output_size=total)  # (T, 2)
    keep = (position_ids >= window.skip_first) & (position_ids < per_token[:, 0])
    weights = torch.where(keep, 1.0 / per_token[:, 1], 0.0)
    # embedding_bag adds in a fixed order (index_add on a GPU does not), in float32, without synchronising.
    tokens = torch.arange(total, device=hidden.device)
    pooled = F.embedding_bag(tokens, hidden.float(), cu_seqlens[:-1].long(), mode="sum", per_sample_weights=weights)
    return pooled.masked_fill(counts[:, None] < 1, float("nan"))
