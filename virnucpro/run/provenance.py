"""Describe the inputs of a run for run.json, and compare two runs."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from virnucpro.errors import ConfigError
from virnucpro.run.units import Content

logger = logging.getLogger(__name__)

_END_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class InputFile:
    """An input: size, SHA-256 of its first and last 64 KiB, inode and times; all None if it is not a regular file.

    Size, inode and times show, without reading the file, that it has not been written since.
    """

    path: str
    bytes: int | None = None
    sha256_of_ends: str | None = None
    inode: int | None = None
    modified_ns: int | None = None
    changed_ns: int | None = None

    @classmethod
    def describe(cls, path: str) -> InputFile:
        """Describe an input."""
        if not os.path.isfile(path):
            return cls(path)
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno())
                ends = file.read(_END_BYTES)
                file.seek(max(found.st_size - _END_BYTES, 0))
                ends += file.read(_END_BYTES)
        except OSError:  # the reader reports it
            return cls(path)
        return cls(path, found.st_size, hashlib.sha256(ends).hexdigest(), *_inode_and_times(found))

    @property
    def identity(self) -> tuple[int | None, ...]:
        return self.bytes, self.inode, self.modified_ns, self.changed_ns

    def after_reading(self) -> InputFile:
        """Return the description at the end of a run; warn if the file has changed since its beginning.

        A changed file loses inode and times, so that no later run takes it for the file that was read.
        """
        if self.inode is None:
            return self
        now: tuple[int | None, ...] | None = None
        try:
            found = os.stat(self.path)
            if stat.S_ISREG(found.st_mode):
                now = (found.st_size, *_inode_and_times(found))
        except (OSError, ValueError):
            pass
        if now == self.identity:
            return self
        logger.warning("%s changed while it was read; the results are of the content that was read", self.path)
        return replace(self, inode=None, modified_ns=None, changed_ns=None)


def _inode_and_times(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def input_paths(inputs: Sequence[InputFile] | None) -> list[str | None]:
    """Return the paths of the inputs, None for a stream."""
    return [None if one.bytes is None else one.path for one in inputs or ()]


def are_untouched(before: Sequence[InputFile] | None, now: Sequence[InputFile]) -> bool:
    """Return whether the inputs are certainly the files of an earlier run, by size, ends, inode and times."""
    return (
        before is not None
        and len(before) == len(now)
        and all(
            new.inode is not None and (old.identity, old.sha256_of_ends) == (new.identity, new.sha256_of_ends)
            for old, new in zip(before, now, strict=True)
        )
    )


def fingerprint_inputs(inputs: Sequence[InputFile]) -> dict[str, Any]:
    """Return the number of inputs and their sizes and ends, by name."""
    values: dict[str, Any] = {"number of inputs": len(inputs)}
    for number, found in enumerate(inputs, start=1):
        values[f"size of input {number} in bytes"] = found.bytes
        values[f"SHA-256 of the ends of input {number}"] = found.sha256_of_ends
    return values


def require_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare two fingerprints.

    Raises:
        ConfigError: they differ; the message names every difference with both values.
    """
    if changes := differences(before, now):
        raise ConfigError(f"the earlier run is another one: {changes}; use --restart to begin again")


def require_same_content(before: Content, now: Content) -> None:
    """Compare the records of an earlier run with those that are given now.

    Raises:
        ConfigError: they differ.
    """
    require_same(before.named(), now.named())


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the differences of two fingerprints in words, "" if they are equal."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in names)
