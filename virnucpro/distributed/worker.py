"""The worker on a node: a process that loads a model and does the units it is given.

Nothing here imports torch before `prepare_for_torch`. An order has plain values, so that a node with another
version of this package can read it and report the difference.
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
    """The order to a worker: the driver's version of this package, its log level, and a pickled task."""

    version: str
    level: int
    task: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's reply for a unit: the counts of the unit, and the worker's recoveries and busy time in total."""

    counts: Any
    process: str
    recovered: dict[str, int]
    busy: float  # seconds during which at least one unit was in work


def open_task(order: Order) -> Any:
    """Open the task of an order: load its model on the local device.

    Raises:
        VirnucproError: this node cannot do the task.
    """
    if order.version != __version__:
        raise ConfigError(
            f"this node has virnucpro {__version__}, the driver {order.version}; install the same version"
        )
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=order.level, handlers=[handler], force=True)
    prepare_for_torch()
    task = pickle.loads(order.task)  # from our own driver, through Ray, which unpickles everything else here too
    directory = task.directory()
    if not (directory.path / LOCK).exists():
        raise OutputError(
            f"this node has no {directory.path}; use a run directory on a file system that all nodes share"
        )
    return task.open(directory)


class Worker:
    """A Ray actor: `start` returns its setup or raises why it cannot work; `do` may run in several threads."""

    def __init__(self, order: Order) -> None:
        self.process = f"{platform.node()}-{os.getpid()}"
        self._task: Any
        try:
            self._task = open_task(order)
        except VirnucproError as error:  # raised later by `start`; raised here, Ray would turn it into text
            self._task = type(error)(f"the worker on {platform.node()}: {error}", *error.args[1:])
        self._lock = threading.Lock()
        self._at_work, self._since, self._busy = 0, 0.0, 0.0

    @property
    def task(self) -> Any:
        """The open task.

        Raises:
            VirnucproError: it could not be opened.
        """
        if isinstance(self._task, VirnucproError):
            raise self._task
        return self._task

    def start(self) -> tuple[str, Any, dict[str, Any]]:
        """Return the name of this process, the setup of its task, and the values that all workers must share.

        Raises:
            VirnucproError: this worker cannot work.
        """
        return self.process, self.task.setup, self.task.same

    def do(self, unit: Unit, expected: str) -> Reply:
        """Do a unit, if the values that all workers must share have the expected fingerprint."""
        if fingerprint(self.task.same) != expected:  # it was restarted on a node that was not yet checked
            raise ConfigError(f"the worker on {platform.node()} differs from the first worker; use nodes of one kind")
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
