"""The engine of `predict` and `embed` with `--engine ray`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from virnucpro import __version__
from virnucpro.config import ComputeOptions
from virnucpro.distributed.cluster import Scale, connected, import_ray, make_plan
from virnucpro.distributed.workers import Workers
from virnucpro.pretrained.registry import check_encoder, check_model
from virnucpro.run.directory import RunDirectory
from virnucpro.run.embed import EmbedRequest, OpenEmbedding
from virnucpro.run.engine import Engine, OpenEngine, require_legacy
from virnucpro.run.progress import Counter, say
from virnucpro.run.request import Request
from virnucpro.run.units import Unit


class RayEngine:
    """The workers of a run."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.told: dict[str, Any] = workers.told

    def score(
        self, units: Iterator[Unit], directory: RunDirectory, begin: Callable[[], None], counter: Counter
    ) -> Iterator[Any]:
        begin()
        yield from self._workers.do(units, counter)

    def closing(self) -> dict[str, Any]:
        return self._workers.summary()


def open_ray(scale: Scale) -> OpenEngine:
    """Return what opens the engine of `predict` on a cluster of that scale."""

    @contextmanager
    def opened(request: Request) -> Iterator[Engine]:
        directory, description = check_model(request.model)  # once, before any worker starts
        if request.legacy_output:
            require_legacy(description, request.model)
        same = {f"SHA-256 of {name}": checksum for name, checksum in description.checksums.items()}
        settings = {"job": "predict", "model": str(directory.resolve()), "legacy": request.legacy_output}
        settings["paired"] = request.in_pairs
        output = request.output or Path()  # which `predict` asks for
        with started(scale, request.options, output, settings, same) as workers:
            yield RayEngine(workers)

    return opened


def open_ray_embedding(scale: Scale) -> OpenEmbedding:
    """Return what opens the engine of `embed` on a cluster of that scale."""

    @contextmanager
    def opened(request: EmbedRequest) -> Iterator[Engine]:
        directory, description, kind = check_encoder(request.model, request.kind)
        same = {"SHA-256 of the weights": description.checksums[f"{kind}.safetensors"]}
        asked = {name: getattr(request, name) for name in ("layer", "per_residue", "max_length", "long")}
        settings = {"job": "embed", "model": str(directory.resolve()), "request": {**asked, "kind": kind}}
        with started(scale, request.options, request.output, settings, same) as workers:
            yield RayEngine(workers)

    return opened


@contextmanager
def started(
    scale: Scale, options: ComputeOptions, output: Path, settings: dict[str, Any], same: dict[str, Any]
) -> Iterator[Workers]:
    """Give workers for a job, ready to be handed units."""
    with connected(scale):
        nodes = [node["Resources"] for node in import_ray().nodes() if node["Alive"]]
        plan = make_plan(scale, options, nodes)
        say(f"Ray starts {plan}")
        everywhere = {
            "virnucpro": __version__,
            "level": logging.getLogger().getEffectiveLevel(),
            "output": str(output.resolve()),
            "options": asdict(replace(options, device=plan.device, threads=plan.cpus)),
        }
        with Workers({**settings, **everywhere}, plan, same) as workers:
            yield workers
