"""The asynchronous runner: batches are prepared ahead, the encoder runs, results are copied back behind it.

A background thread tokenises and packs; this thread launches `forward_packed` and pooling; only pooled
vectors leave the device, and they are waited for a few batches later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.data import PackedBatch, VarlenCollator, iter_packed, pad, prefetch, unpad
from virnucpro.errors import NumericalError
from virnucpro.models.pooling import mean_pool_packed
from virnucpro.models.registry import Encoder
from virnucpro.types import EmbeddingBatch

# Enough to fill a GPU; few enough that the activations of a small model stay in a CPU's cache.
DEFAULT_TOKENS = {"cuda": 16384, "cpu": 4096}


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch in flight: where its vectors will be, and the event after which they are there."""

    sequence_ids: tuple[str, ...]
    vectors: Tensor  # (N, D) float32 on the host, pinned on a GPU run
    done: torch.cuda.Event | None


class AsyncInferenceRunner:
    """Embed sequences with one encoder on one device.

    Args:
        encoder: the language model, placed on its device and in its precision.
        device: that device.
        max_tokens: the token budget of a batch; None takes `DEFAULT_TOKENS` of the device.
        packing: False takes the padded path, which gives the same numbers more slowly.
        depth: how many batches may be prepared ahead, and how many in flight.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device | str = "cpu",
        max_tokens: int | None = None,
        packing: bool = True,
        depth: int = 2,
    ) -> None:
        self.encoder = encoder
        self.device = torch.device(device)
        self.max_tokens = DEFAULT_TOKENS[self.device.type] if max_tokens is None else max_tokens
        self.packing = packing
        self.depth = depth
        self.collator = VarlenCollator(encoder.tokenizer)

    def run(self, items: Iterable[tuple[str, bytes]]) -> Iterator[EmbeddingBatch]:
        """Yield the pooled vectors of (id, sequence) pairs, batch by batch, similar lengths together.

        Every id comes out exactly once.

        Raises:
            NumericalError: a vector is not finite.
        """
        pending: deque[_Pending] = deque()
        for batch in prefetch(iter_packed(items, self.collator, self.max_tokens), self.depth):
            pending.append(self._launch(batch))
            if len(pending) > self.depth:
                yield self._collect(pending.popleft())
        while pending:
            yield self._collect(pending.popleft())

    def embed(self, sequences: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Return the pooled vectors of `sequences` in their order, (N, D); equal ones are embedded once."""
        numbers: dict[bytes, int] = {}
        rows = [numbers.setdefault(sequence, len(numbers)) for sequence in sequences]
        vectors = np.empty((len(numbers), self.encoder.model.width), dtype=np.float32)
        for batch in self.run((str(number), sequence) for sequence, number in numbers.items()):
            vectors[[int(name) for name in batch.sequence_ids]] = batch.vectors
        return vectors[rows]

    @torch.inference_mode()
    def _launch(self, batch: PackedBatch) -> _Pending:
        on_gpu = self.device.type == "cuda"
        there = (batch.pin_memory() if on_gpu else batch).to(self.device, non_blocking=True)
        pooled = self.pool(self.encode(there), there)
        if not on_gpu:
            return _Pending(batch.sequence_ids, pooled, None)
        vectors = torch.empty(pooled.shape, dtype=pooled.dtype, pin_memory=True)
        vectors.copy_(pooled, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return _Pending(batch.sequence_ids, vectors, done)

    def encode(self, batch: PackedBatch) -> Tensor:
        """Return the last hidden states (T, D) of a batch on the device, by the packed or the padded path."""
        model = self.encoder.model
        if self.packing:
            hidden = model.forward_packed(
                batch.input_ids, batch.cu_seqlens, batch.max_seqlen, position_ids=batch.position_ids
            )
            return hidden[model.n_layers]
        return unpad(model(pad(batch, model.pad_token))[model.n_layers], batch)

    def pool(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """Return the pooled vectors (N, D) float32 of hidden states (T, D)."""
        return mean_pool_packed(hidden, batch.cu_seqlens, self.encoder.window, batch.position_ids)

    def _collect(self, pending: _Pending) -> EmbeddingBatch:
        if pending.done is not None:
            pending.done.synchronize()
        vectors = pending.vectors.numpy()
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            name = pending.sequence_ids[int(np.argmin(finite))]
            raise NumericalError(
                f"{int((~finite).sum())} of {len(finite)} embeddings are not finite, the first of sequence {name!r}; "
                "an empty sequence has none, and half precision may overflow: try --precision fp32"
            )
        return EmbeddingBatch(pending.sequence_ids, vectors)
