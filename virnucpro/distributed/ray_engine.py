"""The runner of `--engine ray`: workers on the devices of a Ray cluster."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from virnucpro import __version__
from virnucpro.distributed.cluster import Scale, connected, import_ray, make_plan
from virnucpro.distributed.worker import Order
from virnucpro.distributed.workers import Workers
from virnucpro.run.directory import Directory
from virnucpro.run.progress import say
from virnucpro.run.run import OpenRunner
from virnucpro.run.runner import Runner
from virnucpro.run.tally import C
from virnucpro.run.task import Task


def open_ray(scale: Scale) -> OpenRunner[C]:
    """Return a function that opens the runner of a task on a cluster of this scale."""

    @contextmanager
    def opened(task: Task[C], directory: Directory) -> Iterator[Runner[C]]:
        checked, same = task.checked()  # once, before any worker starts
        with connected(scale):
            nodes = [node["Resources"] for node in import_ray().nodes() if node["Alive"]]
            plan = make_plan(scale, task.options, nodes)
            say(f"Ray starts {plan}")
            placed = checked.on(plan.device, plan.cpus)
            order = Order(__version__, logging.getLogger().getEffectiveLevel(), pickle.dumps(placed))
            with Workers(order, plan, same, directory, task.units_at_a_time) as workers:
                yield workers

    return opened
