"""The protocol of runners, which do the units of a task. See `run/local.py` and `virnucpro.distributed`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from virnucpro.run.manifest import RunnerReport
from virnucpro.run.tally import C_co
from virnucpro.run.units import Unit


@dataclass(frozen=True, slots=True)
class Done(Generic[C_co]):
    """A finished unit: its number of records, and its counts.

    If there are several workers, `worker` did it; `ready` is when that worker became ready, in monotonic seconds.
    """

    records: int
    counts: C_co
    worker: str | None = None
    ready: float | None = None


class Runner(Protocol[C_co]):
    """Does the units of a task, on this machine or others. The file of a finished unit is written."""

    setup: Any

    def submit(self, unit: Unit) -> Sequence[Done[C_co]]:
        """Take a unit as soon as there is room; return units finished meanwhile, in any order."""

    def finish(self) -> Iterator[Done[C_co]]:
        """Yield the remaining units as they are finished."""

    def report(self) -> RunnerReport:
        """Return the report of the work for the manifest."""
