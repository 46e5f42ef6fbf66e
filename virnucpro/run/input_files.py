"""The input files of a run with several: their names in its tables, and the column `file` of records.tsv.

The rows of units have no such column. It is added where they are written to a table, because it follows from the number
of records of each file. So units do not depend on the names of files.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from virnucpro.printable import printable
from virnucpro.run.tables import Sink
from virnucpro.seq.block import RecordBlock

RECORDS, FILE = "records.tsv", "file"  # the table, and its last column if there are several input files
_DESCRIPTOR = re.compile(r"/(dev|proc/(self|\d+))/fd/\d+")  # of a process substitution; the number says nothing
_KEPT = range(0xDC80, 0xDD00)  # bytes that are not UTF-8, which stay as they are


@dataclass(frozen=True, slots=True)
class FileRecords:
    """Successive records of the input that were read from one file: its name in the tables, and their number."""

    file: str
    records: int


def file_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the name of each input file in the tables: the end of its path that no other input has.

    A name has no tab, line end or other control character. A path that is given twice has one name.

    >>> file_names(["/d/a/reads.fq", "/d/b/reads.fq", "/d/c.fa", "-"])
    {'/d/a/reads.fq': 'a/reads.fq', '/d/b/reads.fq': 'b/reads.fq', '/d/c.fa': 'c.fa', '-': 'stdin'}
    """
    parts = {path: _parts(path, number) for number, path in enumerate(dict.fromkeys(paths), start=1)}
    names: dict[str, str] = {}
    depth = 0
    while len(names) < len(parts):
        depth += 1
        ends = {path: parts[path][-depth:] for path in parts}
        times = Counter(ends.values())
        deepest = depth >= max(map(len, parts.values()))  # two paths of one file
        names |= {
            path: "/".join(map(_shown, end))
            for path, end in ends.items()
            if path not in names and (times[end] == 1 or deepest)
        }
    return {path: names[path] for path in parts}


def _parts(path: str, number: int) -> tuple[str, ...]:
    if path == "-":
        return ("stdin",)
    if _DESCRIPTOR.fullmatch(path):
        return (f"stream_{number}",)
    return tuple(part.strip("/") for part in PurePath(os.path.abspath(path)).parts)


def _shown(part: str) -> str:
    return "".join(char if ord(char) in _KEPT else printable(char) for char in part)


class FileCounter:
    """Counts the records of each input file, in the order of reading; `names` are those of `file_names`."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._files: list[FileRecords] = []

    def add(self, block: RecordBlock) -> None:
        """Count single records."""
        for one in files_of(block, self._names):
            if self._files and self._files[-1].file == one.file:
                one = FileRecords(one.file, self._files.pop().records + one.records)
            self._files.append(one)

    def files(self) -> tuple[FileRecords, ...]:
        """Return the records so far, then the files without any."""
        read = {one.file for one in self._files}
        empty = [FileRecords(name, 0) for name in dict.fromkeys(self._names.values()) if name not in read]
        return (*self._files, *empty)


def files_of(block: RecordBlock, names: Mapping[str, str]) -> list[FileRecords]:
    """Return from which files the records of a block of single records are, in order."""
    begins = np.flatnonzero(np.diff(block.source, prepend=-1))
    numbers = np.diff(begins, append=len(block.source)).tolist()
    files = [names[block.sources[source]] for source in block.source[begins].tolist()]
    return [FileRecords(file, number) for file, number in zip(files, numbers, strict=True)]


def with_file(first_line: str) -> str:
    """Return the first line of records.tsv with the column `file`."""
    return first_line.replace("\n", f"\t{FILE}\n")


def spans(files: Sequence[FileRecords]) -> dict[str, list[tuple[int, int]]]:
    """Return the records of each file, as spans of their numbers (half-open), by name.

    >>> spans([FileRecords("a", 2), FileRecords("b", 3), FileRecords("a", 1)])
    {'a': [(0, 2), (5, 6)], 'b': [(2, 5)]}
    """
    found: dict[str, list[tuple[int, int]]] = {}
    first = 0
    for one in files:
        found.setdefault(one.file, []).append((first, first + one.records))
        first += one.records
    return found


class FileColumn:
    """A sink that writes lines of records.tsv to another one, each with its file in one more column."""

    def __init__(self, table: Sink, files: Sequence[FileRecords]) -> None:
        self._table = table
        self._files = [one for one in files if one.records][::-1]
        self._left = self._files[-1].records if self._files else 0

    def write(self, data: bytes, /) -> None:
        """Take the next bytes of the lines; lines beyond the last record are copied as they are."""
        data = bytes(data)
        while self._files and (lines := data.count(b"\n")):
            end = len(data)
            if lines > self._left:
                end = int(np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))[self._left - 1]) + 1
            cell = self._files[-1].file.encode("utf-8", "surrogateescape")
            self._table.write(data[:end].replace(b"\n", b"\t" + cell + b"\n"))
            data = data[end:]
            self._left -= min(lines, self._left)
            if not self._left:
                self._files.pop()
                self._left = self._files[-1].records if self._files else 0
        self._table.write(data)
