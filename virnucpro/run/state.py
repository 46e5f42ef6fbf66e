"""The state of a run: its counts so far."""

from __future__ import annotations

import time
from typing import Generic

from virnucpro.run.input_files import FileCounter
from virnucpro.run.manifest import UnitCounts
from virnucpro.run.tally import C, RepeatedIds
from virnucpro.run.units import ContentDigest, Unit


class RunState(Generic[C]):
    """The counts of a run so far: records, and units read, taken by this shard, and kept from an earlier run.

    `digest` covers all records read; `ids` are those of the records in units taken; `seconds` are by stage. `files`
    counts the records of each input file, if there are several.
    """

    def __init__(self, tally: C, began: float | None = None, files: FileCounter | None = None) -> None:
        self.tally, self.files = tally, files
        self.ids, self.digest = RepeatedIds(), ContentDigest()
        self.n_units = self.n_mine = self.n_kept = 0
        self.seconds: dict[str, float] = {}
        self._stage_began = time.perf_counter() if began is None else began

    def read(self, unit: Unit) -> None:
        """Count a unit that was read, of any shard."""
        self.n_units += 1
        self.digest.add(unit.digest, len(unit.records))
        if self.files is not None:
            self.files.add(unit.records)

    def take(self, unit: Unit) -> None:
        """Count a unit of this shard."""
        self.n_mine += 1
        self.ids.add(unit.records.ids)

    def keep(self, counts: C) -> None:
        """Add a unit that an earlier run did."""
        self.n_kept += 1
        self.tally = self.tally + counts

    def add(self, counts: C) -> None:
        """Add a unit that this run did."""
        self.tally = self.tally + counts

    def end_stage(self, name: str) -> None:
        """Record the seconds since the last stage ended as the time of this stage."""
        now = time.perf_counter()
        self.seconds[name], self._stage_began = round(now - self._stage_began, 3), now

    @property
    def units(self) -> UnitCounts:
        """The numbers of units read and kept."""
        return UnitCounts(self.n_units, self.n_kept)
