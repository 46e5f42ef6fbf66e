"""The jobs of workers: scoring units as `predict` does, embedding them as `embed` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from virnucpro.models.registry import load_model
from virnucpro.pipeline.engine import recovered
from virnucpro.pipeline.isolation import score_isolated
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pipeline.provenance import describe_predictor, fingerprint_predictor
from virnucpro.pipeline.run_directory import RunDirectory
from virnucpro.pipeline.tally import Tally
from virnucpro.pipeline.units import Unit


class Prediction:
    """Score units and write their files."""

    def __init__(self, settings: dict[str, Any], writer: str) -> None:
        self._predictor = Predictor(load_model(settings["model"]), Options(**settings["options"]))
        self._directory = RunDirectory(Path(settings["output"]), settings["legacy"], writer)
        self.told = describe_predictor(settings["model"], self._predictor)
        self.same = {"torch": self.told["versions"]["torch"], **fingerprint_predictor(self.told)}

    def do(self, unit: Unit) -> Tally:
        return self._directory.write_unit(unit, score_isolated(self._predictor.run, unit.records))

    def recovered(self) -> dict[str, int]:
        return recovered(self._predictor)


JOBS: dict[str, Any] = {"predict": Prediction}
