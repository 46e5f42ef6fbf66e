"""The asynchronous runner: batches are prepared ahead, the encoder runs, results are copied back behind it.

A background thread tokenises and packs; this thread launches `forward_packed` and pooling; only pooled
vectors leave the device, and they are waited for a few batches later. A batch that does not fit into the device's
memory is halved, and the budget with it; a vector that half precision made infinite or NaN is computed in float32.
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.data import PackedBatch, VarlenCollator, iter_packed, overlapped, pad, prefetch, unpad
from virnucpro.errors import NumericalError, StoppedError
from virnucpro.models.encoder import PackedEncoder
from virnucpro.models.pooling import mean_pool_packed
from virnucpro.pretrained.registry import Encoder
from virnucpro.types import EmbeddingBatch

logger = logging.getLogger(__name__)

# A batch of a CPU: few enough tokens that the activations of a small model stay in its cache.
_CPU_TOKENS = 4096
# Of a GPU: enough work to fill it, for a narrow model more tokens than for a wide one.
_GPU_TOKENS, _MOST_GPU_TOKENS, _GPU_WIDTH = 16384, 1 << 17, 2560
# Device memory that a token takes at most, for each channel of the residual stream.
_BYTES_PER_CHANNEL = 80


def default_tokens(model: PackedEncoder, device: torch.device) -> int:
    """Return the token budget that suits a model on a device, by the memory that is free there now."""
    if device.type != "cuda":
        return _CPU_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    wanted = min(_MOST_GPU_TOKENS, _GPU_TOKENS * max(1, _GPU_WIDTH // model.width))
    return max(1, min(wanted, free // 2 // (_BYTES_PER_CHANNEL * model.width)))  # half is left to the other encoder


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch in flight, on the host: where its vectors will be, and the event after which they are there."""

    batch: PackedBatch
    vectors: Tensor  # (N, D) float32 on the host, pinned on a GPU run
    done: torch.cuda.Event | None


