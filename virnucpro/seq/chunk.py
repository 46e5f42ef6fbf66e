"""Cut records into chunks of a fixed length (nt)."""

from __future__ import annotations

import numpy as np

from virnucpro.errors import ConfigError
from virnucpro.seq.strings import Ints, spread


def spans_of_chunks(lengths: Ints, chunk_length: int) -> tuple[Ints, Ints, Ints]:
    """Return which of several records (N,) each chunk is of, its start and its end, 0-based and half-open, all (C,).

    The overlaps are those of the published VirNucPro (Li et al. 2025, bbaf224), which shares the excess
    `n * chunk_length - length` out over n overlaps although there are only n - 1: the last chunk may be
    short, and neighbours may overlap by one base more than needed. It is kept because the published
    classifiers were trained on exactly these chunks. The spans cover the record and the last one ends
    at its length; a record no longer than `chunk_length` is one chunk; an empty record has none.

    Args:
        lengths: of the records, nt.
        chunk_length: length of a chunk, nt, at least 3.

    Raises:
        ConfigError: `chunk_length` is below 3, so that a chunk could not hold a codon.

    >>> owner, starts, ends = spans_of_chunks(np.array([1200, 0, 70]), 500)
    >>> owner.tolist(), starts.tolist(), ends.tolist()
    ([0, 0, 0, 2], [0, 399, 798, 0], [500, 899, 1200, 70])
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
