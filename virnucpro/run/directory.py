"""The directory of one run: its lock, its units while it goes on, its tables when it is complete, and run.json."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import IO

from virnucpro.errors import OutputError
from virnucpro.files import (
    LOCK,
    atomic_path,
    atomic_writer,
    is_temporary,
    leftovers,
    locked,
    usable,
)
from virnucpro.run.legacy import HIGHEST_SCORES, LEGACY_TABLES, RESULTS, write_highest_scores
from virnucpro.run.manifest import Manifest, read_manifest, write_manifest
from virnucpro.run.replacement import Name, any_of, refuse_inputs
from virnucpro.run.rows import UnitTables
from virnucpro.run.tables import (
    FASTQ_HITS,
    PAIR_TABLES,
    PARQUET,
    REPORTS,
    TABLES,
    FdrFiller,
    count_evidence,
)
from virnucpro.run.tally import Tally
from virnucpro.run.units import Content, Sink, Unit, append_units, read_unit, unit_digest, write_unit
from virnucpro.scores.composition import Composition

_UNIT_FILE = re.compile(r"unit_\d{6,}")


class IfExists(Enum):
    """What a run does with an earlier one in its directory: refuse, go on with it, or replace it."""

    FAIL = "fail"
    RESUME = "resume"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class _Beginning:
    manifest: Manifest
    anew: bool
    keep_results: bool


class Directory:
    """The directory of a run of any task: its lock and its manifest. Use within `locked()`.

    A run that fails before its first unit is done changes nothing in its directory. So `prepare` only takes note of
    what the run begins with, and `begin` does it, once, when the first unit is written. Any thread may call `begin`;
    in a directory that was not prepared, as on a worker, it does nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_path = path / "run.json"
        self._pending: _Beginning | None = None
        self._turn = Lock()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory and keep other runs out of it.

        Raises:
            OutputError: another run has the lock, or the directory cannot be made or written.
        """
        with locked(self.path):
            yield

    def open(self, if_exists: IfExists) -> Manifest | None:
        """Return the manifest of the run to go on with, None where a new one begins.

        Raises:
            OutputError: `if_exists` does not allow for what is there.
        """
        if if_exists is IfExists.OVERWRITE:
            return None
        with usable(self.path):
            others = [path for path in self.path.iterdir() if path.name != LOCK and not is_temporary(path.name)]
        if not others:
            return None  # also where a run was killed before it had anything to keep
        manifest = self.manifest()
        if manifest is None:
            advice = "use --restart to replace what is there, or another --output"
            if if_exists is IfExists.RESUME:
                raise OutputError(f"{self.path} has files in it but no run to resume; {advice}")
            raise OutputError(f"{self.path} is not empty; {advice}")
        if if_exists is IfExists.FAIL:
            raise OutputError(
                f"{self.path} holds a run whose status is {manifest.status}; --resume goes on with it, "
                "--restart begins anew; or choose another --output"
            )
        return manifest

    def manifest(self) -> Manifest | None:
        """Return the manifest, None where there is none that a run of ours wrote."""
        try:
            return read_manifest(self.manifest_path)
        except (OSError, ValueError):
            return None

    def write_manifest(self, manifest: Manifest) -> None:
        """Write run.json."""
        write_manifest(self.manifest_path, manifest)

    def prepare(self, manifest: Manifest, *, anew: bool, keep_results: bool = False) -> None:
        """Take note of the manifest that `begin` is to write, and of what it removes of an earlier run.

        Units are removed if the run begins `anew`. Results are removed, or with `keep_results` stay until new ones
        replace them. Results go last: wherever this is broken off, run.json describes a run that can go on.
        """
        self._pending = _Beginning(manifest, anew, keep_results)

    def begin(self) -> None:
        """Do what was prepared, if it was not done before."""
        with self._turn:
            if self._pending is None:
                return
            if self._pending.anew:
                self.remove_units()
            self.write_manifest(self._pending.manifest)
            if not self._pending.keep_results:
                self.remove_results()
            self._pending = None

    def remove_units(self) -> None:
        """Remove the units of an earlier run."""
        raise NotImplementedError

    def remove_results(self) -> None:
        """Remove what an earlier run made of its units."""
        raise NotImplementedError


class RunDirectory(Directory):
    """The files of a run of `predict`, with `legacy` also those of the published tool."""

    def __init__(self, path: Path, legacy: bool = False, paired: bool = False) -> None:
        super().__init__(path)
        self.legacy = legacy
        self.first_lines = (PAIR_TABLES if paired else TABLES) | (LEGACY_TABLES if legacy else {})
        self.units = path / "units"

    def refuse_inputs(self, inputs: Sequence[Name]) -> None:
        """Check that no input is a file that the run will replace.

        Raises:
            ConfigError: one is.
        """
        refuse_inputs(inputs, (self.manifest_path, *self._every_table(), *self._leftovers()))

    def remove_leftovers(self) -> None:
        """Remove temporary files that killed commands have left here."""
        with usable(self.path):
            for path in (*self._leftovers(), *(leftovers(self.units, _UNIT_FILE) if self.units.is_dir() else ())):
                path.unlink(missing_ok=True)

    def _leftovers(self) -> list[Path]:
        with usable(self.path):
            return leftovers(self.path, any_of(path.name for path in (self.manifest_path, *self._every_table())))

    def has_tables(self, fastq: bool) -> bool:
        """Return whether all tables are there, with `fastq` also those of hits that came from FASTQ."""
        return all(path.is_file() for path in self._tables(fastq))

    def lacks(self, names: Sequence[str]) -> bool:
        """Return whether one of these files is not there."""
        return not all((self.path / name).is_file() for name in names)

    def remove_results(self) -> None:
        """Remove all tables, and what is made of them."""
        with usable(self.path):
            for path in self._every_table():
                path.unlink(missing_ok=True)

    def _tables(self, fastq: bool = True) -> list[Path]:
        names = [name for name in self.first_lines if fastq or name not in FASTQ_HITS]
        return [self.path / name for name in (*names, *([HIGHEST_SCORES] if self.legacy else []))]

    def _every_table(self) -> list[Path]:
        tables = {**TABLES, **PAIR_TABLES, **LEGACY_TABLES}
        return [self.path / name for name in (*tables, HIGHEST_SCORES, *REPORTS, *PARQUET.values())]

    def unit_path(self, number: int) -> Path:
        """Return where the file of a unit is."""
        return self.units / f"unit_{number:06d}"

    def read_unit(self, unit: Unit) -> Tally | None:
        """Return the counts of a unit whose file is there and whole and fits its records."""
        return read_unit(self.unit_path(unit.number), unit, len(self.first_lines))

    def unit_digest(self, unit: Unit) -> str | None:
        """Return the digest of the records in the file of a unit, None where none is there that is whole."""
        return unit_digest(self.unit_path(unit.number), unit, len(self.first_lines))

    def write_unit(self, unit: Unit, tables: UnitTables) -> Tally:
        """Write the file of a unit; the first one begins the run."""
        self.begin()
        with usable(self.units):
            self.units.mkdir(exist_ok=True)
        return write_unit(self.unit_path(unit.number), unit, tables)

    def merge(
        self,
        units: Iterable[Path],
        content: Content,
        composition: Composition | None = None,
    ) -> None:
        """Make the tables from the files of all units, in order; `composition` is that of the run.

        Of FASTQ input, `content` says so, there is a file of FASTQ hits, empty where there are none. A run that was
        prepared and has no unit of its own begins when all tables are written and none has taken its place. What else
        an earlier run left is then removed.

        Raises:
            OutputError: a table cannot be written, or a unit is not what it was, or not of `content`.
        """
        with ExitStack() as stack:
            files: list[IO[bytes]] = []
            sinks: list[Sink | None] = [None]  # of the evidence, then of the tables
            for name, first_line in self.first_lines.items():
                if name in FASTQ_HITS and not content.fastq:
                    sinks.append(None)
                    continue
                temporary = stack.enter_context(atomic_path(self.path / name))
                files.append(table := stack.enter_context(temporary.open("wb")))
                table.write(first_line.encode())
                sinks.append(table)
            if composition:
                filler = FdrFiller(files[0], composition)
                sinks[:2] = [filler.evidence, filler]
            append_units(units, sinks, content)
            for file in files:  # all before the first takes its place
                file.flush()
                os.fsync(file.fileno())
            self.begin()
        if self.legacy:
            with atomic_writer(self.path / HIGHEST_SCORES) as written:
                write_highest_scores(self.path / RESULTS, written)
        with usable(self.path):
            for path in set(self._every_table()) - set(self._tables(content.fastq)):
                path.unlink(missing_ok=True)

    def composition_of(self, units: Iterable[Path], content: Content) -> Composition | None:
        """Return the composition of a run from the files of all its units.

        Raises:
            OutputError: a unit is not what it was, or not of `content`.
        """
        histogram: Counter[int] = Counter()
        append_units(units, [count_evidence(histogram), *[None] * len(self.first_lines)], content)
        return Composition.of(histogram)

    def remove_units(self) -> None:
        """Remove the files of all units, and their directory if nothing else is in it."""
        with usable(self.units):
            if self.units.is_dir():
                units = [path for path in self.units.iterdir() if _UNIT_FILE.fullmatch(path.name) and path.is_file()]
                for path in (*units, *leftovers(self.units, _UNIT_FILE)):
                    path.unlink(missing_ok=True)
        with suppress(OSError):
            self.units.rmdir()
