"""Replace the files of an earlier command: never an input, and only when all new files are complete."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from virnucpro.errors import ConfigError, OutputError
from virnucpro.files import LOCK, leftovers, locked, sync, usable

# The directory of new files until all of them are complete.
UNFINISHED = ".unfinished"

Name = str | os.PathLike[str]
_Identity = tuple[int, int]


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def _identities(inputs: Iterable[Name]) -> dict[_Identity, str]:
    """Return the inputs that are regular files, by device and inode; `-` is standard input."""
    found: dict[_Identity, str] = {}
    for name in inputs:
        with suppress(OSError, ValueError):  # the reader reports a file that cannot be accessed
            status = os.fstat(0) if os.fspath(name) == "-" else os.stat(name)
            if stat.S_ISREG(status.st_mode):
                found.setdefault(_identity(status), "standard input" if os.fspath(name) == "-" else os.fspath(name))
    return found


def refuse_inputs(inputs: Iterable[Name], outputs: Iterable[Path]) -> None:
    """Check that no output is an input, also by way of a link.

    Raises:
        ConfigError: an output is an input.
    """
    given = _identities(inputs)
    for output in outputs if given else ():
        with suppress(OSError):
            if (name := given.get(_identity(output.stat()))) is not None:
                raise ConfigError(f"{name} is an input and would be replaced; choose another --output")


def refuse_directory(source: Path, output: Path) -> None:
    """Check that the output directory is not the one whose files are read.

    Raises:
        ConfigError: they are the same.
    """
    with suppress(OSError):
        if output.samefile(source):
            raise ConfigError(f"{source} is an input and would be replaced; choose another --output")


def refuse_stdout(inputs: Iterable[Name]) -> None:
    """Check that standard output does not go into an input, as with `>> input`.

    Raises:
        ConfigError: it does.
    """
    with suppress(OSError):  # standard output is closed
        if (name := _identities(inputs).get(_identity(os.fstat(1)))) is not None:
            raise ConfigError(f"standard output goes into {name}, which is an input; send it to another file")


def any_of(names: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches these file names."""
    return re.compile("|".join(map(re.escape, names)))


@contextmanager
def replaced_files(
    directory: Path, restart: bool, inputs: Iterable[Name], own: re.Pattern[str], remove: bool = True
) -> Iterator[Path]:
    """Give an empty directory for new files, all of which move into `directory` when the block succeeds.

    Until then `directory` stays as it was, except for its lock; if the block fails, nothing changes.

    Args:
        directory: created if it does not exist, and locked.
        restart: accept a directory with files in it.
        inputs: files that must not be replaced.
        own: matches the name of each file that the command may write.
        remove: also remove earlier files of these names that were not written again.

    Raises:
        OutputError: the directory has files in it and `restart` is not set, another command works in it, or it
            cannot be used.
        ConfigError: an input would be replaced.
    """
    unfinished = directory / UNFINISHED
    with locked(directory):
        with usable(directory):
            present = sorted(path.name for path in directory.iterdir() if path.name not in (LOCK, UNFINISHED))
            if present and not restart:
                raise OutputError(
                    f"{directory} is not empty; use --restart to replace its files, or choose another --output"
                )
            replaced = [directory / name for name in present if own.fullmatch(name)]
            refuse_inputs(inputs, [*replaced, *leftovers(directory, own)])
            _discard(unfinished)  # left by a killed command
            unfinished.mkdir()
        try:
            yield unfinished
            _move(unfinished, directory, own if remove else None)
        finally:
            _discard(unfinished)


def _move(source: Path, directory: Path, own: re.Pattern[str] | None) -> None:
    """Move all files of `source` into `directory`, and remove others that match `own`."""
    with usable(directory):
        # Tables first: files named after records count as ours only beside a table, see `virnucpro scan`.
        names = sorted((path.name for path in source.iterdir()), reverse=True)
        for name in names:
            if (directory / name).is_dir():
                raise OutputError(f"{directory / name} is a directory, but must be a file; choose another --output")
            sync(source / name)
        for name in names:
            (source / name).replace(directory / name)
        if own is not None:
            for path in list(directory.iterdir()):
                if own.fullmatch(path.name) and path.name not in names and (path.is_file() or path.is_symlink()):
                    path.unlink()
            for path in leftovers(directory, own):
                path.unlink()
        sync(directory)


def _discard(directory: Path) -> None:
    """Remove a directory of unfinished files."""
    if directory.is_symlink():
        directory.unlink()  # a link is not ours; its target stays
    shutil.rmtree(directory, ignore_errors=True)
