"""The directory of a run: its lock, run.json, the units of an unfinished run and the tables of a complete one."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from threading import Lock

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
from virnucpro.run.input_files import RECORDS, FileColumn, with_file
from virnucpro.run.legacy import HIGHEST_SCORES, LEGACY_TABLES, RESULTS, write_highest_scores
from virnucpro.run.manifest import Manifest, read_manifest, write_manifest
from virnucpro.run.outputs import VIRAL_IDS, Outputs, every_name
from virnucpro.run.replacement import Name, any_of, refuse_inputs
from virnucpro.run.rows import UnitTables
from virnucpro.run.tables import PAIR_TABLES, PARQUET, REPORTS, TABLES, RecordFiller, Sink
from virnucpro.run.tally import Tally
from virnucpro.run.units import Content, Unit, UnitEvidence, append_units, read_unit, unit_digest, write_unit
from virnucpro.scores.composition import Composition
from virnucpro.scores.reference import REFERENCE_FILE, Reference

_UNIT_FILE = re.compile(r"unit_\d{6,}")


class IfExists(Enum):
    """What to do with an earlier run in the directory: fail, resume it, or overwrite it."""

    FAIL = "fail"
    RESUME = "resume"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class _Beginning:
    manifest: Manifest
    fresh: bool
    keep_results: bool


class Directory(ABC):
    """The directory of a run of any task: its lock and its manifest. Use within `locked()`.

    A run that fails before its first unit is done changes nothing in its directory. Therefore `prepare` only stores
    how the run begins, and `begin` does it once, when the first unit is written. Any thread may call `begin`; in a
    directory that was not prepared, as on a worker, it does nothing.
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
        """Return the manifest of the run to resume, None for a new run.

        Raises:
            OutputError: `if_exists` does not allow the present content of the directory.
        """
        if if_exists is IfExists.OVERWRITE:
            return None
        with usable(self.path):
            others = [path for path in self.path.iterdir() if path.name != LOCK and not is_temporary(path.name)]
        if not others:
            return None  # a run may have been killed before it had anything to keep
        manifest = self.manifest()
        if manifest is None:
            advice = "use --restart to replace its files, or choose another --output"
            if if_exists is IfExists.RESUME:
                raise OutputError(f"{self.path} has files in it but no run to resume; {advice}")
            raise OutputError(f"{self.path} is not empty; {advice}")
        if if_exists is IfExists.FAIL:
            raise OutputError(
                f"{self.path} holds a run whose status is {manifest.status}; use --resume to continue it, "
                "--restart to replace it, or choose another --output"
            )
        return manifest

    def manifest(self) -> Manifest | None:
        """Return the manifest, None if there is none or it is not one of ours."""
        try:
            return read_manifest(self.manifest_path)
        except (OSError, ValueError):
            return None

    def write_manifest(self, manifest: Manifest) -> None:
        """Write run.json."""
        write_manifest(self.manifest_path, manifest)

    def prepare(self, manifest: Manifest, *, fresh: bool, keep_results: bool = False) -> None:
        """Store the manifest that `begin` will write, and what it will remove of an earlier run.

        Units are removed if `fresh`. Results are removed, or with `keep_results` stay until new ones
        replace them. `begin` removes results last, so that run.json describes a run that can be resumed if it is
        interrupted at any point.
        """
        self._pending = _Beginning(manifest, fresh, keep_results)

    def begin(self) -> None:
        """Do once what was prepared."""
        with self._turn:
            if self._pending is None:
                return
            if self._pending.fresh:
                self.remove_units()
            self.begin_units()
            self.write_manifest(self._pending.manifest)
            if not self._pending.keep_results:
                self.remove_results()
            self._pending = None

    def begin_units(self) -> None:  # noqa: B027
        """Write what lies beside the units, if anything."""

    @abstractmethod
    def remove_units(self) -> None:
        """Remove the units of an earlier run."""

    @abstractmethod
    def remove_results(self) -> None:
        """Remove the results of an earlier run."""


