"""What runs on the nodes: a process that holds a model and does the units it is handed.

Nothing here imports torch before `prepare_for_torch`, and the settings are plain values, so that a node with
another version of this package can say so.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from virnucpro import __version__
from virnucpro.environment import prepare_for_torch
from virnucpro.errors import ConfigError, OutputError, VirnucproError
from virnucpro.files import fingerprint
from virnucpro.printable import PrintableFormatter
from virnucpro.run.units import Unit


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker says of a unit: its counts; and in all, what was recovered and how long it worked."""

    counts: Any
    process: str
    recovered: dict[str, int]
    busy: float  # seconds in which at least one unit was at work


class Job(Protocol):
    """What a worker does with units: it has a model on its device and writes to the run directory."""

    told: dict[str, Any]
    same: dict[str, Any]  # what must be the same for all workers, by name

    def do(self, unit: Unit) -> Any:
        """Write the file of a unit and return its counts."""

    def recovered(self) -> dict[str, int]:
        """Return what had to be recovered from so far."""


def make_job(settings: dict[str, Any], writer: str) -> Job:
    """Load the model that the settings name, for the job that they name."""
    if settings["virnucpro"] != __version__:
        raise ConfigError(f"virnucpro {__version__} is here and {settings['virnucpro']} there; install one version")
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=settings["level"], handlers=[handler], force=True)
    prepare_for_torch()
    if not Path(settings["output"], ".lock").exists():
        raise OutputError(f"{settings['output']} is not here; the run directory must be on a file system of all nodes")
    from virnucpro.distributed.jobs import JOBS

    job: Job = JOBS[settings["job"]](settings, writer)
    return job


class Worker:
    """An actor: `start` says what it holds or why it cannot work; `do` may run in several threads."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.process = f"{platform.node()}-{os.getpid()}"
        self._job: Job | VirnucproError
        try:
            self._job = make_job(settings, f".{self.process}")
        except VirnucproError as error:  # raised by `start`: Ray would make a text of it here
            self._job = type(error)(f"the worker on {platform.node()}: {error}")
        self._lock = threading.Lock()
        self._at_work, self._since, self._busy = 0, 0.0, 0.0

    @property
    def job(self) -> Job:
        if isinstance(self._job, VirnucproError):
            raise self._job
        return self._job

    def start(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return the name of this process, what is told of its model, and what must be the same everywhere.

        Raises:
            VirnucproError: why it cannot work.
        """
        return self.process, self.job.told, self.job.same

    def do(self, unit: Unit, expected: str) -> Reply:
        """Do a unit, if what must be the same everywhere has the expected fingerprint."""
        if fingerprint(self.job.same) != expected:  # restarted elsewhere, and not looked at yet
            raise ConfigError(f"the worker on {platform.node()} differs from the first; use nodes of one kind")
        with self._lock:
            self._since = self._since if self._at_work else time.monotonic()
            self._at_work += 1
        try:
            counts = self.job.do(unit)
        finally:
            with self._lock:
                now = time.monotonic()
                self._busy, self._since = self._busy + now - self._since, now
                self._at_work -= 1
        return Reply(counts, self.process, self.job.recovered(), self._busy)
