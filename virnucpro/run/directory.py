"""The directory of one run: its lock, its units while it goes on, its tables when it is complete, and run.json."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

from virnucpro.errors import OutputError
from virnucpro.files import (
    LOCK,
    atomic_path,
    atomic_writer,
    is_temporary,
    leftovers,
    locked,
    usable,
    write_json,
)
from virnucpro.run.legacy import HIGHEST_SCORES, LEGACY_TABLES, RESULTS, write_highest_scores
from virnucpro.run.replacement import Name, any_of, refuse_inputs
from virnucpro.run.tables import (
    FASTQ_HITS,
    PAIR_TABLES,
    PARQUET,
    REPORTS,
    TABLES,
    fill_fdr,
)
from virnucpro.run.tally import Tally
from virnucpro.run.units import Content, Sink, Unit, append_units, read_unit, unit_digest, write_unit
from virnucpro.scores.composition import Composition
from virnucpro.types import RecordResult

_UNIT_FILE = re.compile(r"unit_\d{6,}")


class Begin(Enum):
    """What a run does with an earlier one in its directory."""

    NEW = "refuse it"
    RESUME = "go on with it"
    RESTART = "replace it"


class RunDirectory:
    """The files of one run, with `legacy` also those of the published tool. Use within `locked()`."""

    def __init__(self, path: Path, legacy: bool = False, paired: bool = False) -> None:
        self.path = path
        self.legacy = legacy
        self.first_lines = (PAIR_TABLES if paired else TABLES) | (LEGACY_TABLES if legacy else {})
        self.units = path / "units"
        self.state_path = path / "run.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory and keep other runs out of it.

        Raises:
            OutputError: another run has the lock, or the directory cannot be made or written.
        """
        with locked(self.path):
            yield

    def open(self, begin: Begin) -> dict[str, Any] | None:
        """Return what run.json says about the run to go on with, None where a new one begins.

        Raises:
            OutputError: `begin` does not allow for what is there.
        """
        if begin is Begin.RESTART:
            return None
        with usable(self.path):
            others = [path for path in self.path.iterdir() if path.name != LOCK and not is_temporary(path.name)]
        if not others:
            return None  # also where a run was killed before it had anything to keep
        state = self.state()
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

    def state(self) -> dict[str, Any] | None:
        """Return run.json, None where there is none that a run of ours wrote."""
        try:
            state = read_state(self.state_path)
            return state if isinstance(state["status"], str) and isinstance(state["fingerprint"], dict) else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def refuse_inputs(self, inputs: Sequence[Name]) -> None:
        """Check that no input is a file that the run will replace.

        Raises:
            ConfigError: one is.
        """
        refuse_inputs(inputs, (self.state_path, *self._every_table(), *self._leftovers()))

    def remove_leftovers(self) -> None:
        """Remove temporary files that killed commands have left here."""
        with usable(self.path):
            for path in (*self._leftovers(), *(leftovers(self.units, _UNIT_FILE) if self.units.is_dir() else ())):
                path.unlink(missing_ok=True)

    def _leftovers(self) -> list[Path]:
        with usable(self.path):
            return leftovers(self.path, any_of(path.name for path in (self.state_path, *self._every_table())))

    def has_tables(self, fastq: bool) -> bool:
        """Tell whether all tables are there, with `fastq` also those of hits that came from FASTQ."""
        return all(path.is_file() for path in self._tables(fastq))

    def lacks(self, names: Sequence[str]) -> bool:
        """Tell whether one of these files is not there."""
        return not all((self.path / name).is_file() for name in names)

    def begin(self, state: dict[str, Any], anew: bool, keep_tables: bool = False) -> None:
        """Write run.json and remove what an earlier run left, its units only with `anew`, and nothing else.

        The units go first and the tables last: wherever this is broken off, run.json tells of a run that can go on.
        With `keep_tables` the tables stay until `merge` replaces them.
        """
        if anew:
            self.remove_units()
        self.write_state(state)
        if not keep_tables:
            with usable(self.path):
                for path in self._every_table():
                    path.unlink(missing_ok=True)

    def write_state(self, state: dict[str, Any]) -> None:
        """Write run.json."""
        write_json(self.state_path, state)

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

    def write_unit(self, unit: Unit, results: Sequence[RecordResult]) -> Tally:
        """Write the file of a unit."""
        with usable(self.units):
            self.units.mkdir(exist_ok=True)
        return write_unit(self.unit_path(unit.number), unit, results, self.legacy)

    def merge(
        self,
        units: Iterable[Path],
        content: Content,
        composition: Composition | None = None,
        ready: Callable[[], object] | None = None,
    ) -> None:
        """Make the tables from the files of all units, in order; `composition` is that of the run.

        Of FASTQ input, `content` says so, there is a file of FASTQ hits, empty where there are none. `ready` is called
        when all tables are written and none has taken its place. What else an earlier run left is then removed.

        Raises:
            OutputError: a table cannot be written, or a unit is not what it was, or not of `content`.
        """
        with ExitStack() as stack:
            files = []
            tables: list[Sink | None] = []
            for name, first_line in self.first_lines.items():
                if name in FASTQ_HITS and not content.fastq:
                    tables.append(None)
                    continue
                temporary = stack.enter_context(atomic_path(self.path / name))
                files.append(table := stack.enter_context(temporary.open("wb")))
                table.write(first_line.encode())
                tables.append(fill_fdr(table, composition) if composition and not tables else table)
            append_units(units, tables, content)
            for file in files:  # all before the first takes its place
                file.flush()
                os.fsync(file.fileno())
            if ready is not None:
                ready()
        if self.legacy:
            with atomic_writer(self.path / HIGHEST_SCORES) as written:
                write_highest_scores(self.path / RESULTS, written)
        with usable(self.path):
            for path in set(self._every_table()) - set(self._tables(content.fastq)):
                path.unlink(missing_ok=True)

    def remove_units(self) -> None:
        """Remove the files of all units, and their directory if nothing else is in it."""
        with usable(self.units):
            if self.units.is_dir():
                units = [path for path in self.units.iterdir() if _UNIT_FILE.fullmatch(path.name) and path.is_file()]
                for path in (*units, *leftovers(self.units, _UNIT_FILE)):
                    path.unlink(missing_ok=True)
        with suppress(OSError):
            self.units.rmdir()


def read_state(path: Path) -> Any:
    """Return what run.json says, with paths beyond UTF-8 as they were written.

    Raises:
        OSError: it cannot be read.
        ValueError, RecursionError: it is no JSON.
    """
    return json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