class RunDirectory(Directory):
    """The files of a run of `predict`; with `legacy` also those of the published tool, and what `outputs` asks for."""

    def __init__(self, path: Path, legacy: bool = False, paired: bool = False, outputs: Outputs | None = None) -> None:
        super().__init__(path)
        self.legacy, self.outputs = legacy, outputs or Outputs()
        self.first_lines = (PAIR_TABLES if paired else TABLES) | (LEGACY_TABLES if legacy else {})
        self.hit_names = [name for name in self.first_lines if name.startswith("viral")]
        self.other_names = self.outputs.other_names(self.hit_names)
        self.units = path / "units"
        # The reference of the model. A copy lies beside the units, so that shards can be merged without the model.
        self.model_reference: Path | None = None

    def refuse_inputs(self, inputs: Sequence[Name]) -> None:
        """Check that no input is a file that the run will replace.

        Raises:
            ConfigError: an input is such a file.
        """
        refuse_inputs(inputs, (self.manifest_path, *self._every_table(), *self._leftovers()))

    def remove_leftovers(self) -> None:
        """Remove temporary files of killed commands."""
        with usable(self.path):
            for path in (*self._leftovers(), *(leftovers(self.units, _UNIT_FILE) if self.units.is_dir() else ())):
                path.unlink(missing_ok=True)

    def _leftovers(self) -> list[Path]:
        with usable(self.path):
            return leftovers(self.path, any_of(path.name for path in (self.manifest_path, *self._every_table())))

    def has_tables(self, fastq: bool) -> bool:
        """Return whether all tables and sequences exist, with `fastq` also those in FASTQ."""
        return all(path.is_file() for path in self._tables(fastq))

    def lacks(self, names: Sequence[str]) -> bool:
        """Return whether one of these files is missing."""
        return not all((self.path / name).is_file() for name in names)

    def remove_results(self) -> None:
        """Remove all tables, and the files made from them."""
        with usable(self.path):
            for path in self._every_table():
                path.unlink(missing_ok=True)

    def _tables(self, fastq: bool = True) -> list[Path]:
        names = [*map(self.outputs.file_name, self._names(fastq)), *([HIGHEST_SCORES] if self.legacy else [])]
        return [self.path / name for name in names]

    def _names(self, fastq: bool) -> list[str]:
        """Return the files that a merge writes, without the endings of compression."""
        names = [*self.first_lines, *self.other_names, *([VIRAL_IDS] if self.outputs.viral_ids else [])]
        return [name for name in names if fastq or not name.endswith(".fastq")]

    def _every_table(self) -> list[Path]:
        return [self.path / name for name in (*every_name(), HIGHEST_SCORES, *REPORTS, *PARQUET.values())]

    def unit_path(self, number: int) -> Path:
        """Return the path of a unit's file."""
        return self.units / f"unit_{number:06d}"

    def read_unit(self, unit: Unit) -> Tally | None:
        """Return the counts of a unit, None unless its file is complete and of these records."""
        return read_unit(self.unit_path(unit.number), unit, len(self.first_lines))

    def unit_digest(self, unit: Unit) -> str | None:
        """Return the digest of the records in the file of a unit, None if there is no complete file."""
        return unit_digest(self.unit_path(unit.number), unit, len(self.first_lines))

    def write_unit(self, unit: Unit, tables: UnitTables) -> Tally:
        """Write the file of a unit; the first one begins the run."""
        self.begin()
        with usable(self.units):
            self.units.mkdir(exist_ok=True)
        return write_unit(self.unit_path(unit.number), unit, tables)

    def begin_units(self) -> None:
        if self.model_reference is not None:
            with usable(self.units):
                self.units.mkdir(exist_ok=True)
                with atomic_path(self.units / REFERENCE_FILE) as temporary:
                    temporary.write_bytes(self.model_reference.read_bytes())

    def reference(self) -> Reference | None:
        """Return the reference of the model of the run, None if the model has one host class.

        Raises:
            ModelError: it is damaged.
        """
        path = self.model_reference or self.units / REFERENCE_FILE
        return Reference.read(path) if path.exists() else None

    def merge(
        self,
        units: Iterable[Path],
        content: Content,
        composition: Composition | None = None,
        n_hosts: int | None = None,
    ) -> int | None:
        """Make the tables from the files of all units, in order.

        If `content` has several input files, records.tsv gets the column `file`. If it has FASTQ input, a file of FASTQ
        hits is written, too, even if it is empty. A prepared run without
        a unit of its own begins after all tables are written and before the first replaces an old one. Other files of
        an earlier run are then removed.

        Args:
            units: the files of all units.
            content: what was read.
            composition: that of the run, None without evidence.
            n_hosts: the number of host classes of the model, if it is not that of the composition.

        Returns:
            The number of hits if it follows from the composition.

        Raises:
            OutputError: a table cannot be written, or a unit has changed or is not of `content`.
        """
        with self.outputs.written(self.path, self._names(content.fastq)) as (files, complete):
            for name, first_line in self.first_lines.items():
                if name in files:
                    files[name].write(
                        (with_file(first_line) if name == RECORDS and content.files else first_line).encode()
                    )
            records = FileColumn(files[RECORDS], content.files) if content.files else files[RECORDS]
            filler = RecordFiller(
                records,
                [files.get(name) for name in self.hit_names],
                composition,
                [files.get(name) for name in self.other_names],
                files.get(VIRAL_IDS),
                n_hosts,
            )
            # evidence, then tables
            sinks: list[Sink | None] = [filler.evidence, filler.rows, *map(files.get, list(self.first_lines)[1:])]
            first_hit = 1 + list(self.first_lines).index(self.hit_names[0])
            sinks[first_hit : first_hit + len(filler.hits)] = filler.hits
            append_units(units, sinks, content)
            complete()
            self.begin()
        if self.legacy:
            with atomic_writer(self.path / HIGHEST_SCORES) as written:
                write_highest_scores(self.path / RESULTS, written)
        with usable(self.path):
            for path in set(self._every_table()) - set(self._tables(content.fastq)):
                path.unlink(missing_ok=True)
        return filler.viral

    def evidence(self, units: Callable[[], Iterable[Path]]) -> UnitEvidence:
        """Return the evidence of all records of a run, from the files of all its units."""
        return UnitEvidence(units, len(self.first_lines))

    def rename(self, manifest: Manifest, sample: str) -> None:
        """Give a complete run another name; the reports, which show it, are removed."""
        with usable(self.path):
            for name in REPORTS:
                (self.path / name).unlink(missing_ok=True)
        self.write_manifest(replace(manifest, sample=sample))

    def remove_units(self) -> None:
        """Remove the files of all units, and their directory if nothing else is in it."""
        with usable(self.units):
            if self.units.is_dir():
                units = [path for path in self.units.iterdir() if _UNIT_FILE.fullmatch(path.name) and path.is_file()]
                for path in (*units, *leftovers(self.units, _UNIT_FILE), self.units / REFERENCE_FILE):
                    path.unlink(missing_ok=True)
        with suppress(OSError):
            self.units.rmdir()
