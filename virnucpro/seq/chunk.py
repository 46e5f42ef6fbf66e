"""Cut records into chunks of a fixed length (nt)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from virnucpro.errors import ConfigError
from virnucpro.seq.strings import Ints, spread
from virnucpro.types import Chunk, Record


def chunk_spans(length: int, chunk_length: int) -> list[tuple[int, int]]:
    """Return the (start, end) of every chunk of a record, 0-based and half-open, in nt.

    The overlaps are those of the published VirNucPro (Li et al. 2025, bbaf224), which shares the excess
    `n * chunk_length - length` out over n overlaps although there are only n - 1: the last chunk may be
    short, and neighbours may overlap by one base more than needed. It is kept because the published
    classifiers were trained on exactly these chunks. The spans cover the record and the last one ends
    at `length`; a record no longer than `chunk_length` is one chunk; an empty record has none.

    Args:
        length: length of the record, nt.
        chunk_length: length of a chunk, nt, at least 3.

    Raises:
        ConfigError: `chunk_length` is below 3, so that a chunk could not hold a codon.

    >>> chunk_spans(1200, 500)
    [(0, 500), (399, 899), (798, 1200)]
    """
    _, starts, ends = spans_of_chunks(np.array([length]), chunk_length)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def spans_of_chunks(lengths: Ints, chunk_length: int) -> tuple[Ints, Ints, Ints]:
    """Return which of several records (N,) each chunk is of, and its start and end as in `chunk_spans`, all (C,).

    Raises:
        ConfigError: `chunk_length` is below 3.
    """
    if chunk_length < 3:
        raise ConfigError(f"chunk_length must be at least 3 nt (one codon), got {chunk_length}; use 300 or 500")
    n = -(-lengths // chunk_length)  # chunks of each record
    excess = n * chunk_length - lengths
    overlap = excess // np.maximum(n, 1)
    wider = excess - overlap * (n - 1)  # that many overlaps, counted from the left, are one base wider
    owner = np.repeat(np.arange(len(lengths)), n)
    i = spread(np.zeros_like(n), n)  # the number of a chunk in its record
    starts = i * (chunk_length - overlap[owner]) - np.minimum(i, wider[owner])
    return owner, starts, np.minimum(starts + chunk_length, lengths[owner])


def iter_chunks(record: Record, chunk_length: int) -> Iterator[Chunk]:
    """Yield the chunks of a record in order, numbered from 1.

    Args:
        record: the record to cut; an empty one yields nothing.
        chunk_length: length of a chunk, nt, at least 3; see `chunk_spans`.

    Raises:
        ConfigError: `chunk_length` is below 3.
    """
    for index, (start, end) in enumerate(chunk_spans(len(record.sequence), chunk_length), start=1):
        yield Chunk(record.id, index, start, record.sequence[start:end])
