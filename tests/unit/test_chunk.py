"""Chunk arithmetic: every row of the published table, and the edges."""

import numpy as np
import pytest
from as_objects import spans as chunk_spans

from virnucpro.errors import ConfigError
from virnucpro.seq.chunk import spans_of_chunks

# length, chunk length, first starts, number of chunks, length of the last; all others are full
TABLE = [
    (174, 500, [0], 1, 174),
    (501, 500, [0, 250], 2, 251),
    (700, 500, [0, 349], 2, 351),
    (999, 500, [0, 499], 2, 500),
    (1000, 500, [0, 500], 2, 500),
    (1200, 500, [0, 399, 798], 3, 402),
    (2300, 500, [0, 459, 918, 1377, 1836], 5, 464),
    (650, 300, [0, 216, 432], 3, 218),
    (5386, 500, [0, 489, 978], 11, 496),
    (29903, 500, [0, 498, 996, 1494], 60, 500),
    (29903, 300, [0, 299, 598], 100, 300),
]


@pytest.mark.parametrize(("length", "chunk_length", "starts", "n", "last"), TABLE)
def test_published_table(length: int, chunk_length: int, starts: list[int], n: int, last: int) -> None:
    spans = chunk_spans(length, chunk_length)
    assert [start for start, _ in spans][: len(starts)] == starts
    assert [end - start for start, end in spans] == [chunk_length] * (n - 1) + [last]
    assert spans[-1][1] == length


@pytest.mark.parametrize(("length", "chunk_length", "start"), [(5386, 500, 4890), (29903, 500, 29403)])
def test_last_start_of_the_long_rows(length: int, chunk_length: int, start: int) -> None:
    assert chunk_spans(length, chunk_length)[-1][0] == start


def test_no_chunks_of_nothing() -> None:
    assert chunk_spans(0, 500) == []


@pytest.mark.parametrize("chunk_length", [2, 0, -1])
def test_a_chunk_holds_a_codon(chunk_length: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 3 nt .* got {chunk_length}"):
        chunk_spans(10, chunk_length)


def test_records_are_cut_each_by_itself() -> None:
    owner, starts, ends = spans_of_chunks(np.array([7, 0, 3, 5]), 3)
    assert owner.tolist() == [0, 0, 0, 2, 3, 3]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 3), (2, 5), (4, 7), (0, 3), (0, 3), (2, 5)]
