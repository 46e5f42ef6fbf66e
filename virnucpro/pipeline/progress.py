"""Progress of a run on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

# Off a terminal, a plain line every so many seconds stands in for the progress bar.
PLAIN_LINE_SECONDS = 30.0
# On a terminal, so many workers have a line.
MOST_LINES = 16


def may_speak() -> bool:
    """Tell whether anything but errors is wanted."""
    return logging.getLogger().isEnabledFor(logging.WARNING)


def say(line: str) -> None:
    """Print a line on stderr, unless --quiet."""
    if may_speak():
        print(f"virnucpro: {line}", file=sys.stderr, flush=True)


class Counter:
    """Counts records as they are done, in all and for each worker where there are several."""

    def __init__(self) -> None:
        self.records, self._shown = 0, time.monotonic()
        self._workers: dict[str, tuple[float, int]] = {}  # when each began, in monotonic seconds, and its records

    def begin(self, worker: str) -> None:
        """Take note that a worker is ready."""
        self._workers.setdefault(worker, (time.monotonic(), 0))

    def rate(self, worker: str) -> float:
        """Return records per second of a worker since it began."""
        since, records = self._workers[worker]
        return records / max(time.monotonic() - since, 1e-6)

    def rates(self) -> dict[str, float]:
        """Return the records per second of each worker."""
        return {worker: self.rate(worker) for worker in self._workers}

    def advance(self, records: int, worker: str | None = None) -> None:
        """Count records, of a worker where one is named."""
        self.records += records
        if worker is not None:
            self.begin(worker)
            since, before = self._workers[worker]
            self._workers[worker] = since, before + records
        self._show(worker)

    def _show(self, worker: str | None) -> None:
        if time.monotonic() - self._shown > PLAIN_LINE_SECONDS:
            self._shown = time.monotonic()
            rates = ", ".join(f"{name} {rate:.0f}/s" for name, rate in self.rates().items())
            say(f"{self.records} records called" + (f"; {rates}" if rates else ""))


class _Bars(Counter):
    """A bar for the run, and a line for each worker."""

    def __init__(self, bars: Progress) -> None:
        super().__init__()
        self._bars, self._lines = bars, {"": bars.add_task("records", total=None)}

    def _line(self, worker: str) -> TaskID:
        if worker not in self._lines:
            self._lines[worker] = self._bars.add_task(worker, total=None)
        return self._lines[worker]

    def _show(self, worker: str | None) -> None:
        self._bars.update(self._line(""), completed=self.records)
        if worker is not None and (worker in self._lines or len(self._lines) <= MOST_LINES):
            self._bars.update(
                self._line(worker),
                completed=self._workers[worker][1],
                description=f"{worker} {self.rate(worker):.0f}/s",
            )


@contextmanager
def shown_progress() -> Iterator[Counter]:
    """Give a counter that shows itself."""
    if not (sys.stderr.isatty() and may_speak()):
        yield Counter()
        return
    columns = (
        SpinnerColumn(), BarColumn(), TextColumn("{task.completed:,} records"), TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bars(bars)
