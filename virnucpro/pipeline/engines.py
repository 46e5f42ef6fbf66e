"""ESM-2 and DNABERT-S of the public API. Their networks are those of `virnucpro.models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from virnucpro.config import ComputeOptions
from virnucpro.errors import ConfigError
from virnucpro.models.dnabert_flash import DNABERTConfig
from virnucpro.models.esm2_flash import ESM2Config
from virnucpro.models.pooling import PoolingWindow
from virnucpro.models.tokenizers import BPETokenizer, ESM2Tokenizer
from virnucpro.pipeline.language_model import LanguageModel
from virnucpro.pretrained.description import TOKENIZER
from virnucpro.pretrained.hugging_face import DNABERT_NAMES, ESM2_NAMES
from virnucpro.pretrained.import_published import read_dnabert, read_esm2
from virnucpro.seq.strings import Ints, Strings

if TYPE_CHECKING:
    from typing_extensions import Self

_MASK, _MASK_BYTE = b"<MASK>", 0xFF  # sequences are ASCII, so this byte is free


class ESM2(LanguageModel):
    """ESM-2 on packed batches: vectors, residues and logits of proteins, in numpy or torch, with or without gradients.

    Its network is `virnucpro.models.ESM2`.

    Examples:
        >>> esm = ESM2.from_pretrained("esm2_t6_8M_UR50D")  # doctest: +SKIP
        >>> esm.encode(["MKTAYIAKQR", "MAHHHHHHVGTG"]).shape  # doctest: +SKIP
        (2, 320)
    """

    names, residues = ESM2_NAMES, PoolingWindow(1, 1)
    tokenizer: ESM2Tokenizer
    config: ESM2Config

    @classmethod
    def _load(cls, source: Path, options: ComputeOptions) -> Self:
        return cls(str(source), read_esm2(source), ESM2Tokenizer(), options)

    def _encode_letters(self, letters: list[bytes]) -> tuple[npt.NDArray[Any], Ints]:
        strings = Strings.of([text.replace(_MASK, bytes([_MASK_BYTE])) for text in letters])
        if b"<" in strings.data.tobytes():
            raise ConfigError("a protein contains `<`; the only special token allowed in a protein is <mask>")
        tokens, lengths = self.tokenizer.encode(strings)
        masked = np.flatnonzero(strings.data == _MASK_BYTE)
        # The sequences up to and with the one of each mask; each has two special tokens.
        before = np.searchsorted(strings.starts, masked, side="right")
        tokens[masked + 2 * before - 1] = self.tokenizer.mask_token
        return tokens, lengths


class DNABERT(LanguageModel):
    """DNABERT-S, or another DNABERT-2, on packed batches: the same as `ESM2`, for nucleotides.

    Its network is `virnucpro.models.DNABERT`.
    """

    names, residues = DNABERT_NAMES, PoolingWindow()
    tokenizer: BPETokenizer
    config: DNABERTConfig

    @classmethod
    def _load(cls, source: Path, options: ComputeOptions) -> Self:
        return cls(str(source), read_dnabert(source), BPETokenizer(source / TOKENIZER), options)

    def _encode_letters(self, letters: list[bytes]) -> tuple[npt.NDArray[Any], Ints]:
        return self.tokenizer.encode(Strings.of([text.replace(b"U", b"T") for text in letters]))
