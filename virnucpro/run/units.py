"""Units: consecutive records that are done as one piece of resumable work, and the file with the result of each.

A unit file is a line of JSON, filled up with blanks to `HEADER_BYTES`, then sections: the evidence of its records, and
the bytes that the unit adds to each table. Tables are merged by concatenation; the evidence of all records gives the
composition of the sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from virnucpro.errors import OutputError
from virnucpro.files import atomic_path, fingerprint
from virnucpro.run.input_files import FileRecords
from virnucpro.run.rows import UnitTables
from virnucpro.run.tables import TABLES, Sink
from virnucpro.run.tally import Tally
from virnucpro.scores.composition import Evidence
from virnucpro.scores.evidence import evidence_type
from virnucpro.seq.block import RecordBlock, group_records
from virnucpro.types import Record

# The records and nt after which a unit is closed, by type of device. On a CPU a unit takes some seconds; a GPU needs
# more records, so that computing takes longer than launching.
UNIT_SIZES = {"cpu": (1024, 1 << 20), "cuda": (8192, 1 << 22)}
# Units that each shard of a small input should get, the assumed size of a record in a file, and how much smaller than
# usual a unit may become.
SHARD_UNITS, RECORD_BYTES, MAX_DIVISION = 20, 100, 32
HEADER_BYTES = 2048
_BLOCK_BYTES = 1 << 20
_AGAIN = "run it again with --resume, which does this unit again"


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive records of the input; `number` counts from 0 and `digest` is a SHA-256 of their content."""

    number: int
    records: RecordBlock
    digest: str


@dataclass(frozen=True, slots=True)
class UnitHeader:
    """The header of a unit file.

    `first` is the index of the unit's first record, `input_sha256` the digest of its records, `sections` the sizes in
    bytes of the evidence and of the rows for each table, `counts` a `Tally`, `sha256` the checksum of all sections and
    of the other fields. `hosts` and `hit_files` are the arguments of `evidence_type`.
    """

    unit: int
    first: int
    records: int
    input_sha256: str
    sections: tuple[int, ...]
    counts: dict[str, Any]
    hosts: int
    hit_files: int
    sha256: str = ""

    @property
    def evidence_type(self) -> np.dtype[np.void]:
        """The type of the evidence of a record."""
        return evidence_type(self.hosts, self.hit_files)

    def fits(self, unit: Unit) -> bool:
        """Return whether this is the header of `unit`."""
        mine = (self.unit, self.first, self.records, self.input_sha256)
        return mine == (unit.number, unit.records.first, len(unit.records), unit.digest)

    def checksum(self, body: hashlib._Hash) -> str:
        """Return the correct value of `sha256` for sections with the hash `body`."""
        return fingerprint([body.hexdigest(), asdict(replace(self, sha256=""))])


def number_units(blocks: Iterable[RecordBlock]) -> Iterator[Unit]:
    """Make units of consecutive blocks."""
    return (Unit(number, block, block.digest) for number, block in enumerate(blocks))


def unit_size(
    device: str, n_records: int | None = None, shards: int = 1, n_bytes: int | None = None
) -> tuple[int, int]:
    """Return the records and nt of a unit.

    Shards take units in turn, so one shard may get a unit more than another. If a small input is divided into shards,
    its units are smaller, so that each shard gets about `SHARD_UNITS` of them. All shards find the same size.

    Args:
        device: the device, by name.
        n_records: the user's choice, which is not changed.
        shards: the number of shards of the run.
        n_bytes: the size of the input files together; None: unknown, as of a stream.
    """
    records, bases = UNIT_SIZES[device.partition(":")[0]]
    if n_records or shards == 1 or n_bytes is None:
        return n_records or records, bases
    smaller = min(1.0, max(n_bytes / (records * RECORD_BYTES * SHARD_UNITS * shards), 1 / MAX_DIVISION))
    return round(records * smaller), round(bases * smaller)


def iter_units(records: Iterable[Record], n_records: int, n_bases: int) -> Iterator[Unit]:
    """Cut a stream of records into units: each is closed once it holds `n_records` or `n_bases`.

    The records of a unit depend only on the input. A record is never divided.
    """
    return number_units(RecordBlock.of(group) for group in group_records(records, n_records, n_bases))


@dataclass(frozen=True, slots=True)
class Content:
    """The content of an input: number of records, a SHA-256 of all of them in order, and whether any was FASTQ.

    If there are several input files, `files` has the records of each, in the order of reading.
    """

    records: int
    sha256: str
    fastq: bool = False
    files: tuple[FileRecords, ...] = ()

    def named(self) -> dict[str, Any]:
        """Return the values that two runs of the same input share, by name."""
        files = {"records of each input": [one.records for one in self.files]} if self.files else {}
        return {"number of records": self.records, "SHA-256 of all records": self.sha256, **files}


class ContentDigest:
    """Combines the digests of consecutive units into the digest of all their records."""

    def __init__(self) -> None:
        self._chain, self._records = hashlib.sha256(), 0

    def add(self, digest: str, records: int) -> None:
        """Add the digest of the next unit and its number of records."""
        self._chain.update(bytes.fromhex(digest))
        self._records += records

    def content(self, fastq: bool = False, files: tuple[FileRecords, ...] = ()) -> Content:
        """Return the content added so far."""
        return Content(self._records, self._chain.hexdigest(), fastq, files)


