"""What a run says while it works: progress with rate and time left, and a closing summary."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from virnucpro.pipeline.tally import Tally
from virnucpro.seq import read_records
from virnucpro.seq.reader import SequenceFile
from virnucpro.types import Record, Status

logger = logging.getLogger("virnucpro")

# What is said rather than warned of; only --quiet hides it.
NOTICE = 35
logging.addLevelName(NOTICE, "NOTICE")
# Off a terminal, a plain line every so many seconds stands in for the progress bar.
PLAIN_LINE_SECONDS = 30.0
_RECORDS_A_LOOK = 64


class Source:
    """The records of input files, read once, and how many there may be. Any thread may ask while one reads."""

    def __init__(self, names: Sequence[str]) -> None:
        self.files = [SequenceFile(name) for name in names]
        sizes = [file.size for file in self.files]
        self.bytes = None if None in sizes else sum(size or 0 for size in sizes)
        self.records, self.position, self.at_end = 0, 0, False

    def __iter__(self) -> Iterator[Record]:
        return self.count(read_records(self.files))

    def count(self, records: Iterator[Record]) -> Iterator[Record]:
        """Yield records that are read from the files, and take note of how far reading has come."""
        for record in records:
            self.records += 1
            if self.bytes is not None and self.records % _RECORDS_A_LOOK == 0:
                self.position = sum(file.position for file in self.files)
            yield record
        self.at_end = True

    def total(self) -> int | None:
        """Return how many records there are: counted at the end, before it estimated, None of a stream."""
        if self.at_end:
            return self.records
        if not self.bytes or not self.position:
            return None
        return max(self.records, round(self.records * self.bytes / self.position))


def say(message: str, event: str = "message", **fields: object) -> None:
    """Say something on stderr; with --json-log `event` and `fields` tell it to programs."""
    logger.log(NOTICE, message, extra={"event": event, "fields": fields})


def in_words(seconds: float) -> str:
    """Return a time for people.

    >>> in_words(0.8), in_words(95), in_words(7300)
    ('0.8 s', '1 min 35 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Pace:
    """How many records a second are done, without those kept of an earlier run, and when all will be."""

    def __init__(self, source: Source) -> None:
        self.source, self.begin = source, time.monotonic()
        self.done = self.new = 0

    def advance(self, records: int, new: bool = True) -> None:
        self.done += records
        self.new += records if new else 0

    @property
    def rate(self) -> float:
        return self.new / max(time.monotonic() - self.begin, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds that are left, None where that cannot be known."""
        total = self.source.total()
        return None if total is None or not self.new else (total - self.done) / self.rate

    def words(self) -> str:
        left = "" if self.left is None else f", about {in_words(self.left)} left"
        return f"{self.rate:,.0f} records/s{left}" if self.new else "reading"


Advance = Callable[..., None]


@contextmanager
def progress(source: Source) -> Iterator[Advance]:
    """Give a function that is told of records as they are done: a bar on a terminal, plain lines elsewhere."""
    pace, shown = Pace(source), time.monotonic()
    if sys.stderr.isatty() and logger.isEnabledFor(NOTICE) and not writes_json():
        columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.completed:,.0f} records, {task.fields[pace]}"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("records", total=None, pace="reading")

            def draw(records: int, new: bool = True) -> None:
                pace.advance(records, new)
                bar.update(task, completed=pace.done, total=source.total(), pace=pace.words())

            yield draw
        return

    def tell(records: int, new: bool = True) -> None:
        nonlocal shown
        pace.advance(records, new)
        if time.monotonic() - shown > PLAIN_LINE_SECONDS:
            shown = time.monotonic()
            counts = {"records": pace.done, "records_per_second": round(pace.rate, 3), "seconds_left": pace.left}
            say(f"{pace.done:,} records called, {pace.words()}", "progress", **counts)

    yield tell


def writes_json() -> bool:
    """Tell whether --json-log was asked for."""
    return any(getattr(handler.formatter, "json_lines", False) for handler in logging.getLogger().handlers)


def summarise(tally: Tally, repeated: int, seconds: float, where: str) -> None:
    """Say what came of a run; `repeated` records repeat an id, `where` tells of the files."""
    if repeated:
        logger.warning("%d records repeat an id; each has its own row, in input order", repeated)
    other = tally.status[Status.OK.value] - tally.viral
    dropped = {status: n for status, n in sorted(tally.status.items()) if n and status != Status.OK.value}
    line = f"{tally.records} records: {tally.viral} virus, {other} other"
    line += f", not called: {', '.join(f'{n} {status}' for status, n in dropped.items())}" if dropped else ""
    counts = {"records": tally.records, "virus": tally.viral, "other": other, "not_called": dropped}
    say(f"{line}; {in_words(seconds)}{where}", "summary", **counts, seconds=round(seconds, 3))
