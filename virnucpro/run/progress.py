"""Messages of a run: progress with rate and remaining time, and a closing summary."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from virnucpro.printable import printable
from virnucpro.run.tally import Tally
from virnucpro.scores.composition import Composition
from virnucpro.types import Status
from virnucpro.words import counted

logger = logging.getLogger("virnucpro")

# The level of ordinary messages, which only --quiet hides.
NOTICE = 35
logging.addLevelName(NOTICE, "NOTICE")
# Seconds between lines of progress, which replace the progress bar if stderr is not a terminal.
PLAIN_LINE_SECONDS = 30.0
# The maximum number of workers with a line of their own on a terminal.
MAX_LINES = 16


def say(*parts: str, event: str = "message", **fields: object) -> None:
    """Print a message on stderr, on a terminal with one line per part; `event` and `fields` are for --json-log."""
    logger.log(NOTICE, "%s", "; ".join(parts), extra={"event": event, "fields": fields, "parts": parts})


def in_words(seconds: float) -> str:
    """Return a duration in words.

    >>> in_words(0.8), in_words(95), in_words(7300)
    ('0.8 s', '1 min 35 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def in_precision(precision: str, device: str) -> str:
    """Return in which precision and on which device scores were computed, in words.

    >>> in_precision("bf16", "cpu")
    'in bf16 on cpu'
    """
    return f"in {precision} on {device}"


class HasTotal(Protocol):
    """What knows how many records there are, such as a `Source`."""

    def total(self) -> int | None:
        """Return their number, None if it is unknown."""


class Counter:
    """Counts finished records and their rate, in total and for each worker.

    Records kept from an earlier run are not `new` and do not count for the rate.
    """

    def __init__(self, source: HasTotal | None = None, unit: str = "records") -> None:
        self.source, self.unit, self.began = source, unit, time.monotonic()
        self.records = self.new = 0
        self._said = self.began
        self._workers: dict[str, tuple[float, int]] = {}  # monotonic seconds when it became ready, and its records

    def advance(self, records: int, worker: str | None = None, ready: float | None = None, new: bool = True) -> None:
        """Count records, also for a named worker, which is `ready` since then (monotonic seconds; None: the start)."""
        self.records += records
        self.new += records if new else 0
        if worker is not None:
            since, before = self._workers.get(worker, (self.began if ready is None else ready, 0))
            self._workers[worker] = since, before + records
        self._show(worker)

    @property
    def total(self) -> int | None:
        """The number of records, None if unknown."""
        return None if self.source is None else self.source.total()

    @property
    def pace(self) -> float:
        """Records per second."""
        return self.new / max(time.monotonic() - self.began, 1e-9)

    @property
    def left(self) -> float | None:
        """The remaining seconds, None if unknown."""
        return None if self.total is None or not self.new else (self.total - self.records) / self.pace

    def rate(self, worker: str) -> float:
        """Return the records per second of a worker since it became ready."""
        since, records = self._workers[worker]
        return records / max(time.monotonic() - since, 1e-6)

    def rates(self) -> dict[str, float]:
        """Return the records per second of each worker."""
        return {worker: self.rate(worker) for worker in self._workers}

    def words(self) -> str:
        """Return rate and remaining time in words."""
        left = "" if self.left is None else f", about {in_words(self.left)} left"
        pace = f"{self.pace:,.0f}" if self.pace >= 10 else f"{self.pace:.1f}"
        return f"{pace} {self.unit}/s{left}" if self.new else "reading"

    def _show(self, worker: str | None) -> None:
        if time.monotonic() - self._said > PLAIN_LINE_SECONDS:
            self._said = time.monotonic()
            rates = "".join(f"; {name} {rate:.0f}/s" for name, rate in self.rates().items())
            pace = {f"{self.unit}_per_second": round(self.pace, 3), "seconds_left": self.left}
            counts: dict[str, object] = {self.unit: self.records, **pace}
            say(f"{counted(self.records, self.unit)} done, {self.words()}{rates}", event="progress", **counts)


class Bars(Counter):
    """A bar for the run, and a line for each worker."""

    def __init__(self, bars: Progress, source: HasTotal | None, unit: str) -> None:
        super().__init__(source, unit)
        self._bars, self._lines = bars, {"": bars.add_task(unit, total=None, words="reading")}

    def _show(self, worker: str | None) -> None:
        self._bars.update(self._lines[""], completed=self.records, total=self.total, words=self.words())
        if worker is None or (worker not in self._lines and len(self._lines) > MAX_LINES):
            return
        if worker not in self._lines:
            self._lines[worker] = self._bars.add_task(worker, total=None, words="")
        words = printable(f"{worker} {self.rate(worker):.0f}/s")
        self._bars.update(self._lines[worker], completed=self._workers[worker][1], words=words)


@contextmanager
def shown_progress(source: HasTotal | None = None, unit: str = "records") -> Iterator[Counter]:
    """Give a counter that shows its progress: as bars on a terminal, otherwise as plain lines."""
    if not sys.stderr.isatty() or not logger.isEnabledFor(NOTICE) or writes_json():
        yield Counter(source, unit)
        return
    with progress_bars(Console(stderr=True), unit) as bars:
        yield Bars(bars, source, unit)


def progress_bars(console: Console, unit: str, redirect_stdout: bool = True) -> Progress:
    """Return bars that count `unit`, which vanish when they are stopped."""
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}} {unit}, {{task.fields[words]}}", markup=False),
    )
    return Progress(*columns, console=console, transient=True, redirect_stdout=redirect_stdout)