def write_unit(path: Path, unit: Unit, tables: UnitTables) -> Tally:
    """Write the evidence of a unit and its rows for the tables; return its counts.

    Raises:
        OutputError: the file cannot be written; nothing of it is left.
    """
    sections = (tables.evidence.tobytes(), *tables.sections)
    body = hashlib.sha256()
    for section in sections:
        body.update(section)
    sizes, n = tuple(map(len, sections)), len(unit.records)
    kind = tables.evidence.dtype
    hosts, files = kind["steps"].shape[0], kind["hits"].shape[0] if "hits" in (kind.names or ()) else 0
    header = UnitHeader(unit.number, unit.records.first, n, unit.digest, sizes, tables.tally.to_json(), hosts, files)
    header = replace(header, sha256=header.checksum(body))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(asdict(header)).encode().ljust(HEADER_BYTES - 1) + b"\n")
        for section in sections:
            file.write(section)
    return tables.tally


def read_unit(path: Path, unit: Unit, n_tables: int = len(TABLES)) -> Tally | None:
    """Return the counts of a finished unit, None if its file is absent, damaged or of another unit."""
    try:
        with path.open("rb") as file:
            header = _read_header(file, n_tables)
            tally = Tally.from_json(header.counts)
            if header.fits(unit) and _copy(file, header, [None] * (1 + n_tables)):
                return tally
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass  # a file that is not a unit of ours can raise any of these
    return None


def append_units(paths: Iterable[Path], sinks: Sequence[Sink | None], expected: Content) -> None:
    """Append the sections of all units, in order, to the sinks: evidence, then tables; a sink None skips its section.

    Raises:
        OutputError: a file is missing or was changed, or the records of all units differ from the expected content.
    """
    n_records, digest = 0, ContentDigest()
    for number, path in enumerate(paths):
        header = _append_unit(path, sinks, number, n_records)
        n_records += header.records
        digest.add(header.input_sha256, header.records)
    if digest.content(expected.fastq, expected.files) != expected:
        raise OutputError(
            "some units are of other records than the input that was read; run it again with --resume, "
            "which does these units again"
        )


class UnitEvidence(Iterable[Evidence]):
    """The evidence of all records of a run, unit by unit, each time it is iterated over; `paths` are its unit files.

    Raises:
        OutputError: a file is missing or its header was changed; its checksum is left to `append_units`.
    """

    def __init__(self, paths: Callable[[], Iterable[Path]], n_tables: int) -> None:
        self._paths, self._n_tables = paths, n_tables

    def __iter__(self) -> Iterator[Evidence]:
        return map(self._read, self._paths())

    def between(self, first: int, last: int) -> Iterator[Evidence]:
        """Yield the evidence of the records `first` to `last`, half-open; other units are not read."""
        begin, end = (int(np.searchsorted(self._ends, place, "right")) for place in (first, last - 1))
        for number, path in enumerate(islice(self._paths(), begin, end + 1 if last > first else begin), begin):
            evidence = self._read(path)
            before = int(self._ends[number]) - len(evidence)
            yield evidence[max(0, first - before) : last - before]

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        """The number of records up to the end of each unit, (U,)."""
        return np.cumsum([len(evidence) for evidence in self], dtype=np.int64)

    def _read(self, path: Path) -> Evidence:
        try:
            with path.open("rb") as file:
                header = _read_header(file, self._n_tables)
                data = file.read(header.sections[0])
            return np.frombuffer(data, header.evidence_type)
        except OSError as error:
            raise OutputError(f"{path} cannot be read: {error.strerror}; {_AGAIN}") from error
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise OutputError(f"{path} was damaged during the run; {_AGAIN}") from error


def _append_unit(path: Path, sinks: Sequence[Sink | None], number: int, first: int) -> UnitHeader:
    """Append the sections of unit `number`, whose first record is `first`, to the sinks; return its header.

    Raises:
        OutputError: the file is missing or was changed.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}; {_AGAIN}") from error
    with file:
        try:
            header = _read_header(file, len(sinks) - 1)
            whole = (header.unit, header.first) == (number, first) and _copy(file, header, sinks)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise OutputError(f"{path} was damaged during the run; {_AGAIN}") from error
    if not whole:
        raise OutputError(f"{path} was damaged during the run; {_AGAIN}")
    return header


def unit_digest(path: Path, unit: Unit, n_tables: int = len(TABLES)) -> str | None:
    """Return the digest of the records of a unit file, None if it is absent, damaged or of another number."""
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
        raise ValueError(f"a unit must have {1 + n_tables} sections, got {len(header.sections)}")
    if header.sections[0] != header.evidence_type.itemsize * header.records:
        raise ValueError(
            f"a unit must have evidence for each of {header.records} records, got {header.sections[0]} bytes"
        )
    return header


def _copy(file: IO[bytes], header: UnitHeader, sinks: Sequence[Sink | None]) -> bool:
    """Copy the sections to the sinks; return whether they match the header."""
    body = hashlib.sha256()
    for size, sink in zip(header.sections, sinks, strict=True):
        while size > 0 and (data := file.read(min(size, _BLOCK_BYTES))):
            size -= len(data)
            body.update(data)
            if sink is not None:
                sink.write(data)
    return header.checksum(body) == header.sha256 and not file.read(1)
