"""The jobs of workers: scoring units as `predict` does, embedding them as `embed` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from virnucpro.config import ComputeOptions, Options
from virnucpro.pipeline.isolation import score_isolated
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.registry import load_model
from virnucpro.run.directory import RunDirectory
from virnucpro.run.embed import Embedder, EmbedRequest, shard_path
from virnucpro.run.engine import recovered
from virnucpro.run.provenance import describe_predictor, fingerprint_predictor
from virnucpro.run.tally import Tally
from virnucpro.run.units import Unit


class Prediction:
    """Score units and write their files."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._predictor = Predictor(load_model(settings["model"]), Options(**settings["options"]))
        self._directory = RunDirectory(Path(settings["output"]), settings["legacy"], settings["paired"])
        self.told = describe_predictor(settings["model"], self._predictor)
        self.same = {"torch": self.told["versions"]["torch"], **fingerprint_predictor(self.told)}

    def do(self, unit: Unit) -> Tally:
        return self._directory.write_unit(unit, score_isolated(self._predictor.run, unit.records))

    def recovered(self) -> dict[str, int]:
        return recovered([self._predictor.nucleotide, self._predictor.protein])


class Embedding:
    """Embed the records of units and write their shards."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._directory = RunDirectory(Path(settings["output"]))
        given = {**settings["request"], "options": ComputeOptions(**settings["options"])}
        self._embedder = Embedder(EmbedRequest((), self._directory.path, settings["model"], **given))
        self.told = self._embedder.told
        self.same = {"torch": self.told["versions"]["torch"], **self.told["fingerprint"]}

    def do(self, unit: Unit) -> None:
        vectors = self._embedder.embed(unit.records)
        self._embedder.write(shard_path(self._directory, unit), unit, vectors)

    def recovered(self) -> dict[str, int]:
        return recovered([self._embedder.runner])


JOBS: dict[str, Any] = {"predict": Prediction, "embed": Embedding}
