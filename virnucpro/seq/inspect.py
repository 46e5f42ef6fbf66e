"""All that is wrong or worth knowing with input files, without a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from virnucpro.errors import InputError
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import cut_chunks
from virnucpro.seq.entry import Entry, named
from virnucpro.seq.pairs import Head
from virnucpro.seq.reader import SequenceFile
from virnucpro.seq.screen import Limits
from virnucpro.types import Record, Status

# Ids that later ones are compared with, by 64-bit hashes: a set of so many takes 1.5 GB.
_MOST_IDS = 1 << 24
BLOCK_RECORDS, BLOCK_BASES = 1024, 1 << 20  # that are looked at together


@dataclass(slots=True)
class Inspection:
    """Goes through one file by the rules of `predict` and counts what is in it; files may share `ids` (hashes)."""

    file: SequenceFile
    limits: Limits = field(default_factory=Limits)
    ids: set[int] = field(default_factory=set)
    records: int = 0
    bases: int = 0
    errors: int = 0
    head: Head = field(default_factory=Head)
    _remarks: dict[str, tuple[int, str]] = field(default_factory=dict)  # by kind: how often, and the first in words

    def faults(self) -> Iterator[InputError]:
        """Yield everything that would stop `predict`, in the order of the file."""
        entries = self.file.entries()
        held: list[tuple[Entry, Record]] = []
        bases = 0
        while True:
            try:
                entry = next(entries)
                held.append((entry, record := self.file.record(entry)))
            except InputError as fault:
                self.errors += 1
                yield fault  # a fault of the whole file has ended `entries`
            except StopIteration:
                break
            else:
                bases += len(record.sequence)
            if len(held) >= BLOCK_RECORDS or bases >= BLOCK_BASES:
                self._look_at(held)
                held, bases = [], 0
        if held:
            self._look_at(held)

    def remarks(self) -> list[str]:
        """Return, once the faults are through, what is worth knowing about records that can be read."""
        if not self.records and not self.errors:
            return [f"{self.file.path}: there is no record in it"]
        return [f"{first} ({n} such records)" if n > 1 else first for n, first in self._remarks.values()]

    def summary(self) -> str:
        """Return format, compression and counts."""
        file = self.file
        found = f"{file.path}: {file.format}, {file.compression}; records: {self.records}; nt: {self.bases}"
        return f"{found}; errors: {self.errors}; warnings: {len(self.remarks())}"

    def _look_at(self, held: list[tuple[Entry, Record]]) -> None:
        chunks = cut_chunks(RecordBlock.of([record for _, record in held]), self.limits)
        ambiguous, _, _, trimmed = chunks.letters.T.tolist()
        for row, (entry, record) in enumerate(held):
            self._look_at_record(entry, record)
            if ambiguous[row]:
                self._remark(entry, "has N or other ambiguous letters")
            if trimmed[row]:
                self._remark(entry, "has a homopolymer at an end, which is left out")
            status, reason = chunks.outcome(row)
            if status is not Status.OK:
                self._remark(entry, f"will have no score, {status}: {reason}", str(status))

    def _look_at_record(self, entry: Entry, record: Record) -> None:
        self.records += 1
        self.bases += len(record.sequence)
        self.head.add(record)
        if not record.id:
            self._remark(entry, "has no id")
        key = hash(record.id)
        if key in self.ids:
            self._remark(entry, "repeats an id")
        elif len(self.ids) < _MOST_IDS:
            self.ids.add(key)
        if entry[2] != record.sequence:
            self._remark(entry, "has lower-case letters, which are read as upper-case ones")
        if b"U" in record.sequence:
            self._remark(entry, "has U, which is read as T")
        if b"-" in record.sequence or b"." in record.sequence:
            self._remark(entry, "has gaps, which are read as unknown bases")

    def _remark(self, entry: Entry, text: str, kind: str = "") -> None:
        n, first = self._remarks.get(kind or text, (0, ""))
        self._remarks[kind or text] = n + 1, first or f"{self.file.path}: line {entry[0]}: {named(entry[1])} {text}"
