"""Group sequences so that each group fits a token budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from virnucpro.data.batch import TokenSequence
from virnucpro.errors import ConfigError


def pack_by_tokens(sequences: Iterable[TokenSequence], max_tokens: int) -> Iterator[list[TokenSequence]]:
    """Group sequences, in order, into lists of at most `max_tokens` tokens in all (streaming next-fit).

    A sequence longer than the budget gets a list of its own. Every sequence comes out exactly once.

    Raises:
        ConfigError: `max_tokens` is less than 1.
    """
    if max_tokens < 1:
        raise ConfigError(f"the token budget must be at least 1, got {max_tokens}")
    group: list[TokenSequence] = []
    used = 0
    for sequence in sequences:
        size = len(sequence.tokens)
        if group and used + size > max_tokens:
            yield group
            group, used = [], 0
        group.append(sequence)
        used += size
    if group:
        yield group


def pack_rows(lengths: npt.NDArray[np.int64], max_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each batch, by ascending length, with at most `max_tokens` tokens per batch.

    A sequence longer than the budget gets a batch of its own. Every row comes out exactly once.

    Args:
        lengths: (N,) tokens of each sequence.
        max_tokens: the token budget of a batch.

    >>> [rows.tolist() for rows in pack_rows(np.array([5, 2, 9, 2]), 9)]
    [[1, 3, 0], [2]]
    """
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    batches, begin, used = [], 0, 0
    while begin < len(order):
        end = max(begin + 1, int(np.searchsorted(ends, used + max_tokens, side="right")))
        batches.append(order[begin:end])
        begin, used = end, int(ends[end - 1])
    return batches
