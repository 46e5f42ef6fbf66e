"""Source: the records of input files, read once, with the progress of reading."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from virnucpro.seq.block import RecordBlock
from virnucpro.seq.reader import SequenceFile, read_records
from virnucpro.types import Record

_RECORDS_A_LOOK = 64
_NAMED_FASTQ = re.compile(r"\.(fastq|fq)(\.(gz|bz2|xz|zst))?\Z", re.IGNORECASE)


class Source:
    """The records of input files, read once, and an estimate of their number.

    One thread reads; any thread may ask for the estimate. `size` returns the weight of a record, such as its number of
    windows.
    """

    def __init__(self, names: Sequence[str], size: Callable[[Record], int] | None = None) -> None:
        self.files = [SequenceFile(name) for name in names]
        sizes = [file.size for file in self.files]
        self.bytes = None if None in sizes else sum(size or 0 for size in sizes)
        self.records, self.position, self.at_end = 0, 0, False
        self._size = size

    def __iter__(self) -> Iterator[Record]:
        return self.count(read_records(self.files))

    @property
    def fastq(self) -> bool:
        """Whether a file that has been read was FASTQ; for an empty file, its name decides."""
        return any(
            file.format == "FASTQ" or (file.format == "empty" and _NAMED_FASTQ.search(file.path) is not None)
            for file in self.files
        )

    def count(self, records: Iterator[Record]) -> Iterator[Record]:
        """Yield records that are read from the files, and record the progress of reading."""
        for record in records:
            self.records += self._size(record) if self._size else 1
            if self._size or self.records % _RECORDS_A_LOOK == 0:
                self._look()
            yield record
        self.at_end = True

    def advance_by(self, block: RecordBlock) -> None:
        """Count the records of a block that was read from the files, and record the progress of reading."""
        self.records += sum(map(self._size, block.records())) if self._size else len(block)
        self._look()

    def _look(self) -> None:
        if self.bytes is not None:
            self.position = sum(file.position for file in self.files)

    def total(self) -> int | None:
        """Return the number of records: counted at the end, estimated before it, None for a stream."""
        if self.at_end:
            return self.records
        if not self.bytes or not self.position:
            return None
        return max(self.records, round(self.records * self.bytes / self.position))
