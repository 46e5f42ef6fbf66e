"""Progress of a function of the library, on a terminal or in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from threading import Timer

from rich.console import Console
from rich.errors import LiveError

from virnucpro.run.progress import Bars, Counter, progress_bars
from virnucpro.seq.source import Source

# Unless it was asked for, a bar appears after so many seconds.
DELAY = 1.0


class SilentCounter(Counter):
    """Counts and says nothing."""

    def _show(self, worker: str | None) -> None:
        pass


@contextmanager
def shown(source: Source | None, progress: bool | None, unit: str = "records") -> Iterator[Counter]:
    """Give a counter that shows itself as `progress` says.

    True shows a bar at once, off a terminal a plain line every half a minute; False nothing; None a bar on a terminal
    or in a notebook, if the job takes more than a second.
    """
    console = Console(stderr=True)
    if console.is_jupyter:
        can_show = find_spec("ipywidgets") is not None or progress is True  # without it rich says what to install
    else:
        can_show = console.is_terminal
    if progress is False or not can_show:
        yield Counter(source, unit) if progress else SilentCounter(source, unit)
        return
    # What the caller prints in between goes above the bar, unless it goes to a file.
    bars = progress_bars(console, unit, redirect_stdout=console.is_jupyter or sys.stdout.isatty())

    def start() -> None:
        with suppress(LiveError):  # the caller shows bars of its own
            bars.start()

    timer = Timer(0.0 if progress else DELAY, start)
    timer.daemon = True
    timer.start()
    try:
        yield Bars(bars, source, unit)
    finally:
        timer.cancel()
        timer.join()
        bars.stop()
