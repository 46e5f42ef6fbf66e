"""Columns of a run's tables, some megabytes at a time, by array operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.errors import InputError
from virnucpro.seq.strings import Bytes, Ints, Strings, gather
from virnucpro.words import counted

_BLOCK_BYTES = 1 << 19
_TAB, _NEWLINE, _ZERO = b"\t\n0"
_FEW = 8


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Consecutive rows of a table: the bytes of the file, and the begins and ends of the cells, (N, columns)."""

    data: Bytes
    begins: Ints
    ends: Ints

    def __len__(self) -> int:
        return len(self.begins)

    def cells(self, column: int) -> Strings:
        """Return the cells of a column."""
        return gather(self.data, self.begins[:, column], self.ends[:, column] - self.begins[:, column])

    def line(self, row: int) -> list[str]:
        """Return the cells of a row as text."""
        text = self.data[self.begins[row, 0] : self.ends[row, -1]].tobytes()
        return text.decode(errors="surrogateescape").split("\t")

    def initials(self, column: int) -> Bytes:
        """Return the first byte of each cell of a column, (N,); for an empty cell, the byte after it."""
        return self.data[self.begins[:, column]]

    def whole_numbers(self, column: int) -> Ints:
        """Return a column of digits as numbers, (N,)."""
        begins, lengths = self.begins[:, column], self.ends[:, column] - self.begins[:, column]
        values = np.zeros(len(self), np.int64)
        for place in range(int(lengths.max(initial=0))):
            inside = np.flatnonzero(lengths > place)
            values[inside] = values[inside] * 10 + (self.data[begins[inside] + place] - np.int64(_ZERO))
        return values

    def numbers(self, column: int) -> npt.NDArray[np.float64]:
        """Return a column of numbers, (N,), with NaN for NA."""
        lengths = self.ends[:, column] - self.begins[:, column]
        values = np.full(len(self), np.nan)
        usual = np.flatnonzero(lengths == len("0.0000"))
        digits = self.data[self.begins[usual, column, None] + np.arange(len("0.0000"))]  # (N, 6)
        is_usual = (digits[:, 1] == ord(".")) & (np.delete(digits, 1, axis=1) - _ZERO < 10).all(axis=1)
        # A whole number divided by a power of ten gives the nearest float, as `float` does.
        values[usual] = (digits[:, [0, 2, 3, 4, 5]] - np.int64(_ZERO)) @ [10_000, 1000, 100, 10, 1] / 10_000
        other = np.concatenate((usual[~is_usual], np.flatnonzero(lengths != len("0.0000"))))
        for row in other[self.data[self.begins[other, column]] != ord("N")].tolist():
            values[row] = float(self.data[self.begins[row, column] : self.ends[row, column]].tobytes())
        return values

    def known(self, column: int) -> tuple[list[str], Ints]:
        """Return the distinct texts of a column, and the index of each row's text among them, (N,)."""
        begins, lengths = self.begins[:, column], self.ends[:, column] - self.begins[:, column]
        known: list[bytes] = []
        rows = np.zeros(len(self), np.int64)
        left = np.arange(len(self))
        while len(left) and len(known) < _FEW:  # most columns hold few texts; compare each with all rows
            text = self.data[begins[left[0]] : self.ends[left[0], column]]
            alike = left[lengths[left] == len(text)]
            same = alike[(self.data[begins[alike, None] + np.arange(len(text))] == text).all(axis=1)]
            rows[same] = len(known)
            known.append(text.tobytes())
            left = np.setdiff1d(left, same, assume_unique=True)
        place = {text: number for number, text in enumerate(known)}
        for row in left.tolist():
            rare = self.data[begins[row] : self.ends[row, column]].tobytes()
            rows[row] = place.setdefault(rare, len(place))
        return [text.decode(errors="surrogateescape") for text in place], rows


def iter_rows(path: Path, file: BufferedReader, columns: int) -> Iterator[Rows]:
    """Yield all rows of a table whose first line has been read.

    Raises:
        InputError: a line has another number of columns.
    """
    rest, line = b"", 2
    while block := file.read(_BLOCK_BYTES):
        whole, mark, rest = (rest + block).rpartition(b"\n")
        if mark:
            yield (rows := _rows(path, whole + mark, columns, line))
            line += len(rows)
    if rest:
        yield _rows(path, rest + b"\n", columns, line)


def _rows(path: Path, text: bytes, columns: int, line: int) -> Rows:
    data = np.frombuffer(text, np.uint8)
    marks = np.flatnonzero((data == _TAB) | (data == _NEWLINE))
    is_end = data[marks] == _NEWLINE
    expected = np.arange(1, len(marks) + 1) % columns == 0
    if len(marks) % columns or not np.array_equal(is_end, expected):
        counts = [row.count(b"\t") + 1 for row in text.split(b"\n")[:-1]]
        wrong = next(place for place, count in enumerate(counts) if count != columns)
        raise InputError(
            f"{path}: line {line + wrong} has {counted(counts[wrong], 'columns')}, line 1 has {columns}; "
            "the file was edited or cut: run `virnucpro predict` again with --restart"
        )
    ends = marks.reshape(-1, columns)
    begins = np.concatenate(([0], marks[:-1] + 1)).reshape(-1, columns)
    return Rows(data, begins, ends)


def skip_lines(file: BufferedReader, number: int) -> None:
    """Skip lines, or all that are left if there are fewer."""
    while number and (block := file.peek()):
        if (found := block.count(b"\n")) >= number:
            end = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)[number - 1] + 1
            file.read(int(end))
            return
        number -= found
        file.read(len(block))
