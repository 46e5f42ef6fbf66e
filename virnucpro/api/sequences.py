"""What the functions of the library take as sequences: files, or records in memory of many kinds."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain
from typing import Any

from virnucpro.api.arrivals import gather
from virnucpro.data import prefetch
from virnucpro.errors import InputError
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.blocks import iter_blocks, read_blocks
from virnucpro.seq.reader import AnyPath, Kind, SequenceFile, as_path, find_fault
from virnucpro.seq.source import Source
from virnucpro.types import Record
from virnucpro.words import counted

# A path or paths, a mapping from ids to sequences, or records: (id, sequence), `Record`s, or objects of other packages.
SequenceSource = AnyPath | Mapping[Any, Any] | Iterable[Any]

IN_MEMORY = "memory"  # the source of a record that was not read from a file
_PATHS = (str, bytes, os.PathLike)
_NOTHING = object()
_DIVIDERS = re.compile(r"[\t\n\r\0]")
_LEAST_LETTERS = 20  # text of so many letters of DNA is taken for a sequence, if no file has that name
_EXPECTED = (
    "a source must be a path (text, bytes or a path object), several, a dict of ids and sequences, or an iterable of "
    "(id, sequence) or of objects with `id` and `seq` or `name` and `sequence`"
)


class GivenSequences(Source):
    """The sequences that a caller has given, to be read once.

    What is wrong with a path, a list or a tuple is said at once; of another iterable nothing is read before it is
    asked for, and then by a thread of its own.

    Raises:
        InputError: the source is neither a path nor an iterable of what can be a record.
    """

    def __init__(self, given: SequenceSource, kind: Kind = "nucleotide") -> None:
        super().__init__([])
        self.kind: Kind = kind
        self.paths: list[str] = []
        self._items: Iterable[Any] = _several(given)
        self._length = len(self._items) if isinstance(self._items, Sized) else None
        self._has_qualities = self._is_open = False
        if isinstance(self._items, Sequence):
            self.open()

    def open(self) -> None:
        """Look at the first item, which says whether the others are paths or records.

        Raises:
            InputError: it is neither, or one of the paths is none.
        """
        if self._is_open:
            return
        stream = iter(self._items)
        first = next(stream, _NOTHING)
        if isinstance(first, _PATHS):
            self.paths = [_checked_path(path) for path in chain([first], _rest(stream))]
            super().__init__(self.paths)
            self.files = [SequenceFile(path, self.kind) for path in self.paths]
            self._length = None  # of files, not of records
        elif first is not _NOTHING:
            record_of(first, 0, self.kind)
            self._items = chain([first], _rest(stream))
        self._is_open = True

    def __iter__(self) -> Iterator[Record]:
        self.open()
        return super().__iter__() if self.paths else self.count(self._records())

    @property
    def fastq(self) -> bool:
        """Whether a file that has been read was FASTQ, or a record in memory came with qualities."""
        return self._has_qualities or super().fastq

    def total(self) -> int | None:
        """Return how many records there are, if that is known."""
        return super().total() if self._length is None else self._length

    def blocks(self, n_records: int, n_bases: int, patience: float | None) -> Iterator[RecordBlock]:
        """Yield the records as blocks, each closed once it holds so many records or nt.

        With `patience`, a block of what is no regular file is closed when its first record has waited for so many
        seconds; with None the blocks follow from the records alone.
        """
        self.open()
        if self.paths and (patience is None or self.bytes is not None):
            yield from prefetch(iter_blocks(self, False, n_records, n_bases), depth=1)
            return
        if self.paths:
            pieces = gather(read_blocks(self.files), _weigh_block, n_records, n_bases, patience)
            blocks = map(RecordBlock.concat, pieces)
        else:
            blocks = map(RecordBlock.of, gather(self._records(), _weigh_record, n_records, n_bases, patience))
        for block in blocks:
            self.advance_by(block)
            yield block
            del block  # not held while the next one is read
        self.at_end = True

    def _records(self) -> Iterator[Record]:
        for index, item in enumerate(self._items):
            record = record_of(item, index, self.kind)
            self._has_qualities |= bool(record.quality)
            yield record


def _rest(stream: Iterator[Any]) -> Iterator[Any]:
    """Yield the rest of a stream; `iter` of some, such as pyfastx, would start again at the first record."""
    while (item := next(stream, _NOTHING)) is not _NOTHING:
        yield item


def _weigh_record(record: Record) -> tuple[int, int]:
    return 1, len(record.sequence)


def _weigh_block(block: RecordBlock) -> tuple[int, int]:
    return len(block), len(block.sequences.data)


def _several(given: SequenceSource) -> Iterable[Any]:
    """Return a source as several paths or records."""
    if isinstance(given, _PATHS) or _is_object(given):
        return [given]
    if isinstance(given, Mapping):
        return given.items()
    if not isinstance(given, Iterable):
        raise InputError(f"{_EXPECTED}, got {given!a:.200}")
    return given


def _checked_path(given: Any) -> str:
    """Return a path; text that is a sequence is no path."""
    path = as_path(given)
    letters = path.upper()
    if len(path) >= _LEAST_LETTERS and not set(letters) - set("ACGTUN") and not os.path.exists(path):
        raise InputError(
            f"{path[:_LEAST_LETTERS]!a}... looks like a sequence, and no file has that name; give sequences with ids, "
            "as (id, sequence) or in a dict; `enumerate(sequences)` numbers them"
        )
    return path


def _is_object(item: Any) -> bool:
    """Return whether this is one record: ours, or an object of another package."""
    return hasattr(item, "sequence") or (hasattr(item, "seq") and (hasattr(item, "id") or hasattr(item, "name")))


def record_of(item: Any, index: int, kind: Kind = "nucleotide") -> Record:
    """Return what was given as a record, its sequence upper-case.

    Args:
        item: an id and a sequence, a `Record`, or an object with `id` and `seq` (Biopython), `name` and `seq`
            (pyfastx), or `name` and `sequence` (dnaio).
        index: its number, from 0.
        kind: which letters its sequence may have, see `read_records`.

    Raises:
        InputError: it is none of them, its id divides a row of a table, or its sequence has a character that is no
            code; the error names the record.
    """
    source, description, quality = IN_MEMORY, "", b""
    if isinstance(item, Record):
        name, letters, source, description, quality = (
            item.id, item.sequence, item.source, item.description, item.quality,
        )  # fmt: skip
        if item.mates:
            raise InputError(
                f"record {item.id!a} (number {index + 1}) is a pair; a Predictor calls pairs (`Predictor.run`), and so "
                "does `virnucpro predict --paired`"
            )
    else:
        given, sequence = _id_and_sequence(item, index)
        name = _text(given, index)
        letters = _letters(sequence, name, index)
    fault = find_fault(letters, quality, kind)
    if not fault and quality and len(quality) != len(letters):
        given = f"{counted(len(letters), 'letters')} and {counted(len(quality), 'qualities')}"
        fault = f"{given}; give as many of both, or no quality"
    if not fault and (_DIVIDERS.search(name) or _DIVIDERS.search(description)):
        fault = "a tab, a line end or NUL in its id or description, which would divide a row of a table; replace it"
    if fault:
        raise InputError(f"record {name!a:.200} (number {index + 1}): {fault}")
    return Record(name, letters.upper(), source, index, description, quality)


def _id_and_sequence(item: Any, index: int) -> tuple[Any, Any]:
    if isinstance(item, tuple) and len(item) == 2:
        return item
    if _is_object(item):
        named = [getattr(item, name, None) for name in ("id", "name")]
        # The `id` of pyfastx is a number.
        name = next((one for one in named if isinstance(one, (str, bytes))), named[0])
        return name, item.sequence if hasattr(item, "sequence") else item.seq
    raise InputError(f"{_EXPECTED}; record number {index + 1} is {item!a:.200}")


def _text(name: Any, index: int) -> str:
    """Return an id as text; bytes that are not UTF-8 become surrogate escapes, as those of files do."""
    try:
        if isinstance(name, bytes):
            return name.decode(errors="surrogateescape")
        if isinstance(name, str):
            name.encode(errors="surrogateescape")
            return str(name)
        return str(operator.index(name))  # as of `enumerate`
    except (UnicodeError, TypeError):
        raise InputError(
            f"the id of record number {index + 1} must be text, bytes or a whole number, got {name!a:.200}"
        ) from None


def _letters(sequence: Any, name: str, index: int) -> bytes:
    """Return a sequence as bytes."""
    if isinstance(sequence, str):
        return sequence.encode(errors="surrogatepass")
    if isinstance(sequence, (bytes, bytearray, memoryview)) or hasattr(sequence, "__bytes__"):  # as Biopython's Seq
        return bytes(sequence)
    if _is_object(sequence):  # of a dict of records
        return _letters(_id_and_sequence(sequence, index)[1], name, index)
    raise InputError(
        f"the sequence of record {name!a:.200} (number {index + 1}) must be text or bytes, got {sequence!a:.200}"
    )
