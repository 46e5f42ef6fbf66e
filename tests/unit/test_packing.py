"""pack_by_tokens: streaming next-fit over a token budget."""

from itertools import count, islice

import numpy as np
import pytest

from virnucpro.data import TokenSequence, pack_by_tokens
from virnucpro.errors import ConfigError


def lengths_of_groups(lengths, max_tokens):
    stream = (TokenSequence(str(i), np.zeros(n, dtype=np.int64)) for i, n in enumerate(lengths))
    return [[len(s.tokens) for s in group] for group in pack_by_tokens(stream, max_tokens)]


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([], []),
        ([4], [[4]]),
        ([10], [[10]]),
        ([11], [[11]]),  # longer than the budget: alone
        ([4, 6], [[4, 6]]),  # exactly full
        ([4, 7], [[4], [7]]),
        ([4, 11, 4], [[4], [11], [4]]),
        ([11, 12], [[11], [12]]),
        ([3, 3, 3, 3, 3], [[3, 3, 3], [3, 3]]),  # the end of the input flushes
        ([5, 6, 5], [[5], [6], [5]]),  # next-fit: a group once left is not opened again
    ],
)
def test_groups(lengths, groups):
    assert lengths_of_groups(lengths, 10) == groups


@pytest.mark.parametrize("budget", [0, -1])
def test_budget_must_be_positive(budget):
    with pytest.raises(ConfigError, match=f"at least 1, got {budget}"):
        lengths_of_groups([1], budget)


def test_packing_streams():
    taken = []

    def endless():
        for number in count():
            taken.append(number)
            yield TokenSequence(str(number), np.zeros(4, dtype=np.int64))

    groups = list(islice(pack_by_tokens(endless(), 10), 3))
    assert [[s.id for s in group] for group in groups] == [["0", "1"], ["2", "3"], ["4", "5"]]
    assert len(taken) == 7  # one more than was given out: the one that did not fit
