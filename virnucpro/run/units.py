"""Units: runs of whole records that are done as one piece, and the one file that holds the result of each.

A unit file is a line of JSON, filled up with blanks to `HEADER_BYTES`, then sections: the evidence of its records, and
the bytes that the unit adds to each of the tables. Merging the tables is concatenation; the evidence of all records
gives the column `fdr`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from virnucpro.errors import OutputError
from virnucpro.files import atomic_path, fingerprint
from virnucpro.run.rows import UnitTables
from virnucpro.run.tables import (
    EVIDENCE,
    TABLES,
    count_evidence,
)
from virnucpro.run.tally import Tally
from virnucpro.seq.block import RecordBlock, group_records
from virnucpro.types import Record

# The records and nt after which a unit is closed, by the kind of the device: on a CPU a unit takes some seconds; a GPU
# needs as many at a time that computing them takes longer than launching.
UNIT_SIZES = {"cpu": (1024, 1 << 20), "cuda": (8192, 1 << 22)}
HEADER_BYTES = 2048
_BLOCK_BYTES = 1 << 20


class Sink(Protocol):
    """What the bytes of a section can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive records of the input; `number` counts from 0 and `digest` is a SHA-256 of all they say."""

    number: int
    records: RecordBlock
    digest: str


@dataclass(frozen=True, slots=True)
class UnitHeader:
    """What a unit file says about itself.

    `first` is the index of the unit's first record, `input_sha256` its digest, `sections` the sizes in bytes of the
    evidence and of what is added to each table, `counts` a `Tally`, `sha256` the checksum of all sections and of the
    other fields.
    """

    unit: int
    first: int
    records: int
    input_sha256: str
    sections: tuple[int, ...]
    counts: dict[str, Any]
    sha256: str = ""

    def fits(self, unit: Unit) -> bool:
        """Tell whether this is the result of `unit`."""
        mine = (self.unit, self.first, self.records, self.input_sha256)
        return mine == (unit.number, unit.records.first, len(unit.records), unit.digest)

    def checksum(self, body: hashlib._Hash) -> str:
        """Return what `sha256` must be after sections with the hash `body`."""
        return fingerprint([body.hexdigest(), asdict(replace(self, sha256=""))])


def number_units(blocks: Iterable[RecordBlock]) -> Iterator[Unit]:
    """Make units of consecutive blocks."""
    return (Unit(number, block, block.digest) for number, block in enumerate(blocks))


def unit_size(device: str, n_records: int | None = None) -> tuple[int, int]:
    """Return the records and nt of a unit for a device, by name; `n_records` are those that the user asked for."""
    records, bases = UNIT_SIZES[device.partition(":")[0]]
    return n_records or records, bases


def iter_units(records: Iterable[Record], n_records: int, n_bases: int) -> Iterator[Unit]:
    """Cut a stream of records into units: each is closed once it holds `n_records` or `n_bases`.

    Which records a unit holds follows from the input alone. A record is never divided.
    """
    return number_units(RecordBlock.of(group) for group in group_records(records, n_records, n_bases))


@dataclass(frozen=True, slots=True)
class Content:
    """What a run read: the number of records, a SHA-256 of all of them in order, and whether some input was FASTQ."""

    records: int
    sha256: str
    fastq: bool = False

    def named(self) -> dict[str, Any]:
        """Return what two runs of the same input have in common, by name."""
        return {"number of records": self.records, "SHA-256 of all records": self.sha256}


class ContentDigest:
    """Adds up the digests of consecutive units to the digest of all their records."""

    def __init__(self) -> None:
        self._chain, self._records = hashlib.sha256(), 0

    def add(self, digest: str, records: int) -> None:
        """Take the digest of the next unit and its number of records."""
        self._chain.update(bytes.fromhex(digest))
        self._records += records

    def content(self, fastq: bool = False) -> Content:
        """Return what has been added so far."""
        return Content(self._records, self._chain.hexdigest(), fastq)


def write_unit(path: Path, unit: Unit, tables: UnitTables) -> Tally:
    """Write the evidence of a unit and what it adds to the tables; return its counts.

    Raises:
        OutputError: the file cannot be written; it is then not there at all.
    """
    sections = (tables.evidence.tobytes(), *tables.sections)
    body = hashlib.sha256()
    for section in sections:
        body.update(section)
    sizes, n = tuple(map(len, sections)), len(unit.records)
    header = UnitHeader(unit.number, unit.records.first, n, unit.digest, sizes, tables.tally.to_json())
    header = replace(header, sha256=header.checksum(body))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(asdict(header)).encode().ljust(HEADER_BYTES - 1) + b"\n")
        for section in sections:
            file.write(section)
    return tables.tally


def read_unit(path: Path, unit: Unit, n_tables: int = len(TABLES)) -> Tally | None:
    """Return the counts of a unit that is done, None where its file is absent, damaged or another unit's."""
    try:
        with path.open("rb") as file:
            header = _read_header(file, n_tables)
            tally = Tally.from_json(header.counts)
            sinks = [count_evidence(tally.evidence), *[None] * n_tables]
            if header.fits(unit) and _copy(file, header, sinks):
                return tally
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass  # whatever a file leads to that no run of ours wrote
    return None


