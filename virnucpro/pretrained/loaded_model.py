"""A language model that was read from files and can be written again: encoder, head, and the other tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from virnucpro.errors import ConfigError, ModelError, OutputError
from virnucpro.models.float8 import Float8Linear
from virnucpro.models.tokenizers import ESM2_ALPHABET, BPETokenizer, Tokenizer
from virnucpro.places import new_directory, whole_directory
from virnucpro.pretrained.description import TOKENIZER
from virnucpro.pretrained.hugging_face import (
    Names,
    Published,
    read_state,
    settings_of,
    write_files,
    written_state,
)
from virnucpro.pretrained.weights import State, load_state


class LoadedModel:
    """A language model: encoder, head (None if the files have none) and tokenizer.

    Raises:
        ModelError: the weights do not fit.
    """

    names: Names

    def __init__(self, source: str, published: Published[Any], tokenizer: Tokenizer) -> None:
        weights = published.weights
        self.source, self.config, self.tokenizer = source, published.config, tokenizer
        self.network, self.head = published.modules(source)
        self._rest, self._settings = weights.rest, published.settings
        self._prefix = weights.prefix or (self.names.prefix if weights.head else "")

    def state_dict(self) -> State:
        """Return all weights under Hugging Face names, and the other tensors of the file (such as a contact head).

        The tensors share memory with the model.

        Raises:
            ConfigError: the model is in fp8, which the format does not have.
        """
        if any(isinstance(module, Float8Linear) for module in self.network.modules()):
            raise ConfigError("weights in fp8 cannot be written; load the model with another precision")
        return written_state(self.network, self.head, self.names, self._prefix, self._rest)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy weights under Hugging Face names into the model, which must have the same shapes.

        Raises:
            ModelError: a tensor is missing, unknown or of another shape. Nothing is copied then.
        """
        weights = read_state(state, self.names, "the state dict")
        Published(self.config, weights).check("the state dict")
        if bool(weights.head) != (self.head is not None):
            raise ModelError("the state dict and the model must both have a language-model head, or neither")
        if self._tied() and "decoder.weight" in weights.head:
            raise ModelError(f"{self.names.decoder} of the state dict must be its embedding table, as in the model")
        if self.head is not None:
            load_state(self.head, weights.whole_head, "the state dict")
        load_state(self.network, weights.encoder, "the state dict")
        self._rest = weights.rest

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a new folder in the format of Hugging Face, which `from_pretrained` and `virnucpro models import` read.

        Raises:
            OutputError: the folder is not empty or cannot be written.
        """
        path, state = new_directory(Path(folder)), self.state_dict()
        if self._tied():
            del state[self.names.decoder]
        try:
            with whole_directory(path, "save") as made:
                write_files(made, state, self._settings or settings_of(self.config, self.head is not None))
                if isinstance(self.tokenizer, BPETokenizer):
                    self.tokenizer.save(made / TOKENIZER)
                else:  # the only file that transformers' EsmTokenizer needs
                    (made / "vocab.txt").write_text("\n".join(ESM2_ALPHABET), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise OutputError(f"{path} cannot be written: {error}; make room there or choose another folder") from error

    def _tied(self) -> bool:
        return self.head is not None and self.head.decoder.weight is self.network.embedding.weight
