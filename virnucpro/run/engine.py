"""What scores the units of a run: here this process; see `virnucpro.distributed` for many devices and machines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from virnucpro.data import overlapped
from virnucpro.errors import ConfigError
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.registry import load_model
from virnucpro.run.directory import RunDirectory
from virnucpro.run.progress import Counter
from virnucpro.run.provenance import describe_predictor
from virnucpro.run.request import Request
from virnucpro.run.rows import UnitTables
from virnucpro.run.tally import Tally
from virnucpro.run.unit_caller import UnitCaller
from virnucpro.run.units import Unit

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """Does the units of `predict` or `embed` and writes their files."""

    @property
    def told(self) -> dict[str, Any]:
        """What run.json says of the model and its device."""

    def score(
        self, units: Iterator[Unit], directory: RunDirectory, begin: Callable[[], None], counter: Counter
    ) -> Iterator[Any]:
        """Yield the counts (`predict`: a Tally) of each unit once its file is written, in any order.

        `begin` is called before the first of them is, and makes the directory ready.
        """

    def closing(self) -> dict[str, Any]:
        """Return what run.json says at the end: what was recovered, and by whom."""


OpenEngine = Callable[["Request"], AbstractContextManager[Engine]]


class LocalEngine:
    """One model on one device of this machine."""

    def __init__(self, request: Request) -> None:
        self.predictor = load_predictor(request)
        self.caller = UnitCaller(self.predictor, request.legacy_output)
        self.told = describe_predictor(request.model, self.predictor)

    def score(
        self, units: Iterator[Unit], directory: RunDirectory, begin: Callable[[], None], counter: Counter
    ) -> Iterator[Tally]:
        def score(unit: Unit) -> tuple[Unit, UnitTables]:
            return unit, self.caller.tables(unit.records)

        for unit, tables in overlapped(score, units, self.caller.at_a_time, self.predictor.stop):
            begin()
            yield directory.write_unit(unit, tables)
            counter.advance(len(unit.records))

    def closing(self) -> dict[str, Any]:
        return {"recovered": recovered([self.predictor.nucleotide, self.predictor.protein])}


@contextmanager
def open_local(request: Request) -> Iterator[Engine]:
    """Give the engine of this process."""
    engine = LocalEngine(request)
    try:
        yield engine
    finally:
        engine.caller.close()  # what a thread may still work on when a run is stopped


def load_predictor(request: Request) -> Predictor:
    """Load the model of a request."""
    predictor = Predictor(load_model(request.model), request.options)
    if request.legacy_output:
        require_legacy(predictor.description, request.model)
    for name in ("nucleotide", "protein"):
        encoder = getattr(predictor, name).encoder.model
        logger.info("%s encoder: %s, %s, %s", name, predictor.device, predictor.precision, encoder.backend.name)
    return predictor


def require_legacy(description: ModelDescription, name: str) -> None:
    """Check that a model has the scores that `--legacy-output` writes.

    Raises:
        ConfigError: it has not.
    """
    if description.vote != "max":
        raise ConfigError(
            f"--legacy-output is how the published models write; {name} weighs its frames and has no such "
            "scores; use --model published-500"
        )


def recovered(runners: Sequence[AsyncInferenceRunner]) -> dict[str, int]:
    """Return what runners have had to recover from so far."""
    return {
        "batches_halved_for_memory": sum(runner.n_out_of_memory for runner in runners),
        "embeddings_redone_in_float32": sum(runner.n_redone for runner in runners),
    }
