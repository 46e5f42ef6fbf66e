"""The directory of one run: its lock, its units while it goes on, its tables when it is complete, and run.json."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virnucpro.errors import ConfigError, OutputError
from virnucpro.pipeline.composition import Composition
from virnucpro.pipeline.legacy import HIGHEST_SCORES, LEGACY_TABLES, RESULTS, write_highest_scores
from virnucpro.pipeline.outputs import (
    FASTQ_HITS,
    PAIR_TABLES,
    PARQUET,
    REPORTS,
    TABLES,
    atomic_path,
    atomic_writer,
    fill_fdr,
    usable,
    write_json,
)
from virnucpro.pipeline.tally import Tally
from virnucpro.pipeline.units import Sink, Unit, append_units, read_unit, write_unit

if TYPE_CHECKING:
    from virnucpro.pipeline.predict import RecordResult

logger = logging.getLogger(__name__)

_UNIT_FILE = re.compile(r"unit_\d{6,}|\.unit_\d{6,}(\.[^/]+)?\.tmp")


class Begin(Enum):
    """What a run does with an earlier one in its directory."""

    NEW = "refuse it"
    RESUME = "go on with it"
    RESTART = "replace it"


class RunDirectory:
    """The files of one run, with `legacy` also those of the published tool. Use within `locked()`.

    `writer` names the process among several that write units, see `atomic_path`.
    """

    def __init__(self, path: Path, legacy: bool = False, paired: bool = False, writer: str = "") -> None:
        self.path = path
        self.writer = writer
        self.legacy = legacy
        self.first_lines = (PAIR_TABLES if paired else TABLES) | (LEGACY_TABLES if legacy else {})
        self.units = path / "units"
        self.state_path = path / "run.json"
        self.lock_path = path / ".lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory and keep other runs out of it.

        Raises:
            OutputError: another run has the lock, or the directory cannot be made or written.
        """
        lock = self.lock_path
        with usable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = _lock(lock)
        if descriptor is None:
            raise OutputError(f"another run works in {self.path}; wait for it, or choose another --output")
        try:
            with suppress(OSError):
                self.path.joinpath(f".{self.state_path.name}.tmp").unlink()  # of one that was killed
            yield
        finally:
            with suppress(OSError):
                lock.unlink()  # while it is held: whoever opened it before finds that it is gone, see _lock
            os.close(descriptor)

    def open(self, begin: Begin) -> dict[str, Any] | None:
        """Return what run.json says about the run to go on with, None where a new one begins.

        Raises:
            OutputError: `begin` does not allow for what is there.
        """
        if begin is Begin.RESTART:
            return None
        with usable(self.path):
            others = sorted(path.name for path in self.path.iterdir() if path.name != ".lock")
        if not others:
            return None  # also where a run was killed before it had anything to keep
        state = self._read_state()
        if state is None:
            advice = "use --restart to replace what is there, or another --output"
            if begin is Begin.RESUME:
                raise OutputError(f"{self.path} has files in it but no run to resume; {advice}")
            raise OutputError(f"{self.path} is not empty; {advice}")
        if begin is Begin.NEW:
            raise OutputError(
                f"{self.path} holds a run whose status is {state['status']}; --resume goes on with it, "
                "--restart begins anew; or choose another --output"
            )
        return state

    def _read_state(self) -> dict[str, Any] | None:
        """Return run.json, None where there is none that a run of ours wrote."""
        try:
            state = json.loads(self.state_path.read_text(encoding="utf-8"))
            return state if isinstance(state["status"], str) and isinstance(state["fingerprint"], dict) else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def refuse_inputs(self, inputs: Sequence[str]) -> None:
        """Check that no input is a file that the run will replace.

        Raises:
            ConfigError: one is.
        """
        for name in inputs:
            for path in (self.state_path, *self._every_table()):
                with suppress(OSError):
                    if path.samefile(name):
                        raise ConfigError(f"{name} is an input and would be replaced; choose another --output")

    def has_tables(self) -> bool:
        """Tell whether all tables are there; of FASTQ there may be none."""
        return all(path.is_file() for path in self._tables() if path.name not in FASTQ_HITS)

    def lacks(self, names: Sequence[str]) -> bool:
        """Tell whether one of these files is not there."""
        return not all((self.path / name).is_file() for name in names)

    def begin(self, state: dict[str, Any], anew: bool) -> None:
        """Write run.json and remove what an earlier run left, its units only with `anew`, and nothing else.

        The units go first and the tables last: wherever this is broken off, run.json tells of a run that can go on.
        """
        if anew:
            self.remove_units()
        self.write_state(state)
        self._remove_tables()

    def clear(self) -> None:
        """Remove what an earlier run left, and nothing else."""
        with usable(self.path):
            self.state_path.unlink(missing_ok=True)  # first: without it, the rest is not taken for a run
        self.remove_units()
        self._remove_tables()

    def _remove_tables(self) -> None:
        with usable(self.path):
            for path in self._every_table():
                path.unlink(missing_ok=True)
                path.with_name(f".{path.name}.tmp").unlink(missing_ok=True)

    def write_state(self, state: dict[str, Any]) -> None:
        """Write run.json."""
        write_json(self.state_path, state)

    def _tables(self) -> list[Path]:
        return [self.path / name for name in (*self.first_lines, *([HIGHEST_SCORES] if self.legacy else []))]

    def _every_table(self) -> list[Path]:
        tables = {**TABLES, **PAIR_TABLES, **LEGACY_TABLES}
        return [self.path / name for name in (*tables, HIGHEST_SCORES, *REPORTS, *PARQUET.values())]

    def unit_path(self, number: int) -> Path:
        """Return where the file of a unit is."""
        return self.units / f"unit_{number:06d}"

    def read_unit(self, unit: Unit) -> Tally | None:
        """Return the counts of a unit whose file is there and whole and fits its records."""
        return read_unit(self.unit_path(unit.number), unit, len(self.first_lines))

    def write_unit(self, unit: Unit, results: Sequence[RecordResult]) -> Tally:
        """Write the file of a unit."""
        with usable(self.units):
            self.units.mkdir(exist_ok=True)
        return write_unit(self.unit_path(unit.number), unit, results, self.legacy, self.writer)

    def merge(self, units: Sequence[Path], composition: Composition | None = None) -> None:
        """Make the tables from the files of all units, in order; `composition` is that of the run.

        Raises:
            OutputError: a table cannot be written, or a unit is not what it was.
        """
        with ExitStack() as stack:
            tables: list[Sink] = []
            for name, first_line in self.first_lines.items():
                temporary = stack.enter_context(atomic_path(self.path / name))
                table = stack.enter_context(temporary.open("wb"))
                table.write(first_line.encode())
                tables.append(fill_fdr(table, composition) if composition and not tables else table)
            append_units(units, tables)
        for name in FASTQ_HITS:
            if name in self.first_lines and not (hits := self.path / name).stat().st_size:
                hits.unlink()
        if self.legacy:
            with atomic_writer(self.path / HIGHEST_SCORES) as file:
                write_highest_scores(self.path / RESULTS, file)

    def remove_units(self) -> None:
        """Remove the files of all units, and their directory if nothing else is in it."""
        with usable(self.units):
            for path in self.units.glob("*") if self.units.is_dir() else ():
                if _UNIT_FILE.fullmatch(path.name) and path.is_file():
                    path.unlink()
        with suppress(OSError):
            self.units.rmdir()


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock file, None if another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s cannot be locked (%s): see to it that one run alone works there", path, error.strerror)
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its last holder removed the file in the meantime
