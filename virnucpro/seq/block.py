"""RecordBlock: some thousands of consecutive records as flat arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from virnucpro.seq.strings import Strings
from virnucpro.types import Record


@dataclass(frozen=True, slots=True, eq=False)
class RecordBlock:
    """R consecutive records, all of one part (single) or all of two (pairs of mates); P = R or 2 R parts in order.

    `names` (P), `descriptions` (P), `sequences` (P, upper case) and `qualities` (P, empty for FASTA) are those of the
    parts; `pair_ids` (R) are the ids of pairs, None for single records. `first` is the index of the first record over
    all inputs; part p was read from `sources[source[p]]`, `source` (P,) int32.
    """

    names: Strings
    descriptions: Strings
    sequences: Strings
    qualities: Strings
    first: int
    sources: tuple[str, ...]
    source: npt.NDArray[np.int32]
    pair_ids: Strings | None = None

    @classmethod
    def of(cls, records: Sequence[Record]) -> RecordBlock:
        """Make a block of consecutive records: at least one, all single or all pairs."""
        parts = [part for record in records for part in record.parts]
        sources = tuple(dict.fromkeys(part.source for part in parts))
        place = {name: number for number, name in enumerate(sources)}
        return cls(
            Strings.of([_encoded(part.id) for part in parts]),
            Strings.of([_encoded(part.description) for part in parts]),
            Strings.of([part.sequence for part in parts]),
            Strings.of([part.quality for part in parts]),
            records[0].index,
            sources,
            np.array([place[part.source] for part in parts], np.int32),
            Strings.of([_encoded(record.id) for record in records]) if records[0].mates else None,
        )

    @classmethod
    def unnamed(cls, sequences: Strings) -> RecordBlock:
        """Make a block of single records (R) without names from their sequences."""
        empty = Strings.repeat(b"", len(sequences))
        return cls(empty, empty, sequences, empty, 0, ("-",), np.zeros(len(sequences), np.int32))

    @classmethod
    def concat(cls, blocks: Sequence[RecordBlock]) -> RecordBlock:
        """Join consecutive blocks: at least one, all of single records or all of pairs."""
        if len(blocks) == 1:
            return blocks[0]
        sources = tuple(dict.fromkeys(name for block in blocks for name in block.sources))
        place = {name: number for number, name in enumerate(sources)}
        source = [np.array([place[name] for name in block.sources], np.int32)[block.source] for block in blocks]
        ids = [block.pair_ids for block in blocks if block.pair_ids is not None]
        return cls(
            Strings.concat([block.names for block in blocks]),
            Strings.concat([block.descriptions for block in blocks]),
            Strings.concat([block.sequences for block in blocks]),
            Strings.concat([block.qualities for block in blocks]),
            blocks[0].first,
            sources,
            np.concatenate(source),
            Strings.concat(ids) if ids else None,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> Strings:
        """The ids of the records, (R)."""
        return self.names if self.pair_ids is None else self.pair_ids

    @property
    def mates(self) -> int:
        """The number of parts of a record: 1, or 2 for pairs."""
        return 1 if self.pair_ids is None else 2

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The nucleotides of each record, (R,); a pair counts both mates."""
        lengths: npt.NDArray[np.int64] = self.sequences.lengths.reshape(-1, self.mates).sum(axis=1)
        return lengths

    @property
    def digest(self) -> str:
        """The SHA-256 of the content of the records, in an encoding that is different for different records."""
        whole = hashlib.sha256(b"%d %d\n" % (self.mates, len(self)))
        for column in (self.names, self.descriptions, self.sequences, self.qualities):
            whole.update(column.lengths.astype("<i8").data)
            whole.update(column.data.data)
        return whole.hexdigest()

    def record(self, row: int) -> Record:
        """Return one of the records as an object."""
        if self.pair_ids is None:
            return self._part(row, self.first + row)
        one, two = self._part(2 * row, self.first + row), self._part(2 * row + 1, self.first + row)
        return Record(_decoded(self.pair_ids[row]), b"", one.source, self.first + row, mates=(one, two))

    def records(self) -> Iterator[Record]:
        """Yield the records as objects."""
        return (self.record(row) for row in range(len(self)))

    def slice(self, begin: int, end: int) -> RecordBlock:
        """Return the records `begin` to `end`, half-open, as a block."""
        first, last = begin * self.mates, end * self.mates
        return replace(
            self,
            names=self.names.slice(first, last),
            descriptions=self.descriptions.slice(first, last),
            sequences=self.sequences.slice(first, last),
            qualities=self.qualities.slice(first, last),
            first=self.first + begin,
            source=self.source[first:last],
            pair_ids=None if self.pair_ids is None else self.pair_ids.slice(begin, end),
        )

    def _part(self, row: int, index: int) -> Record:
        return Record(
            _decoded(self.names[row]),
            self.sequences[row],
            self.sources[self.source[row]],
            index,
            _decoded(self.descriptions[row]),
            self.qualities[row],
        )


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _decoded(text: bytes) -> str:
    return text.decode(errors="surrogateescape")


def group_records(records: Iterable[Record], n_records: int, n_bases: int) -> Iterator[list[Record]]:
    """Group records for blocks; a group is closed once it has `n_records` or `n_bases` nt.

    The groups depend only on the input. A record is never divided; single records and pairs are not mixed. An error of
    `records` is raised after the records before it are yielded.
    """
    held: list[Record] = []
    bases = 0
    stream, failure = iter(records), None
    while True:
        try:
            record = next(stream, None)
        except Exception as error:
            record, failure = None, error
        if held and (record is None or bool(record.mates) != bool(held[0].mates)):
            yield held
            held, bases = [], 0
        if failure is not None:
            raise failure
        if record is None:
            return
        held.append(record)
        bases += record.length
        if len(held) >= n_records or bases >= n_bases:
            yield held
            held, bases = [], 0
