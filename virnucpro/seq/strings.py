"""Strings: many byte strings in one array of bytes, with the start of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

U_AS_T = bytes.maketrans(b"U", b"T")  # a table for `translate`


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """N byte strings end to end: string i is `data[starts[i]:starts[i + 1]]`.

    `data` is (B,) uint8; `starts` (N + 1,) int64 begins with 0, never decreases and ends with B. Neither may be
    written to.
    """

    data: Bytes
    starts: Ints

    @classmethod
    def of(cls, items: Sequence[bytes]) -> Strings:
        """Make Strings of byte strings.

        >>> Strings.of([b"GATT", b"", b"ACA"]).take([2, 0]).tolist()
        [b'ACA', b'GATT']
        """
        data = np.frombuffer(b"".join(items), np.uint8)
        return cls(data, borders(np.fromiter(map(len, items), np.int64, len(items))))

    @classmethod
    def repeat(cls, item: bytes, times: int) -> Strings:
        """Return one byte string `times` times."""
        return cls(np.tile(np.frombuffer(item, np.uint8), times), np.arange(times + 1, dtype=np.int64) * len(item))

    @classmethod
    def concat(cls, parts: Sequence[Strings]) -> Strings:
        """Return the strings of all parts, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        lengths = [part.lengths for part in parts]
        return cls(np.concatenate([part.data for part in parts]), borders(np.concatenate(lengths)))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> bytes:
        return self.data[self.starts[row] : self.starts[row + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        whole, starts = self.data.tobytes(), self.starts.tolist()
        return (whole[begin:end] for begin, end in pairwise(starts))

    @property
    def lengths(self) -> Ints:
        """The length of each string, (N,)."""
        return np.diff(self.starts)

    def tolist(self) -> list[bytes]:
        """Return the strings as bytes objects."""
        return list(self)

    def slice(self, begin: int, end: int) -> Strings:
        """Return the strings `begin` to `end`, half-open; their bytes are not copied."""
        starts = self.starts[begin : end + 1]
        return Strings(self.data[starts[0] : starts[-1]], starts - starts[0])

    def take(self, rows: npt.ArrayLike) -> Strings:
        """Return the strings of these rows, in the order of `rows`."""
        index = np.asarray(rows, np.int64)
        return gather(self.data, self.starts[:-1][index], self.starts[1:][index] - self.starts[:-1][index])


def borders(lengths: Ints) -> Ints:
    """Return the cumulative sum of lengths (N,) from 0, (N + 1,)."""
    found = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def spread(begins: Ints, lengths: Ints) -> Ints:
    """Return begins[0], begins[0] + 1, ... for each of N spans, end to end.

    >>> spread(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    starts = borders(lengths)
    return np.repeat(begins - starts[:-1], lengths) + np.arange(starts[-1])


def gather(data: Bytes, begins: Ints, lengths: Ints) -> Strings:
    """Return parts of `data`, which start at `begins` (N,) and have `lengths` (N,) bytes.

    Parts of one length, and consecutive parts, need no index of each byte.
    """
    starts = borders(lengths)
    if not starts[-1]:
        return Strings(data[:0], starts)
    if (lengths == lengths[0]).all():
        return Strings(sliding_window_view(data, lengths[0])[begins].reshape(-1), starts)
    ends = begins + lengths
    gaps = begins[1:] - ends[:-1]
    if (gaps < 0).any():
        return Strings(data[spread(begins, lengths)], starts)
    runs = np.empty(2 * len(begins) - 1, np.int64)
    runs[::2], runs[1::2] = lengths, gaps
    wanted = np.repeat(np.arange(len(runs)) % 2 == 0, runs)
    return Strings(data[begins[0] : ends[-1]][wanted], starts)


def interleave(ones: Strings, twos: Strings) -> Strings:
    """Return the strings of two columns with the same number of rows in turn.

    >>> interleave(Strings.of([b"a", b"bc"]), Strings.of([b"", b"x"])).tolist()
    [b'a', b'', b'bc', b'x']
    """
    lengths = np.stack([ones.lengths, twos.lengths], axis=1).reshape(-1)
    starts = borders(lengths)
    if len(lengths) and (lengths == lengths[0]).all():
        rows = [column.data.reshape(len(column), lengths[0]) for column in (ones, twos)]
        return Strings(np.stack(rows, axis=1).reshape(-1), starts)
    is_one = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)
    data = np.empty(starts[-1], np.uint8)
    data[is_one], data[~is_one] = ones.data, twos.data
    return Strings(data, starts)


def join_spans(data: Bytes, begins: Ints, lengths: Ints) -> Strings:
    """Return the same as `gather`; this is faster if the parts are long or many are consecutive.

    If all parts are consecutive, their bytes are not copied.
    """
    ends = begins + lengths
    joints = np.flatnonzero(begins[1:] != ends[:-1]) + 1
    firsts, lasts = np.append(0, joints), np.append(joints, len(begins)) - 1
    if len(joints) == 0:
        return Strings(data[begins[0] : ends[-1]] if len(begins) else data[:0], borders(lengths))
    whole = data.data
    runs = zip(begins[firsts].tolist(), ends[lasts].tolist(), strict=True)
    return Strings(np.frombuffer(b"".join([whole[begin:end] for begin, end in runs]), np.uint8), borders(lengths))


def translate(data: Bytes, table: bytes) -> Bytes:
    """Return table[data], but several times as fast as by indexing; `table` has 256 bytes."""
    return np.frombuffer(data.tobytes().translate(table), np.uint8)


def join_columns(columns: Sequence[Strings]) -> Strings:
    """Return one string per row: the strings of all columns end to end; columns have the same number of rows.

    >>> join_columns([Strings.of([b"a", b"bc"]), Strings.repeat(b";", 2)]).tolist()
    [b'a;', b'bc;']
    """
    lengths = [column.lengths for column in columns]
    starts = borders(np.sum(lengths, axis=0))
    data = np.empty(starts[-1], np.uint8)
    place = starts[:-1].copy()
    for column, length in zip(columns, lengths, strict=True):
        data[spread(place, length)] = column.data
        place += length
    return Strings(data, starts)