def writes_json() -> bool:
    """Return whether --json-log is set."""
    return any(getattr(handler.formatter, "json_lines", False) for handler in logging.getLogger().handlers)


def summarise(
    tally: Tally,
    repeated: int,
    seconds: float,
    composition: Composition | None,
    *where: str,
    unit: str = "records",
    computed: str = "",
) -> None:
    """Print the summary of a run of records or pairs; `repeated` of them repeat an id, `where` names the files,
    `computed` the precision and device, which may change the last digits of scores.

    On a terminal it has several lines, otherwise one.
    """
    if repeated:
        verb = "repeats" if repeated == 1 else "repeat"
        logger.warning("%s %s an id; each has its own row, in input order", counted(repeated, unit), verb)
    called = (Status.OK.value, Status.SCREENED.value)
    dropped = {status: n for status, n in sorted(tally.status.items()) if n and status not in called}
    line = f"{counted(tally.records, unit)}: {tally.viral:,} virus, {tally.other:,} other"
    line += f" ({tally.screened:,} screened out)" if tally.screened else ""
    line += f", not called: {', '.join(f'{n:,} {status}' for status, n in dropped.items())}" if dropped else ""
    parts = [line]
    counts: dict[str, object] = {"records": tally.records, "virus": tally.viral, "other": tally.other}
    counts |= {"not_called": dropped, **({"screened": tally.screened} if tally.screened else {})}
    if tally.ambiguous:
        parts.append(f"N or other ambiguous letters in {tally.ambiguous:,} of them")
    if tally.trimmed:
        parts.append(f"homopolymer ends trimmed from {tally.trimmed:,}")
    counts |= {"ambiguous": tally.ambiguous, "trimmed": tally.trimmed}
    if composition is not None:
        parts.append(f"estimated share of virus {composition.prevalence:.2%}{_in_doubt(composition)}")
        counts["prevalence"] = round(composition.prevalence, 6)
    parts += [f"{in_words(seconds)} {computed}".rstrip(), *where]
    say(*parts, event="summary", **counts, seconds=round(seconds, 3))


def _in_doubt(composition: Composition) -> str:
    if composition.interval is None:
        return ""
    if composition.may_be_none:
        return f" (0-{composition.interval[1]:.1%}: cannot be distinguished from zero)"
    return f" ({composition.interval[0]:.1%}-{composition.interval[1]:.1%})"
