"""From sequences (bytes) to token ids: the protein alphabet of ESM-2, BPE for DNABERT-S, k-mers for our own models.

A tokenizer is called on a list of sequences and returns one int64 array a sequence, special tokens included.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError, ModelError
from virnucpro.places import plain_file

Tokens = npt.NDArray[np.int64]
_MOST_BYTES = 1 << 26  # of a tokenizer.json; that of DNABERT-S has 170 kB

ESM2_ALPHABET = (
    "<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"
)  # fmt: skip


class Tokenizer(Protocol):
    """Turns sequences into token ids."""

    pad_token: int

    def __call__(self, sequences: Sequence[bytes]) -> list[Tokens]: ...


def _framed(body: Tokens, lengths: list[int], first: int, last: int) -> list[Tokens]:
    """Cut `body`, tokens end to end, into sequences of `lengths` and put `first` and `last` around each."""
    if not lengths:
        return []
    ends = np.cumsum(np.array(lengths) + 2)
    framed = np.full(ends[-1], last, dtype=np.int64)
    framed[0], framed[ends[:-1]] = first, first
    inner = np.ones(ends[-1], dtype=bool)
    inner[0] = inner[ends[:-1]] = inner[ends - 1] = False
    framed[inner] = body
    return [framed[begin:end] for begin, end in pairwise([0, *ends.tolist()])]


class ESM2Tokenizer:
    """<cls>, one token a residue (letters outside the alphabet are <unk>), <eos>; no truncation."""

    cls_token, pad_token, eos_token, unk_token, mask_token = 0, 1, 2, 3, 32

    def __init__(self) -> None:
        self._table = np.full(256, self.unk_token, dtype=np.int64)
        for number, letter in enumerate(ESM2_ALPHABET):
            if len(letter) == 1:
                self._table[ord(letter)] = number

    def __call__(self, sequences: Sequence[bytes]) -> list[Tokens]:
        residues = self._table[np.frombuffer(b"".join(sequences), dtype=np.uint8)]
        return _framed(residues, [len(sequence) for sequence in sequences], self.cls_token, self.eos_token)


class KmerTokenizer:
    """<cls>, one token for each successive k-mer of A, C, G, T, <eos>.

    Ids: <cls> 0, <pad> 1, <eos> 2, <unk> 3, then the k-mers in lexicographic order, then <mask>. A k-mer
    with another letter, and a rest shorter than k at the end, are <unk>.
    """

    cls_token, pad_token, eos_token, unk_token = 0, 1, 2, 3

    def __init__(self, k: int) -> None:
        if not 1 <= k <= 8:
            raise ConfigError(f"k must be 1 to 8, got {k}")
        self.k = k
        self.mask_token = 4 + 4**k
        self.vocabulary = self.mask_token + 1
        self._code = np.full(256, -(4**k), dtype=np.int64)  # one such letter makes the sum negative
        self._code[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)
        self._powers = 4 ** np.arange(k - 1, -1, -1, dtype=np.int64)

    def __call__(self, sequences: Sequence[bytes]) -> list[Tokens]:
        k = self.k
        rows = [-(-len(sequence) // k) for sequence in sequences]
        joined = b"".join(sequence + b"\n" * (-len(sequence) % k) for sequence in sequences)
        codes = self._code[np.frombuffer(joined, dtype=np.uint8)].reshape(-1, k) @ self._powers
        body = np.where(codes < 0, self.unk_token, codes + 4)
        return _framed(body, rows, self.cls_token, self.eos_token)


class BPETokenizer:
    """The byte-pair tokenizer of DNABERT-S from its tokenizer.json: [CLS], pieces, [SEP]; no truncation."""

    def __init__(self, path: str | PathLike[str]) -> None:
        from tokenizers import Tokenizer as TokenizerFile

        try:
            if plain_file(Path(path)).stat().st_size > _MOST_BYTES:
                raise ModelError(f"it has more than {_MOST_BYTES:,} bytes")
            self._tokenizer = TokenizerFile.from_file(str(path))
        except Exception as error:  # the library raises plain Exception for a missing or damaged file
            raise ModelError(f"{path} is not a readable tokenizer.json: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        pad = self._tokenizer.token_to_id("[PAD]")
        if pad is None:
            raise ModelError(f"{path} has no [PAD] token; it is not the tokenizer of a DNABERT-2 model")
        self.pad_token: int = pad

    def __call__(self, sequences: Sequence[bytes]) -> list[Tokens]:
        encodings = self._tokenizer.encode_batch_fast([sequence.decode("ascii") for sequence in sequences])
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
