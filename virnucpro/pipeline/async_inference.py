"""The asynchronous runner: pack sequences into batches and embed them by `forward_packed` and pooling.

`embed_tokens` takes the tokens of a block and leaves the vectors on the device. `run` takes a stream of sequences: a
background thread tokenises and packs, and vectors are copied back a few batches later. If a batch does not fit into the
device's memory, the batch and the budget are halved. If half precision gives infinity or NaN, the vector is computed
again in float32.
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.data import PackedBatch, VarlenCollator, iter_packed, map_concurrent, pack_rows, pad, prefetch, unpad
from virnucpro.errors import NumericalError, StoppedError
from virnucpro.models.encoder import PackedEncoder
from virnucpro.models.pooling import mean_pool_packed
from virnucpro.pipeline.device_tokens import DeviceTokens, to_device
from virnucpro.pretrained.registry import Encoder
from virnucpro.types import EmbeddingBatch
from virnucpro.words import counted

logger = logging.getLogger(__name__)

# Token budget on a CPU: few enough that the activations of a small model stay in its cache.
_CPU_TOKENS = 4096
# Token budget on a GPU: computing must take longer than launching, so a narrow model gets many more tokens.
_GPU_TOKENS, _MAX_GPU_TOKENS, _GPU_WIDTH = 16384, 1 << 20, 2560
# Upper bound of the device memory per token and channel of the residual stream.
_BYTES_PER_CHANNEL = 80
_NOT_FINITE = "a sequence may be empty or the weights damaged; check the weights with `virnucpro models verify`"


def default_tokens(model: PackedEncoder, device: torch.device) -> int:
    """Return the token budget for a model on a device, from the device memory that is free now."""
    if device.type != "cuda":
        return _CPU_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    wanted = min(_MAX_GPU_TOKENS, _GPU_TOKENS * max(1, _GPU_WIDTH // model.width) ** 2)
    return max(
        1, min(wanted, free // 2 // (_BYTES_PER_CHANNEL * model.width))
    )  # half, because the other encoder needs memory too


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch in flight: the host tensor for its vectors, and the event after which they are complete."""

    batch: PackedBatch
    vectors: Tensor  # (N, D) float32 on the host, pinned on a GPU run
    done: torch.cuda.Event | None


