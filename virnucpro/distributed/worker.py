"""What runs on the nodes: a process that holds a model and does the units it is handed.

Nothing here imports torch before `prepare_for_torch`, and an order has plain values, so that a node with another
version of this package can say so.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import threading
import time
from dataclasses import dataclass
from typing import Any

from virnucpro import __version__
from virnucpro.environment import prepare_for_torch
from virnucpro.errors import ConfigError, OutputError, VirnucproError
from virnucpro.files import LOCK, fingerprint
from virnucpro.printable import PrintableFormatter
from virnucpro.run.units import Unit


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is asked to do: the driver's version of this package and level of messages, and a pickled task."""

    version: str
    level: int
    task: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker says of a unit: its counts; and in all, what was recovered and how long it worked."""

    counts: Any
    process: str
    recovered: dict[str, int]
    busy: float  # seconds in which at least one unit was at work


def open_task(order: Order) -> Any:
    """Open the task of an order: load its model on the device here.

    Raises:
        VirnucproError: why it cannot be done here.
    """
    if order.version != __version__:
        raise ConfigError(f"virnucpro {__version__} is here and {order.version} there; install one version")
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=order.level, handlers=[handler], force=True)
    prepare_for_torch()
    task = pickle.loads(order.task)  # of our own driver, by way of Ray, which unpickles all else here, too
    directory = task.directory()
    if not (directory.path / LOCK).exists():
        raise OutputError(f"{directory.path} is not here; the run directory must be on a file system of all nodes")
    return task.open(directory)


class Worker:
    """An actor: `start` says what it holds or why it cannot work; `do` may run in several threads."""

    def __init__(self, order: Order) -> None:
        self.process = f"{platform.node()}-{os.getpid()}"
        self._task: Any
        try:
            self._task = open_task(order)
        except VirnucproError as error:  # raised by `start`: Ray would make a text of it here
            self._task = type(error)(f"the worker on {platform.node()}: {error}", *error.args[1:])
        self._lock = threading.Lock()
        self._at_work, self._since, self._busy = 0, 0.0, 0.0

    @property
    def task(self) -> Any:
        """The open task.

        Raises:
            VirnucproError: why it could not be opened.
        """
        if isinstance(self._task, VirnucproError):
            raise self._task
        return self._task

    def start(self) -> tuple[str, Any, dict[str, Any]]:
        """Return the name of this process, the setup of its task, and what must be the same everywhere.

        Raises:
            VirnucproError: why it cannot work.
        """
        return self.process, self.task.setup, self.task.same

    def do(self, unit: Unit, expected: str) -> Reply:
        """Do a unit, if what must be the same everywhere has the expected fingerprint."""
        if fingerprint(self.task.same) != expected:  # restarted elsewhere, and not looked at yet
            raise ConfigError(f"the worker on {platform.node()} differs from the first; use nodes of one kind")
        with self._lock:
            self._since = self._since if self._at_work else time.monotonic()
            self._at_work += 1
        try:
            counts = self.task.do(unit)
        finally:
            with self._lock:
                now = time.monotonic()
                self._busy, self._since = self._busy + now - self._since, now
                self._at_work -= 1
        return Reply(counts, self.process, self.task.recovered(), self._busy)
