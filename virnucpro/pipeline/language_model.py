"""A language model for direct use: from sequences in memory to vectors, token states and logits."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.config import ComputeOptions
from virnucpro.data import PackedBatch, TokenSequence, map_concurrent, pack, pack_rows
from virnucpro.errors import ConfigError, ModelError, NumericalError
from virnucpro.models.masked_head import MaskedHead
from virnucpro.models.pooling import PoolingWindow, mean_pool_packed
from virnucpro.models.tokenizers import ESM2Tokenizer, Tokenizer, Tokens
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.device import PRECISIONS, choose_device, choose_precision, divide_threads
from virnucpro.pretrained.hugging_face import Published
from virnucpro.pretrained.loaded_model import LoadedModel
from virnucpro.pretrained.locations import find_directory, list_models
from virnucpro.pretrained.registry import Encoder
from virnucpro.seq.strings import Ints

if TYPE_CHECKING:
    from typing_extensions import Self

Array = npt.NDArray[np.float32]
Sequences = Iterable[str | bytes]
Pooling = Literal["mean", "cls"]

_FIRST_TOKEN = PoolingWindow(0, 0, 1)


class LanguageModel(LoadedModel, ABC):
    """The base of `ESM2` and `DNABERT`, which `from_pretrained` loads.

    Attributes:
        network: the encoder, a torch module on its device (`virnucpro.models`); its parameters can be trained.
        head: a torch module, from states of the last layer to logits; None if the files have none.
        tokenizer: a function from a list of bytes to a list of int64 arrays.
        device, precision: those of the network; the precision is that of its dense layers.
    """

    residues: PoolingWindow  # which tokens the mean is taken over

    def __init__(self, source: str, published: Published[Any], tokenizer: Tokenizer, options: ComputeOptions) -> None:
        super().__init__(source, published, tokenizer)
        self.device = choose_device(options.device)
        self.precision = choose_precision(options.precision, self.device)
        self.network.place(self.device, PRECISIONS[self.precision], options.attention)
        if self.head is not None:
            self.head.to(self.device)
        self._options = options

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "auto",
        attention: str = "auto",
        max_tokens: int | None = None,
        threads: int | None = None,
    ) -> Self:
        """Load a language model from files. No code in them is run, and nothing is downloaded.

        Args:
            source: a folder in the format of Hugging Face, also of a fine-tuned model; for ESM-2 also a `.pt` of
                fair-esm; a model directory; or a name of `virnucpro models list`.
            device: auto, cpu, cuda or cuda:N.
            precision: auto, fp32, bf16, fp16 or fp8; auto is bf16 if the device supports it. Use fp32 for training.
            attention: auto, or a backend named by `virnucpro doctor`.
            max_tokens: token budget of a batch; None: a default for the device.
            threads: CPU threads; None: all available cores.

        Raises:
            ModelError: a file is missing, damaged, or of another kind of model.
            ConfigError: an option does not fit the device.
        """
        options = ComputeOptions(
            device=device, precision=precision, attention=attention, max_tokens=max_tokens, threads=threads
        )
        return cls._load(_find(source), options)

    @classmethod
    @abstractmethod
    def _load(cls, source: Path, options: ComputeOptions) -> Self: ...

    @abstractmethod
    def _encode_letters(self, letters: list[bytes]) -> tuple[npt.NDArray[Any], Ints]:
        """Return the tokens of ASCII upper-case sequences, concatenated, and the number of each."""

    # ---- without gradients: lists in, numpy or tensors out, in the order of the list

    @overload
    def encode(
        self, sequences: Sequences, *, pooling: Pooling = ..., layer: int | None = ...,
        per_residue: Literal[False] = ..., as_torch: Literal[False] = ...,
    ) -> Array: ...  # fmt: skip
    @overload
    def encode(
        self, sequences: Sequences, *, pooling: Pooling = ..., layer: int | None = ...,
        per_residue: Literal[False] = ..., as_torch: Literal[True],
    ) -> Tensor: ...  # fmt: skip
    @overload
    def encode(
        self, sequences: Sequences, *, pooling: Pooling | None = ..., layer: int | None = ...,
        per_residue: bool = ..., as_torch: bool = ...,
    ) -> Any: ...  # fmt: skip

    def encode(
        self,
        sequences: Sequences,
        *,
        pooling: Pooling | None = "mean",
        layer: int | None = None,
        per_residue: bool = False,
        as_torch: bool = False,
    ) -> Any:
        """Return the vectors of sequences, float32, in the order of the sequences.

        Internally, sequences of similar length are packed together without padding. Each is processed whole.

        Args:
            sequences: text or bytes. Lower case is read as upper case. In a protein, `<mask>` is a masked residue and
                a letter outside ESM-2's alphabet an unknown one. DNABERT reads U as T.
            pooling: mean, over the residues (ESM-2) or all tokens (DNABERT-S); cls, the first token; None, no pooling.
            layer: 0 is the embedding, negative numbers count from the last; None is the last.
            per_residue: return a vector for each residue, without the special tokens (ESM-2 only).
            as_torch: return tensors on the model's device instead of numpy arrays.

        Returns:
            (N, D) with a pooling. Without, a list of N arrays (L, D), L tokens; with `per_residue`, L residues.

        Raises:
            ConfigError: an argument is out of range, or a sequence is empty or not ASCII.
            NumericalError: a vector is not finite.
        """
        if pooling not in ("mean", "cls", None):
            raise ConfigError(f"pooling must be mean, cls or None, got {pooling!r}")
        if per_residue and pooling == "cls":
            raise ConfigError("per_residue and the pooling cls exclude each other")
        number = self._layer(layer)
        tokens, lengths = self._tokens(sequences)
        if pooling is None or per_residue:
            window = self._letters_window() if per_residue else PoolingWindow()
            return self._each(tokens, lengths, number, window, as_torch)
        with self._runner(number, pooling) as runner:
            vectors = runner.embed_tokens(tokens, lengths)
            runner.repair(vectors, tokens, lengths)
        return vectors.clone() if as_torch else vectors.cpu().numpy()  # autograd cannot use tensors of inference mode

    def logits(self, sequences: Sequences, *, per_residue: bool = False, as_torch: bool = False) -> Any:
        """Return the logits of the language-model head, a list of N arrays (L, vocabulary) float32.

        Arguments, order and errors are those of `encode`; L counts the special tokens unless `per_residue`.

        Raises:
            ModelError: the files have no such head.
        """
        head = self._require_head()
        tokens, lengths = self._tokens(sequences)
        window = self._letters_window() if per_residue else PoolingWindow()
        return self._each(tokens, lengths, self.network.n_layers, window, as_torch, head)

    def tokenize(self, sequences: Sequences) -> list[Tokens]:
        """Return the token ids of each sequence, int64, with the special tokens."""
        tokens, lengths = self._tokens(sequences)
        return [tokens[begin:end].astype(np.int64) for begin, end in _spans(lengths)]

    # ---- with gradients: one packed batch on the device

    def pack(self, sequences: Sequences) -> PackedBatch:
        """Return sequences as one packed batch on the device, in their order; its ids are their numbers."""
        rows = self.tokenize(sequences)
        return pack([TokenSequence(str(number), row) for number, row in enumerate(rows)]).to(self.device)

    def hidden(self, batch: PackedBatch, layer: int | None = None) -> Tensor:
        """Return the states (T, D) of a packed batch after a layer, with gradients unless torch disables them."""
        number = self._layer(layer)
        states = self.network.forward_packed(
            batch.input_ids, batch.cu_seqlens, batch.max_seqlen, (number,), position_ids=batch.position_ids
        )
        return states[number]

    def pool(self, hidden: Tensor, batch: PackedBatch, pooling: Pooling = "mean") -> Tensor:
        """Return the vectors (N, D) float32 of states (T, D) of a packed batch, with gradients."""
        return mean_pool_packed(hidden, batch.cu_seqlens, self._window(pooling), batch.position_ids)

    # ---- details

    def _tokens(self, sequences: Sequences) -> tuple[npt.NDArray[Any], Ints]:
        return self._encode_letters(_letters(sequences))

    def _layer(self, layer: int | None) -> int:
        last = self.network.n_layers
        if layer is None:
            return last
        if not -last - 1 <= layer <= last:
            raise ConfigError(f"layer must lie in {-last - 1}..{last} for {self.source}, got {layer}")
        return layer % (last + 1)

    def _window(self, pooling: Pooling) -> PoolingWindow:
        return _FIRST_TOKEN if pooling == "cls" else self.residues

    def _letters_window(self) -> PoolingWindow:
        if not isinstance(self.tokenizer, ESM2Tokenizer):
            raise ConfigError("per_residue needs one token for each letter, as in ESM-2; this model has longer tokens")
        return self.residues

    def _require_head(self) -> MaskedHead:
        if self.head is None:
            raise ModelError(
                f"{self.source} has no language-model head, so it gives no logits; load a model that was published or "
                "saved with its head, such as EsmForMaskedLM"
            )
        return self.head

    @contextmanager
    def _runner(self, layer: int, pooling: Pooling = "mean") -> Iterator[AsyncInferenceRunner]:
        """Give a runner; restore torch's number of threads afterwards."""
        encoder = Encoder(self.network, self.tokenizer, self._window(pooling), layer)
        before = torch.get_num_threads()
        threads = divide_threads([self.network], self._options.threads)
        try:
            yield AsyncInferenceRunner(encoder, self.device, self._options.max_tokens, threads=threads)
        finally:
            torch.set_num_threads(before)

    def _each(
        self,
        tokens: npt.NDArray[Any],
        lengths: Ints,
        layer: int,
        window: PoolingWindow,
        as_torch: bool,
        function: Callable[[Tensor], Tensor] = Tensor.float,
    ) -> list[Any]:
        """Return `function` of the states of each sequence's tokens, except those that the window skips."""
        rows = [tokens[begin:end].astype(np.int64) for begin, end in _spans(lengths)]
        found: list[Any] = [None] * len(rows)

        @torch.no_grad()  # the mode is per thread
        def compute(numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Tensor]:
            batch = pack([TokenSequence(str(number), rows[number]) for number in numbers]).to(self.device)
            values = function(runner.encode(batch))  # (T, D)
            if not values.isfinite().all():
                raise NumericalError("a token's values are not finite; half precision may overflow: use fp32")
            return numbers, values if as_torch else values.cpu()

        with self._runner(layer) as runner:
            for numbers, values in map_concurrent(compute, pack_rows(lengths, runner.max_tokens), runner.threads):
                for number, part in zip(numbers, torch.split(values, lengths[numbers].tolist()), strict=True):
                    own = part[window.skip_first : len(part) - window.skip_last]
                    found[number] = own if as_torch else own.numpy()
        return found


def _find(source: str | os.PathLike[str]) -> Path:
    """Return the folder or file of a language model by its name or path."""
    name = os.fspath(source)
    if name not in list_models() and os.path.exists(name):
        return Path(name)
    return find_directory(name)


def _spans(lengths: Ints) -> Iterator[tuple[int, int]]:
    return pairwise([0, *np.cumsum(lengths).tolist()])


def _letters(sequences: Sequences) -> list[bytes]:
    """Return sequences as upper-case ASCII.

    Raises:
        ConfigError: one is empty, of another type, or has other letters.
    """
    if isinstance(sequences, (str, bytes)):
        raise ConfigError("sequences must be a list of sequences, got a single one; put it into a list")
    found = []
    for number, sequence in enumerate(sequences):
        if not isinstance(sequence, (str, bytes)):
            raise ConfigError(f"sequence {number} must be text or bytes, got {type(sequence).__name__}")
        if not sequence or not sequence.isascii():
            what = "has letters outside ASCII" if sequence else "is empty"
            raise ConfigError(f"sequence {number} (from 0) {what}; leave it out")
        found.append((sequence.encode() if isinstance(sequence, str) else sequence).upper())
    return found
