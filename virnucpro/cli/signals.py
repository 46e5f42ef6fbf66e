"""Turn SIGTERM and Ctrl-C into an error that says how to continue."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from virnucpro.errors import StoppedError

# 75 is EX_TEMPFAIL: a batch system may start the command again. 130 is the code of shells for Ctrl-C.
EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}
# A signal that comes where an error would be lost is deferred; poll until the code there has ended.
_AGAIN_SECONDS = 0.05
# An error that was raised and is gone after this time was dropped by other code, and is raised again.
_DROPPED_SECONDS = 0.5
# An error during an import can leave a module half initialised; Ray logs one and raises another in its place.
_NOT_IN_FILES = ("<frozen importlib._bootstrap>", "ray/_private/serialization.py")


@contextmanager
def stoppable(advice: str | Callable[[], str] = "run it again with --resume to continue") -> Iterator[None]:
    """Raise StoppedError in the block when SIGTERM or SIGINT arrives; restore the earlier handlers after it.

    `advice`, or a function that returns it when the signal has arrived, ends the message. The program then ends soon;
    a second Ctrl-C ends it at once and loses nothing more.
    """

    arrived: list[int] = []
    raised: list[StoppedError] = []

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # batch systems may send it again
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        arrived.append(number)
        if _would_be_lost(frame):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
            return
        signal.setitimer(signal.ITIMER_REAL, _DROPPED_SECONDS)
        if raised and sys.exc_info()[1] is not None:
            return  # the block is being left
        raised.append(stopped())
        raise raised[-1]

    def stopped() -> StoppedError:
        which = signal.Signals(arrived[0])
        remedy = advice if isinstance(advice, str) else advice()
        return StoppedError(f"stopped by {which.name}; {remedy}", EXIT_CODES[which])

    before = {number: signal.signal(number, stop) for number in (*EXIT_CODES, signal.SIGALRM)}
    try:
        yield
    except Exception as error:
        if not arrived or isinstance(error, StoppedError):
            raise
        raise stopped() from error  # compiled code turned it into another error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _would_be_lost(frame: FrameType | None) -> bool:
    """Return whether an error raised in this frame would not reach `stoppable` as it is.

    Such frames are those of an import, of Ray reading an answer, and of `__del__`, whose errors Python only prints.
    """
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename.endswith(_NOT_IN_FILES):
            return True
        frame = frame.f_back
    return False