class AsyncInferenceRunner:
    """Embed sequences with one encoder on one device.

    Args:
        encoder: the language model, placed on its device and in its precision.
        device: that device.
        max_tokens: the token budget of a batch; None takes `default_tokens`.
        packing: False takes the padded path, which gives the same numbers more slowly.
        depth: how many batches may be prepared ahead, and how many in flight: enough that a GPU has work left when the
            last few are those of a small encoder and the next to take its turn begins.
        threads: how many batches are computed at a time, each by a thread of its own; for a CPU.
        turn: whoever runs holds it until the last batch is launched, so that of several that share a device one
            computes while the others prepare; side by side they would all compute, then all prepare, and leave it idle.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device | str = "cpu",
        max_tokens: int | None = None,
        packing: bool = True,
        depth: int = 4,
        threads: int = 1,
        turn: Lock | None = None,
    ) -> None:
        self.encoder = encoder
        self.device = torch.device(device)
        self.max_tokens = default_tokens(encoder.model, self.device) if max_tokens is None else max_tokens
        self._layer = encoder.model.n_layers if encoder.layer is None else encoder.layer
        self.n_out_of_memory = self.n_redone = 0  # batches halved for want of memory; vectors redone in float32
        self.stopped = False
        self._exact: PackedEncoder | None = None
        self.packing = packing
        self.depth = depth
        self.threads = threads
        self.turn = turn or Lock()
        self.collator = VarlenCollator(encoder.tokenizer)

    def run(self, items: Iterable[tuple[str, bytes]]) -> Iterator[EmbeddingBatch]:
        """Yield the pooled vectors of (id, sequence) pairs, batch by batch, similar lengths together.

        Every id comes out exactly once.

        Raises:
            NumericalError: a vector is not finite.
            StoppedError: `stopped` has been set.
        """
        batches = prefetch(iter_packed(items, self.collator, self.max_tokens), max(self.depth, self.threads))
        first = list(islice(batches, 1))  # made before the turn is waited for
        pending: deque[_Pending] = deque()
        with self.turn:
            for launched in chain.from_iterable(overlapped(self._launch_all, chain(first, batches), self.threads)):
                pending.append(launched)
                if len(pending) > self.depth:
                    yield self._collect(pending.popleft())
        while pending:
            yield self._collect(pending.popleft())

    def _launch_all(self, batch: PackedBatch) -> Iterable[_Pending]:
        if self.stopped:
            raise StoppedError("stopped", 75)
        launched = self._launched(batch)
        return launched if self.threads == 1 else list(launched)

    def warm_up(self, sequence: bytes) -> None:
        """Compute a sequence in vain, so that a GPU's kernels are loaded before the first records wait for them."""
        self._launch(self.collator([("", sequence)]))

    def embed(self, sequences: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Return the pooled vectors of `sequences` in their order, (N, D); equal ones are embedded once."""
        numbers: dict[bytes, int] = {}
        rows = [numbers.setdefault(sequence, len(numbers)) for sequence in sequences]
        vectors = np.empty((len(numbers), self.encoder.model.width), dtype=np.float32)
        for batch in self.run((str(number), sequence) for sequence, number in numbers.items()):
            vectors[[int(name) for name in batch.sequence_ids]] = batch.vectors
        return vectors[rows]

    def _launched(self, batch: PackedBatch) -> Iterator[_Pending]:
        """Launch a batch, in halves where it does not fit into memory or is over a budget that has been lowered."""
        if batch.num_tokens <= self.max_tokens or batch.num_sequences == 1:
            try:
                launched = self._launch(batch)
            except torch.OutOfMemoryError:
                if batch.num_sequences == 1:
                    raise
            else:
                yield launched
                return
            torch.cuda.empty_cache()
            self.n_out_of_memory += 1
            self.max_tokens = max(1, batch.num_tokens // 2)
            logger.warning("out of memory at %d tokens; at most %d from now on", batch.num_tokens, self.max_tokens)
        for half in batch.halves():
            yield from self._launched(half)

    @torch.inference_mode()
    def _launch(self, batch: PackedBatch) -> _Pending:
        on_gpu = self.device.type == "cuda"
        there = (batch.pin_memory() if on_gpu else batch).to(self.device, non_blocking=True)
        pooled = self.pool(self.encode(there), there)
        if not on_gpu:
            return _Pending(batch, pooled, None)
        vectors = torch.empty(pooled.shape, dtype=pooled.dtype, pin_memory=True)
        vectors.copy_(pooled, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self.device))
        return _Pending(batch, vectors, done)

    def encode(self, batch: PackedBatch) -> Tensor:
        """Return the hidden states (T, D) of the encoder's layer on the device, by the packed or the padded path."""
        return self._encode(self.encoder.model, batch)

    def _encode(self, model: PackedEncoder, batch: PackedBatch) -> Tensor:
        layer = self._layer
        with torch.cuda.device_of(batch.input_ids):  # type: ignore[no-untyped-call]  # which a new thread does not know
            if self.packing:
                hidden = model.forward_packed(
                    batch.input_ids, batch.cu_seqlens, batch.max_seqlen, (layer,), position_ids=batch.position_ids
                )
                return hidden[layer]
            return unpad(model(pad(batch, model.pad_token), (layer,))[layer], batch)

    def pool(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """Return the pooled vectors (N, D) float32 of hidden states (T, D)."""
        return mean_pool_packed(hidden, batch.cu_seqlens, self.encoder.window, batch.position_ids)

    def _collect(self, pending: _Pending) -> EmbeddingBatch:
        if pending.done is not None:
            pending.done.synchronize()
        vectors, ids = pending.vectors.numpy(), pending.batch.sequence_ids
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all() and self.encoder.model.dtype != torch.float32:
            # These alone: the others must not depend on the company they were computed in.
            vectors[~finite] = self._in_float32(pending.batch)[~finite]
            self.n_redone += int((~finite).sum())
            logger.warning("%d embeddings overflowed in half precision and were computed in float32", self.n_redone)
            finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            name = ids[int(np.argmin(finite))]
            raise NumericalError(
                f"{int((~finite).sum())} of {len(finite)} embeddings are not finite, the first of sequence {name!r}; "
                "an empty sequence has none, and damaged weights may be the cause: try `virnucpro models verify`"
            )
        return EmbeddingBatch(ids, vectors)

    @torch.inference_mode()
    def _in_float32(self, batch: PackedBatch) -> npt.NDArray[np.float32]:
        """Return the pooled vectors (N, D) of a batch, computed in float32 from the weights as they are."""
        if self._exact is None:
            self._exact = copy.deepcopy(self.encoder.model).place(self.device)
        there = batch.to(self.device)
        return self.pool(self._encode(self._exact, there), there).cpu().numpy()
