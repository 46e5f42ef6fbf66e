"""Sequences (bytes) to token ids: the protein alphabet of ESM-2, BPE for DNABERT-S, k-mers for our own models.

A tokenizer encodes many sequences at once into tokens end to end, special tokens included, in the smallest dtype that
holds its vocabulary. Called on a list of sequences, it returns one int64 array per sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError, ModelError
from virnucpro.places import plain_file
from virnucpro.seq.strings import Ints, Strings, borders, spread, translate

Tokens = npt.NDArray[np.int64]
Encoded = npt.NDArray[np.integer[Any]]
_MAX_BYTES = 1 << 26  # limit for tokenizer.json; that of DNABERT-S has 170 kB

ESM2_ALPHABET = (
    "<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"
)  # fmt: skip


class Tokenizer(Protocol):
    """Encodes sequences as token ids."""

    pad_token: int

    def encode(self, strings: Strings) -> tuple[Encoded, Ints]:
        """Return the tokens of N sequences end to end, (T,), and the number of each, (N,)."""
        ...

    def __call__(self, sequences: Sequence[bytes]) -> list[Tokens]: ...


def _smallest_type(vocabulary: int) -> np.dtype[np.integer[Any]]:
    """Return the smallest dtype that holds `vocabulary` ids, among those that torch has."""
    return np.dtype(np.uint8 if vocabulary <= 1 << 8 else np.int16 if vocabulary <= 1 << 15 else np.int32)


def _framed(body: Encoded, lengths: Ints, first: int, last: int) -> tuple[Encoded, Ints]:
    """Return `body`, tokens end to end, with `first` and `last` around each of N sequences of `lengths` (N,)."""
    starts = borders(lengths + 2)
    framed = np.full(starts[-1], last, body.dtype)
    inner = np.ones(len(framed), np.bool_)
    inner[starts[:-1]] = inner[starts[1:] - 1] = False
    framed[starts[:-1]] = first
    framed[inner] = body
    return framed, lengths + 2


def _rows(encoded: tuple[Encoded, Ints]) -> list[Tokens]:
    """Return one array of tokens per sequence."""
    tokens = encoded[0].astype(np.int64)
    return [tokens[begin:end] for begin, end in pairwise(borders(encoded[1]).tolist())]


class ESM2Tokenizer:
    """<cls>, one token per residue (<unk> for letters outside the alphabet), <eos>; no truncation."""

    cls_token, pad_token, eos_token, unk_token, mask_token = 0, 1, 2, 3, 32

    def __init__(self) -> None:
        table = bytearray([self.unk_token] * 256)
        for number, letter in enumerate(ESM2_ALPHABET):
            if len(letter) == 1:
                table[ord(letter)] = number
        self._table = bytes(table)

    def encode(self, strings: Strings) -> tuple[Encoded, Ints]:
        """Return the tokens of N proteins end to end, (T,) uint8, and the number of each, (N,)."""
        return _framed(translate(strings.data, self._table), strings.lengths, self.cls_token, self.eos_token)

    def __call__(self, sequences: Sequence[bytes]) -> list[Tokens]:
        return _rows(self.encode(Strings.of(sequences)))


_OTHER = 4
_CODES = bytes(b"ACGT".find(letter) % (_OTHER + 1) for letter in range(256))  # absent: -1 % 5 = 4


class KmerTokenizer:
    """<cls>, one token for each successive k-mer of A, C, G, T, <eos>.

    Ids: <cls> 0, <pad> 1, <eos> 2, <unk> 3, then the k-mers in lexicographic order, then <mask>. A k-mer
    with another letter is <unk>, and so is a remainder shorter than k at the end.
    """

    cls_token, pad_token, eos_token, unk_token = 0, 1, 2, 3

    def __init__(self, k: int) -> None:
        if not 1 <= k <= 8:
            raise ConfigError(f"k must be 1 to 8, got {k}")
        self.k = k
        self.mask_token = 4 + 4**k
        self.vocabulary = self.mask_token + 1
        self._type = _smallest_type(self.vocabulary)

    def encode(self, strings: Strings) -> tuple[Encoded, Ints]:
        """Return the tokens of N sequences end to end, (T,) in the smallest dtype, and the number of each, (N,)."""
        k, lengths = self.k, strings.lengths
        codes = translate(strings.data, _CODES)
        filled = -lengths % k
        if filled.any():
            known = np.ones(filled.sum() + len(codes), np.bool_)
            known[spread(np.cumsum(lengths + filled) - filled, filled)] = False
            codes, letters = np.full(len(known), _OTHER, np.uint8), codes
            codes[known] = letters
        kmers = codes.reshape(-1, k)
        numbers, other = np.zeros(len(kmers), self._type), np.zeros(len(kmers), np.uint8)
        for column in kmers.T:
            numbers = 4 * numbers + column
            other |= column
        body = np.where(other >= _OTHER, self.unk_token, numbers + 4)
        return _framed(body, (lengths + filled) // k, self.cls_token, self.eos_token)

    def __call__(self, sequences: Sequence[bytes]) -> list[Tokens]:
        return _rows(self.encode(Strings.of(sequences)))


class BPETokenizer:
    """The byte-pair tokenizer of DNABERT-S from its tokenizer.json: [CLS], pieces, [SEP]; no truncation."""

    def __init__(self, path: str | PathLike[str]) -> None:
        from tokenizers import Tokenizer as TokenizerFile

        try:
            if plain_file(Path(path)).stat().st_size > _MAX_BYTES:
                raise ModelError(f"it has more than {_MAX_BYTES:,} bytes")
            self._tokenizer = TokenizerFile.from_file(str(path))
        except Exception as error:  # the library raises plain Exception for a missing or damaged file
            raise ModelError(f"{path} is not a readable tokenizer.json: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        pad = self._tokenizer.token_to_id("[PAD]")
        if pad is None:
            raise ModelError(f"{path} has no [PAD] token; it is not the tokenizer of a DNABERT-2 model")
        self.pad_token: int = pad

        self._type = _smallest_type(max(self._tokenizer.get_vocab().values()) + 1)

    def encode(self, strings: Strings) -> tuple[Encoded, Ints]:
        """Return the tokens of N sequences end to end, (T,) in the smallest dtype, and the number of each, (N,)."""
        found = self._tokenizer.encode_batch_fast([letters.decode("ascii") for letters in strings])
        ids = [encoding.ids for encoding in found]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.fromiter(chain.from_iterable(ids), self._type, lengths.sum()), lengths

    def __call__(self, sequences: Sequence[bytes]) -> list[Tokens]:
        return _rows(self.encode(Strings.of(sequences)))

    def save(self, path: str | PathLike[str]) -> None:
        """Write a tokenizer.json."""
        self._tokenizer.save(str(path))
