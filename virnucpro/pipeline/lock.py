"""The lock of an output directory: one command at a time works there."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from virnucpro.errors import OutputError
from virnucpro.pipeline.outputs import usable

logger = logging.getLogger(__name__)

LOCK = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make a directory and keep other commands out of it while the block runs.

    Raises:
        OutputError: another command has the lock, or the directory cannot be made or written.
    """
    path = directory / LOCK
    with usable(directory):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path)
    if descriptor is None:
        raise OutputError(f"another run works in {directory}; wait for it, or choose another --output")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: whoever opened it before finds that it is gone, see _lock
        os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock file, None if another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s cannot be locked (%s): see to it that one run alone works there", path, error.strerror)
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its last holder removed the file in the meantime