class AsyncInferenceRunner:
    """Embed sequences with one encoder on one device.

    Args:
        encoder: the language model, already on its device and in its precision.
        device: that device.
        max_tokens: the token budget of a batch; None: `default_tokens`.
        packing: False: use the padded path, which gives the same numbers more slowly.
        depth: how many batches may be prepared ahead, and how many may be in flight.
        threads: how many batches are computed at a time, one thread for each; for a CPU.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device | str = "cpu",
        max_tokens: int | None = None,
        packing: bool = True,
        depth: int = 4,
        threads: int = 1,
    ) -> None:
        self.encoder = encoder
        self.device = torch.device(device)
        self.max_tokens = default_tokens(encoder.model, self.device) if max_tokens is None else max_tokens
        self._layer = encoder.model.n_layers if encoder.layer is None else encoder.layer
        self.n_out_of_memory = self.n_redone = 0  # batches halved for lack of memory; vectors computed again in float32
        self.stopped = False
        self._exact: PackedEncoder | None = None
        self.packing = packing
        self.depth = depth
        self.threads = threads
        self.collator = VarlenCollator(encoder.tokenizer)

    def run(self, items: Iterable[tuple[str, bytes]]) -> Iterator[EmbeddingBatch]:
        """Yield the pooled vectors of (id, sequence) pairs, in batches of similar lengths.

        Every id comes out exactly once.

        Raises:
            NumericalError: a vector is not finite.
            StoppedError: `stopped` has been set.
        """
        batches = prefetch(iter_packed(items, self.collator, self.max_tokens), max(self.depth, self.threads))
        pending: deque[_Pending] = deque()
        for launched in chain.from_iterable(map_concurrent(self._launch_all, batches, self.threads)):
            pending.append(launched)
            if len(pending) > self.depth:
                yield self._collect(pending.popleft())
        while pending:
            yield self._collect(pending.popleft())

    @torch.inference_mode()
    def embed_tokens(self, tokens: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> Tensor:
        """Return the pooled vectors of N tokenised sequences, (N, D) float32 on the device.

        This does not wait for a GPU, and does not check that the vectors are finite; see `repair`.

        Args:
            tokens: the tokens of all sequences, end to end, of any integer dtype, special tokens included.
            lengths: (N,) tokens of each sequence, each at least 1.

        Raises:
            StoppedError: `stopped` has been set.
        """
        sequences = DeviceTokens.of(tokens, lengths, self.device)
        vectors = torch.empty((len(lengths), self.encoder.model.width), dtype=torch.float32, device=self.device)

        def embed(rows: npt.NDArray[np.int64]) -> None:
            self._embed_in_memory(sequences, rows, vectors)

        for _ in map_concurrent(embed, pack_rows(lengths, self.max_tokens), self.threads):
            pass
        return vectors

    @torch.inference_mode()
    def repair(self, vectors: Tensor, tokens: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> int:
        """Compute again, in float32 and in place, the vectors that are not finite; return how many.

        The others stay, so that a vector never depends on the sequences beside it.

        Raises:
            NumericalError: a vector is not finite in float32 either.
        """
        rows = (~torch.isfinite(vectors).all(dim=1)).nonzero()[:, 0].cpu().numpy()
        if not len(rows):
            return 0
        if self.encoder.model.dtype != torch.float32:
            sequences = DeviceTokens.of(tokens, lengths, self.device)
            for batch in pack_rows(lengths[rows], self.max_tokens):
                self._embed_rows(self._in_full_precision(), sequences, rows[batch], vectors)
            self.n_redone += len(rows)
            logger.warning(
                "computed again in float32, because of overflow in half precision: %s",
                counted(self.n_redone, "embeddings"),
            )
        n_bad = int((~torch.isfinite(vectors).all(dim=1)).sum())
        if n_bad:
            raise NumericalError(f"{n_bad} of {len(vectors)} embeddings are not finite; {_NOT_FINITE}")
        return len(rows)

    @torch.inference_mode()  # the mode is per thread, and this may run in a thread of the pool
    def _embed_rows(
        self, model: PackedEncoder, sequences: DeviceTokens, rows: npt.NDArray[np.int64], vectors: Tensor
    ) -> None:
        """Embed the sequences of these rows as one batch and write their vectors."""
        if self.stopped:
            raise StoppedError("stopped", 75)
        batch = sequences.batch(rows)
        vectors[to_device(rows, self.device)] = self.pool(self._encode(model, batch), batch)

    def _embed_in_memory(self, sequences: DeviceTokens, rows: npt.NDArray[np.int64], vectors: Tensor) -> None:
        """Embed rows as one batch, or in halves if they exceed the device's memory or a budget lowered meanwhile."""
        total = int(sequences.lengths[rows].sum())
        if total <= self.max_tokens or len(rows) == 1:
            try:
                self._embed_rows(self.encoder.model, sequences, rows, vectors)
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
            else:
                return
            self._lower_budget(total)
        for half in np.array_split(rows, 2):
            self._embed_in_memory(sequences, half, vectors)

    def _lower_budget(self, total: int) -> None:
        """Lower the budget after a batch of `total` tokens did not fit into memory."""
        torch.cuda.empty_cache()
        self.n_out_of_memory += 1
        self.max_tokens = max(1, total // 2)
        logger.warning(
            "a batch of %d tokens did not fit into memory; batches now have at most %d tokens", total, self.max_tokens
        )

    def _launch_all(self, batch: PackedBatch) -> Iterable[_Pending]:
        if self.stopped:
            raise StoppedError("stopped", 75)
        launched = self._launched(batch)
        return launched if self.threads == 1 else list(launched)

    def warm_up(self, sequence: bytes) -> None:
        """Run one dummy sequence so that GPU kernels are compiled and loaded before the first records come."""
        self._launch(self.collator([("", sequence)]))

    def embed(self, sequences: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Return the pooled vectors of `sequences`, in order, (N, D); equal sequences are embedded once."""
        numbers: dict[bytes, int] = {}
        rows = [numbers.setdefault(sequence, len(numbers)) for sequence in sequences]
        vectors = np.empty((len(numbers), self.encoder.model.width), dtype=np.float32)
        for batch in self.run((str(number), sequence) for sequence, number in numbers.items()):
            vectors[[int(name) for name in batch.sequence_ids]] = batch.vectors
        return vectors[rows]

    def _launched(self, batch: PackedBatch) -> Iterator[_Pending]:
        """Launch a batch, in halves if it exceeds the device's memory or a budget lowered meanwhile."""
        if batch.num_tokens <= self.max_tokens or batch.num_sequences == 1:
            try:
                launched = self._launch(batch)
            except torch.OutOfMemoryError:
                if batch.num_sequences == 1:
                    raise
            else:
                yield launched
                return
            self._lower_budget(batch.num_tokens)
        for half in batch.halves():
            yield from self._launched(half)

    @torch.inference_mode()
    def _launch(self, batch: PackedBatch) -> _Pending:
        on_gpu = self.device.type == "cuda"
        device_batch = (batch.pin_memory() if on_gpu else batch).to(self.device, non_blocking=True)
        pooled = self.pool(self.encode(device_batch), device_batch)
        if not on_gpu:
            return _Pending(batch, pooled, None)
        vectors = torch.empty(pooled.shape, dtype=pooled.dtype, pin_memory=True)
        vectors.copy_(pooled, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self.device))
        return _Pending(batch, vectors, done)

    def encode(self, batch: PackedBatch) -> Tensor:
        """Return the hidden states (T, D) of the encoder's layer, computed by the packed or the padded path."""
        return self._encode(self.encoder.model, batch)

    def _encode(self, model: PackedEncoder, batch: PackedBatch) -> Tensor:
        layer = self._layer
        with torch.cuda.device_of(batch.input_ids):  # type: ignore[no-untyped-call]  # a new thread starts on device 0
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
            # The others stay, so that a vector never depends on the sequences beside it.
            vectors[~finite] = self._in_float32(pending.batch)[~finite]
            self.n_redone += int((~finite).sum())
            logger.warning(
                "computed again in float32, because of overflow in half precision: %s",
                counted(self.n_redone, "embeddings"),
            )
            finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            name = ids[int(np.argmin(finite))]
            raise NumericalError(
                f"{int((~finite).sum())} of {len(finite)} embeddings are not finite, the first of sequence {name!r}; "
                f"{_NOT_FINITE}"
            )
        return EmbeddingBatch(tuple(ids), vectors)

    @torch.inference_mode()
    def _in_float32(self, batch: PackedBatch) -> npt.NDArray[np.float32]:
        """Return the pooled vectors (N, D) of a batch, computed in float32 from the present weights."""
        device_batch = batch.to(self.device)
        return self.pool(self._encode(self._in_full_precision(), device_batch), device_batch).cpu().numpy()

    def _in_full_precision(self) -> PackedEncoder:
        """Return a float32 copy of the encoder, made from the present weights on first use."""
        if self._exact is None:
            self._exact = copy.deepcopy(self.encoder.model).place(self.device)
        return self._exact
