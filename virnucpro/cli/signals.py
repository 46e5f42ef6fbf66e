"""SIGTERM and Ctrl-C as an error that says how to go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from virnucpro.errors import StoppedError

# 75 is EX_TEMPFAIL: a batch system may start the command again; 130 is what shells make of Ctrl-C.
EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}


@contextmanager
def stoppable(advice: str = "run it again with --resume to go on") -> Iterator[None]:
    """Raise StoppedError in the block when SIGTERM or SIGINT arrives; the handlers before are put back after.

    The program then ends within moments; a second Ctrl-C ends it at once, which loses nothing more.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # batch systems send it more than once
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        which = signal.Signals(number)
        raise StoppedError(f"stopped by {which.name}; {advice}", EXIT_CODES[which])

    before = {number: signal.signal(number, stop) for number in EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
