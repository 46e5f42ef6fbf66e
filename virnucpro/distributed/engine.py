"""The engine of `predict --engine ray`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from virnucpro import __version__
from virnucpro.distributed.cluster import Scale, connected, import_ray, make_plan
from virnucpro.distributed.workers import Workers
from virnucpro.models.registry import check_model
from virnucpro.pipeline.engine import Engine, OpenEngine, require_legacy
from virnucpro.pipeline.predict import Options
from virnucpro.pipeline.progress import Counter, say
from virnucpro.pipeline.run import Request
from virnucpro.pipeline.run_directory import RunDirectory
from virnucpro.pipeline.tally import Tally
from virnucpro.pipeline.units import Unit


class RayEngine:
    """The workers of a run."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.told: dict[str, Any] = workers.told

    def score(
        self, units: Iterator[Unit], directory: RunDirectory, begin: Callable[[], None], counter: Counter
    ) -> Iterator[Tally]:
        begin()
        yield from self._workers.do(units, counter)

    def closing(self) -> dict[str, Any]:
        return self._workers.summary()


def open_ray(scale: Scale) -> OpenEngine:
    """Return what opens the engine on a cluster of that scale."""

    @contextmanager
    def opened(request: Request) -> Iterator[Engine]:
        directory, description = check_model(request.model)  # once, before any worker starts
        if request.legacy_output:
            require_legacy(description, request.model)
        same = {f"SHA-256 of {name}": checksum for name, checksum in description.checksums.items()}
        settings = {
            "job": "predict", "model": str(directory.resolve()), "legacy": request.legacy_output,
            "output": str(request.output.resolve() if request.output else ""),
        }  # fmt: skip
        with started(scale, request.options, settings, same) as workers:
            yield RayEngine(workers)

    return opened


@contextmanager
def started(scale: Scale, options: Options, settings: dict[str, Any], same: dict[str, Any]) -> Iterator[Workers]:
    """Give workers for a job, ready to be handed units."""
    with connected(scale):
        nodes = [node["Resources"] for node in import_ray().nodes() if node["Alive"]]
        plan = make_plan(scale, options, nodes)
        say(f"Ray starts {plan}")
        mine = asdict(replace(options, device=plan.device, threads=plan.cpus))
        level = logging.getLogger().getEffectiveLevel()
        with Workers({**settings, "virnucpro": __version__, "options": mine, "level": level}, plan, same) as workers:
            yield workers
