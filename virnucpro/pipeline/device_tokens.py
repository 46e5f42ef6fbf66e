"""The tokens of a block on a device, and packed batches of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.data import PackedBatch
from virnucpro.models.positions import position_ids_unchecked


@dataclass(frozen=True, slots=True)
class DeviceTokens:
    """The tokens of N sequences, end to end, on the device; `begins` and `lengths` (N,) of each, on the host."""

    tokens: Tensor  # of any integer dtype
    begins: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tokens: npt.NDArray[Any], lengths: npt.NDArray[np.int64], device: torch.device) -> DeviceTokens:
        return cls(to_device(tokens, device), np.cumsum(lengths) - lengths, lengths)

    def batch(self, rows: npt.NDArray[np.int64]) -> PackedBatch:
        """Return the sequences of these rows as a packed batch on the device; its ids are 0 to N - 1."""
        lengths = self.lengths[rows]
        cu_seqlens = np.zeros(len(rows) + 1, np.int32)
        np.cumsum(lengths, out=cu_seqlens[1:])
        total, device = int(cu_seqlens[-1]), self.tokens.device
        borders = to_device(cu_seqlens, device)
        positions = position_ids_unchecked(borders, total)  # (T,)
        begins = to_device(self.begins[rows], device)
        at = begins.repeat_interleave(borders.diff(), output_size=total) + positions
        input_ids = self.tokens[at].long()
        return PackedBatch(input_ids, positions, borders, int(lengths.max()), range(len(rows)))


def to_device(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on the device; a copy to a GPU is asynchronous, from page-locked memory."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
