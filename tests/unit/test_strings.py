"""Parts of one array of bytes."""

import numpy as np
import pytest

from virnucpro.seq.strings import U_AS_T, gather, join_spans, translate

TEXT = np.frombuffer(b"GATTACAGCCTGAGG", np.uint8)


@pytest.mark.parametrize(
    "spans",
    [[], [(3, 0)], [(0, 15)], [(2, 3), (5, 0), (5, 4)], [(8, 2), (0, 4), (2, 6)], [(0, 0), (15, 0), (7, 1)]],
    ids=str,
)
def test_joined_spans_are_the_gathered_ones(spans: list[tuple[int, int]]) -> None:
    begins, lengths = np.array(spans, np.int64).reshape(-1, 2).T
    joined, expected = join_spans(TEXT, begins, lengths), gather(TEXT, begins, lengths)
    assert joined.tolist() == expected.tolist()
    assert joined.starts.tolist() == expected.starts.tolist()


def test_spans_end_to_end_are_not_copied() -> None:
    assert np.shares_memory(join_spans(TEXT, np.array([2, 5]), np.array([3, 4])).data, TEXT)
    assert not np.shares_memory(join_spans(TEXT, np.array([2, 6]), np.array([3, 4])).data, TEXT)


def test_a_table_replaces_bytes() -> None:
    assert translate(np.frombuffer(b"AUGU", np.uint8), U_AS_T).tobytes() == b"ATGT"
