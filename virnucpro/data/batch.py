"""PackedBatch: sequences laid end to end on the host, checked once, and moved to a device together.

T total tokens, N sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.errors import PackedFormatError


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One tokenised sequence: its id and its token ids, (L,) int64, special tokens included."""

    id: str
    tokens: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """N sequences packed into T tokens.

    `input_ids` (T,) int64; `position_ids` (T,) int64, 0 at every border; `cu_seqlens` (N+1,) int32;
    `max_seqlen` a host int; `sequence_ids` N ids (row numbers inside the pipeline). Fields can also be read by key,
    as in `batch["input_ids"]`.

    Raises:
        PackedFormatError: the fields do not agree. Checks on a device would synchronise it, so a batch is checked
            only on the host, where it is made.
    """

    input_ids: Tensor
    position_ids: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    sequence_ids: Sequence[Any]

    def __post_init__(self) -> None:
        if self.input_ids.device.type != "cpu":
            return  # made from a checked batch by `to`
        total, borders = self.input_ids.shape[0], self.cu_seqlens
        if borders.dtype != torch.int32:
            raise PackedFormatError(f"cu_seqlens must be int32, got {borders.dtype}; use .to(torch.int32)")
        if not self.sequence_ids:
            raise PackedFormatError("a packed batch needs at least one sequence, got none")
        if borders.shape != (len(self.sequence_ids) + 1,) or borders[0] != 0 or borders[-1] != total:
            raise PackedFormatError(
                f"cu_seqlens must hold {len(self.sequence_ids) + 1} elements from 0 to T = {total}, "
                f"got {borders.numel()} from {borders.flatten()[:1].tolist()} to {borders.flatten()[-1:].tolist()}"
            )
        lengths = borders.diff()
        if int(lengths.min()) < 1 or int(lengths.max()) != self.max_seqlen:
            raise PackedFormatError(
                f"sequences must have 1 to max_seqlen = {self.max_seqlen} tokens, "
                f"got {int(lengths.min())} to {int(lengths.max())}"
            )
        starts = borders[:-1].long().repeat_interleave(lengths, output_size=total)
        if not self.position_ids.equal(torch.arange(total) - starts):
            raise PackedFormatError("position_ids must be (T,), start at 0 for each sequence and rise by 1")

    @property
    def num_sequences(self) -> int:
        return len(self.sequence_ids)

    @property
    def num_tokens(self) -> int:
        return self.input_ids.shape[0]

    def __getitem__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self, name):
            raise KeyError(name)
        return getattr(self, name)

    def halves(self) -> tuple[PackedBatch, PackedBatch]:
        """Split a batch of at least two sequences into two batches, in order."""
        middle = self.num_sequences // 2
        border = int(self.cu_seqlens[middle])
        return self._part(slice(0, middle), slice(0, border)), self._part(slice(middle, None), slice(border, None))

    def _part(self, sequences: slice, tokens: slice) -> PackedBatch:
        stop = None if sequences.stop is None else sequences.stop + 1
        borders = self.cu_seqlens[sequences.start : stop] - self.cu_seqlens[sequences.start]
        return PackedBatch(
            self.input_ids[tokens], self.position_ids[tokens], borders, int(borders.diff().max()),
            self.sequence_ids[sequences],
        )  # fmt: skip

    def pin_memory(self) -> PackedBatch:
        """Return the batch in page-locked memory, which makes copies to a GPU asynchronous."""
        pinned = {name: self[name].pin_memory() for name in ("input_ids", "position_ids", "cu_seqlens")}
        return replace(self, **pinned)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """Return the batch on `device`."""
        names = ("input_ids", "position_ids", "cu_seqlens")
        return replace(self, **{name: self[name].to(device, non_blocking=non_blocking) for name in names})


def pack(sequences: Sequence[TokenSequence]) -> PackedBatch:
    """Lay sequences end to end.

    Raises:
        PackedFormatError: there is no sequence, or one is empty.
    """
    lengths = np.array([len(sequence.tokens) for sequence in sequences], dtype=np.int64)
    if not len(lengths) or not lengths.all():
        raise PackedFormatError(f"a packed batch needs sequences of at least one token, got {lengths.tolist()}")
    borders = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))
    position_ids = np.arange(borders[-1]) - np.repeat(borders[:-1], lengths)
    return PackedBatch(
        input_ids=torch.from_numpy(np.concatenate([sequence.tokens for sequence in sequences])),
        position_ids=torch.from_numpy(position_ids),
        cu_seqlens=torch.from_numpy(borders.astype(np.int32)),
        max_seqlen=int(lengths.max()),
        sequence_ids=tuple(sequence.id for sequence in sequences),
    )


def pad(batch: PackedBatch, pad_token: int) -> Tensor:
    """Return the same sequences as a padded (N, max_seqlen) int64 tensor, filled with `pad_token`."""
    padded = torch.full((batch.num_sequences, batch.max_seqlen), pad_token, dtype=torch.int64)
    padded = padded.to(batch.input_ids.device)
    padded[_rows(batch), batch.position_ids] = batch.input_ids
    return padded


def unpad(hidden: Tensor, batch: PackedBatch) -> Tensor:
    """Return the real positions of padded hidden states (N, max_seqlen, D) as packed ones (T, D)."""
    return hidden[_rows(batch), batch.position_ids]


def _rows(batch: PackedBatch) -> Tensor:
    rows = torch.arange(batch.num_sequences, device=batch.cu_seqlens.device)
    return torch.repeat_interleave(rows, batch.cu_seqlens.long().diff(), output_size=batch.num_tokens)