def append_units(paths: Iterable[Path], sinks: Sequence[Sink | None], expected: Content) -> None:
    """Append the sections of consecutive units, from the first: evidence, then the tables, to the sinks that are given.

    Raises:
        OutputError: a file is not there, or is not the one that had been written or checked; or the records of all
            units are not those that are expected.
    """
    n_records, digest = 0, ContentDigest()
    for number, path in enumerate(paths):
        header = _append_unit(path, sinks, number, n_records)
        n_records += header.records
        digest.add(header.input_sha256, header.records)
    if digest.content(expected.fastq) != expected:
        raise OutputError(
            "the units are not of the input that was read: some are of other records; run it again with --resume, "
            "which does these units again"
        )


def _append_unit(path: Path, sinks: Sequence[Sink | None], number: int, first: int) -> UnitHeader:
    """Append the sections of unit `number`, whose first record is `first`, to the sinks; return its header.

    Raises:
        OutputError: the file is not there, or is not the one that had been written or checked.
    """
    again = "run it again with --resume, which does this unit again"
    try:
        file = path.open("rb")
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}; {again}") from error
    with file:
        try:
            header = _read_header(file, len(sinks) - 1)
            whole = (header.unit, header.first) == (number, first) and _copy(file, header, sinks)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise OutputError(f"{path} was damaged during the run; {again}") from error
    if not whole:
        raise OutputError(f"{path} was damaged during the run; {again}")
    return header


def unit_digest(path: Path, unit: Unit, n_tables: int = len(TABLES)) -> str | None:
    """Return the digest of the records of a whole unit file, None where it is absent, damaged or of another number."""
    try:
        with path.open("rb") as file:
            header = _read_header(file, n_tables)
            if header.unit == unit.number and _copy(file, header, [None] * (1 + n_tables)):
                return header.input_sha256
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass  # as in `read_unit`
    return None


def _read_header(file: IO[bytes], n_tables: int) -> UnitHeader:
    values = json.loads(file.read(HEADER_BYTES))
    header = UnitHeader(**{**values, "sections": tuple(values["sections"])})
    if len(header.sections) != 1 + n_tables:
        raise ValueError(f"a unit has {1 + n_tables} sections, got {len(header.sections)}")
    if header.sections[0] != EVIDENCE.itemsize * header.records:
        raise ValueError(f"a unit has evidence for each record, got {header.sections[0]} bytes of {header.records}")
    return header


def _copy(file: IO[bytes], header: UnitHeader, sinks: Sequence[Sink | None]) -> bool:
    """Copy the sections to the sinks; return whether they are those that the header describes."""
    body = hashlib.sha256()
    for size, sink in zip(header.sections, sinks, strict=True):
        while size > 0 and (data := file.read(min(size, _BLOCK_BYTES))):
            size -= len(data)
            body.update(data)
            if sink is not None:
                sink.write(data)
    return header.checksum(body) == header.sha256 and not file.read(1)
