"""Where the units of a task are done: what every runner can do. See `run/local.py` and `virnucpro.distributed`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from virnucpro.run.manifest import RunnerReport
from virnucpro.run.tally import C_co
from virnucpro.run.units import Unit


@dataclass(frozen=True, slots=True)
class Done(Generic[C_co]):
    """A unit that is done: its number of records, and its counts.

    Where there are several workers, `worker` did it, which is `ready` since then, in monotonic seconds.
    """

    records: int
    counts: C_co
    worker: str | None = None
    ready: float | None = None


class Runner(Protocol[C_co]):
    """Does the units of a task, here or elsewhere. A unit that is done has its file written."""

    setup: Any

    def submit(self, unit: Unit) -> Sequence[Done[C_co]]:
        """Hand a unit over as soon as there is room; return what was done meanwhile, in any order."""

    def finish(self) -> Iterator[Done[C_co]]:
        """Yield the rest of what was handed over, as it is done."""

    def report(self) -> RunnerReport:
        """Return what the manifest says of the work at the end."""
