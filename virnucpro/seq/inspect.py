"""All that is wrong or worth knowing with input files, without a model."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from virnucpro.errors import InputError
from virnucpro.seq.entry import Entry, named
from virnucpro.seq.letters import letters_of
from virnucpro.seq.pairs import Head
from virnucpro.seq.reader import SequenceFile
from virnucpro.seq.screen import Limits, screened_chunks
from virnucpro.types import Record, Status


class SeenIds:
    """A set of ids, by 64-bit hashes in 16 to 32 bytes each: a quarter of what a Python set takes."""

    def __init__(self) -> None:
        self._slots = array("Q", [0]) * 1024
        self._number = 0

    def add(self, name: str) -> bool:
        """Add an id; return whether it was there."""
        if 2 * self._number >= len(self._slots):
            hashes, self._slots = self._slots, array("Q", [0]) * (2 * len(self._slots))
            for value in filter(None, hashes):
                self._slots[self._slot(value)] = value
        value = hash(name) % (1 << 64) or 1  # 0 is a free slot
        slot = self._slot(value)
        if self._slots[slot]:
            return True
        self._slots[slot] = value
        self._number += 1
        return False

    def _slot(self, value: int) -> int:
        """Return where `value` is, or the free slot where it belongs."""
        slots, last = self._slots, len(self._slots) - 1
        slot = value & last
        while slots[slot] not in (0, value):
            slot = (slot + 1) & last
        return slot


@dataclass(slots=True)
class Inspection:
    """Goes through one file by the rules of `predict` and counts what is in it; `ids` may be shared by several."""

    file: SequenceFile
    limits: Limits = field(default_factory=Limits)
    ids: SeenIds = field(default_factory=SeenIds)
    records: int = 0
    bases: int = 0
    errors: int = 0
    head: Head = field(default_factory=Head)
    _remarks: dict[str, tuple[int, str]] = field(default_factory=dict)  # by kind: how often, and the first in words

    def faults(self) -> Iterator[InputError]:
        """Yield everything that would stop `predict`, in the order of the file."""
        entries = self.file.entries()
        while True:
            try:
                entry = next(entries)
                self._look_at(entry, self.file.record(entry))
            except InputError as fault:
                self.errors += 1
                yield fault  # a fault of the whole file has ended `entries`
            except StopIteration:
                return

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

    def _look_at(self, entry: Entry, record: Record) -> None:
        self.records += 1
        self.bases += len(record.sequence)
        self.head.add(record)
        if not record.id:
            self._remark(entry, "has no id")
        if self.ids.add(record.id):
            self._remark(entry, "repeats an id")
        if entry[2] != record.sequence:
            self._remark(entry, "has lower-case letters, which are read as upper-case ones")
        if b"U" in record.sequence:
            self._remark(entry, "has U, which is read as T")
        if b"-" in record.sequence or b"." in record.sequence:
            self._remark(entry, "has gaps, which are read as unknown bases")
        letters = letters_of(record, self.limits.pieces)
        if letters.ambiguous:
            self._remark(entry, "has N or other ambiguous letters")
        if letters.trimmed:
            self._remark(entry, "has a homopolymer at an end, which is left out")
        # As in `predict`, a record has a score if one chunk has; if none has, the first tells why.
        first: tuple[Status, str] | None = None
        for _, status, reason in screened_chunks(record, self.limits):
            if status is Status.OK:
                return
            first = first or (status, reason)
        if first:
            self._remark(entry, f"will have no score, {first[0]}: {first[1]}", str(first[0]))

    def _remark(self, entry: Entry, text: str, kind: str = "") -> None:
        n, first = self._remarks.get(kind or text, (0, ""))
        self._remarks[kind or text] = n + 1, first or f"{self.file.path}: line {entry[0]}: {named(entry[1])} {text}"
