"""Packing: group a stream of sequences so that each group fits a token budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virnucpro.data.batch import TokenSequence
from virnucpro.errors import ConfigError


def pack_by_tokens(sequences: Iterable[TokenSequence], max_tokens: int) -> Iterator[list[TokenSequence]]:
    """Group sequences, in order, into lists of at most `max_tokens` tokens in all (streaming next-fit).

    A sequence longer than the budget is a list of its own. The end of the input flushes what is held, so
    every sequence comes out exactly once.

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
