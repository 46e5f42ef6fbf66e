"""RunState: the counts of a run so far."""

from __future__ import annotations

import time
from typing import Generic

from virnucpro.run.manifest import UnitCounts
from virnucpro.run.tally import C, RepeatedIds
from virnucpro.run.units import ContentDigest, Unit


class RunState(Generic[C]):
    """The counts of a run so far: of records, and of units read, taken by this shard, and kept of an earlier run.

    `digest` is of all that was read; `ids` are those of the records of the units taken; `seconds` are by stage.
    """

    def __init__(self, tally: C, began: float | None = None) -> None:
        self.tally = tally
        self.ids, self.digest = RepeatedIds(), ContentDigest()
        self.n_units = self.n_mine = self.n_kept = 0
        self.seconds: dict[str, float] = {}
        self._stage_began = time.perf_counter() if began is None else began

    def read(self, unit: Unit) -> None:
        """Count a unit that was read, of whatever shard."""
        self.n_units += 1
        self.digest.add(unit.digest, len(unit.records))

    def take(self, unit: Unit) -> None:
        """Count a unit of this shard."""
        self.n_mine += 1
        self.ids.add(unit.records.ids)

    def keep(self, counts: C) -> None:
        """Add a unit that was done before."""
        self.n_kept += 1
        self.tally = self.tally + counts

    def add(self, counts: C) -> None:
        """Add a unit that is done now."""
        self.tally = self.tally + counts

    def end_stage(self, name: str) -> None:
        """Take the time since the last stage ended, in seconds, for a stage of this name."""
        now = time.perf_counter()
        self.seconds[name], self._stage_began = round(now - self._stage_began, 3), now

    @property
    def units(self) -> UnitCounts:
        """Units read, and kept."""
        return UnitCounts(self.n_units, self.n_kept)
