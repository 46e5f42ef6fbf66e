"""Atomic files, the lock of a directory, JSON and digests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from virnucpro.errors import OutputError, VirnucproError

logger = logging.getLogger(__name__)

LOCK = ".lock"
_HOST = re.sub(r"\W", "_", platform.node())
_NUMBERS = count()
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\w*-\d+-\d+\.tmp")


def fingerprint(values: Any) -> str:
    """Return the SHA-256 of a value as canonical JSON (sorted keys, no white space)."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path that is renamed to `path` when the block succeeds, and removed when it fails.

    The name contains the host, the process and a number, so that several writers of one file never collide.

    Raises:
        OutputError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{next(_NUMBERS)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path} cannot be written: {reason}; make room there or choose another --output") from error
    finally:
        with suppress(OSError):  # report the earlier error, not this one
            temporary.unlink()


def is_temporary(name: str) -> bool:
    """Return whether this is the name of a temporary file of `atomic_path`."""
    return _TEMPORARY.fullmatch(name) is not None


def leftovers(directory: Path, names: re.Pattern[str]) -> list[Path]:
    """Return the temporary files that killed processes have left in a directory for files of these names."""
    found = ((path, _TEMPORARY.fullmatch(path.name)) for path in directory.iterdir())
    return [path for path, match in found if match and names.fullmatch(match["name"])]


def sync(path: Path) -> None:
    """Flush a file, or the renames in a directory, to disk, so that a power cut does not lose them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_writer(path: Path) -> Iterator[TextIO]:
    """Open a text file by `atomic_path`."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file,
    ):
        yield file


@contextmanager
def usable(directory: Path) -> Iterator[None]:
    """Turn an OSError of the block into an OutputError about `directory`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{directory} cannot be used: {error.strerror}; choose another --output") from error
    except ValueError as error:  # a NUL character, or one that the encoding of file names lacks
        if isinstance(error, VirnucproError):
            raise
        raise OutputError(f"{str(directory)!a} cannot be used: {error}; choose another --output") from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    with atomic_writer(path) as file:
        file.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


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
            path.unlink()  # while it is held: a process that has opened it then sees that it is gone, see _lock
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
            logger.warning("%s cannot be locked (%s): run only one command there at a time", path, error.strerror)
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its last holder has removed the file
