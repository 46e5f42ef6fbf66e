"""VarlenCollator: a list of sequences in, one PackedBatch out; it keeps no state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from virnucpro.data.batch import PackedBatch, TokenSequence, pack


class VarlenCollator:
    """Tokenise (id, sequence) pairs and pack them; without state, so any number of workers can have a copy.

    Args:
        tokenizer: takes a list of byte sequences and returns one int64 array for each.
    """

    def __init__(self, tokenizer: Callable[[Sequence[bytes]], list[npt.NDArray[np.int64]]]) -> None:
        self.tokenizer = tokenizer

    def tokenize(self, items: Sequence[tuple[str, bytes]]) -> list[TokenSequence]:
        """Return the tokenised sequences in the order of `items`."""
        tokens = self.tokenizer([sequence for _, sequence in items])
        return [TokenSequence(name, ids) for (name, _), ids in zip(items, tokens, strict=True)]

    def __call__(self, items: Sequence[tuple[str, bytes]]) -> PackedBatch:
        """Return one PackedBatch of all `items`, in order."""
        return pack(self.tokenize(items))
