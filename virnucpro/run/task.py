"""The tasks of a run, which say what is done with its units: predict or embed.

A task is a small value that can be sent to another machine. Opening it loads a model on a device, which does units.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from virnucpro.config import ComputeOptions, Options
from virnucpro.errors import ConfigError
from virnucpro.files import fingerprint
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.device import choose_device
from virnucpro.pipeline.embed import Embedder, EmbedSettings
from virnucpro.pipeline.predict import Predictor
from virnucpro.pipeline.screening import screen_name
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.locations import find_directory, find_model, read_description
from virnucpro.pretrained.registry import check_encoder, check_model, load_model
from virnucpro.run.directory import RunDirectory
from virnucpro.run.embed_directory import EmbedDirectory
from virnucpro.run.outputs import Outputs
from virnucpro.run.setup import CallingModel, EmbedSetup, ModelFiles, PredictSetup, fingerprint_of
from virnucpro.run.tally import C_co, EmbedTally, Tally
from virnucpro.run.text_pool import MAX_PROCESSES, TextPool, text_processes
from virnucpro.run.unit_caller import UnitCaller
from virnucpro.run.units import Unit

logger = logging.getLogger(__name__)


class OpenTask(Protocol[C_co]):
    """A task with its model on a device, ready to do units; several threads may do units at the same time.

    `setup` goes into the manifest; `same` holds the values that all workers of a run must share, by name.
    """

    setup: Any
    same: dict[str, Any]
    at_a_time: int

    def do(self, unit: Unit) -> C_co:
        """Do a unit, write its file and return its counts."""

    def recovered(self) -> dict[str, int]:
        """Return the number of recoveries so far, by name."""

    def stop(self) -> None:
        """Ask running threads to stop after their current batch."""


class Task(Protocol[C_co]):
    """The work to do with units and the model for it, as a value that can be sent to a worker.

    `options` say how to compute; `output` is the directory of the units. A GPU works on `units_at_a_time`, so that the
    text stage and the writing of one unit overlap with the computation of another.
    """

    @property
    def options(self) -> ComputeOptions: ...
    @property
    def output(self) -> Path: ...
    @property
    def units_at_a_time(self) -> int: ...

    def directory(self) -> Any:
        """Return the directory that units are written to."""

    def checked(self) -> tuple[Task[C_co], dict[str, Any]]:
        """Return the task for workers, and the values that they must share with this machine, by name.

        Raises:
            ModelError: the model is missing or damaged here.
        """

    def on(self, device: str, threads: int) -> Task[C_co]:
        """Return the same task for a device and a number of threads."""

    def open(self, directory: Any) -> OpenTask[C_co]:
        """Load the model on its device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictTask:
    """Call the records of units; see `Task`. With `legacy`, units also hold the published tool's rows."""

    model: str
    options: Options
    output: Path
    legacy: bool = False
    paired: bool = False
    outputs: Outputs = field(default_factory=Outputs)
    units_at_a_time: int = MAX_PROCESSES

    def directory(self) -> RunDirectory:
        return RunDirectory(self.output, self.legacy, self.paired, self.outputs)

    def checked(self) -> tuple[PredictTask, dict[str, Any]]:
        directory, description = check_model(self.model)
        if self.legacy:
            require_legacy(description, self.model)
        same = {f"SHA-256 of {name}": checksum for name, checksum in description.checksums.items()}
        options = self.options
        if options.screen is not None:
            screen, of_screen = check_model(screen_name(options))
            options = replace(options, screen_model=str(screen.resolve()))
            same |= {f"SHA-256 of the screen's {name}": checksum for name, checksum in of_screen.checksums.items()}
        return replace(self, model=str(directory.resolve()), options=options, output=self.output.resolve()), same

    def on(self, device: str, threads: int) -> PredictTask:
        return replace(self, options=replace(self.options, device=device, threads=threads))

    def open(self, directory: RunDirectory) -> OpenPredictTask:
        return OpenPredictTask(self, directory)


class OpenPredictTask:
    """A predictor that calls the records of units."""

    def __init__(self, task: PredictTask, directory: RunDirectory) -> None:
        self._directory = directory
        on_gpu = choose_device(task.options.device).type == "cuda"
        processes = text_processes(task.options.threads) if on_gpu else 0
        with ExitStack() as opened:  # closes the processes if the model cannot be loaded
            pool = opened.enter_context(TextPool(processes)) if processes else None
            self.predictor = load_predictor(task.model, task.options, task.legacy)
            if task.outputs.other:
                self.predictor.keep_all()
            opened.pop_all()
        self._caller = UnitCaller(self.predictor, task.legacy, pool)
        self.at_a_time = self._caller.at_a_time
        self.setup = describe_predictor(task.model, self.predictor)
        self.same = {"torch": torch.__version__, **self.setup.fingerprint()}

    def do(self, unit: Unit) -> Tally:
        return self._directory.write_unit(unit, self._caller.tables(unit.records))

    def recovered(self) -> dict[str, int]:
        return _recovered(self.predictor.runners)

    def stop(self) -> None:
        self._caller.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedTask:
    """Embed the records of units; see `Task`."""

    settings: EmbedSettings
    options: ComputeOptions
    output: Path
    place: Path | None = None
    units_at_a_time: int = 2

    def directory(self) -> EmbedDirectory:
        return EmbedDirectory(self.output, None if self.place is None else EmbedDirectory(self.place))

    def checked(self) -> tuple[EmbedTask, dict[str, Any]]:
        directory, description, kind = check_encoder(self.settings.model, self.settings.kind)
        settings = replace(self.settings, model=str(directory.resolve()), kind=kind)
        same = {"SHA-256 of the weights": description.checksums[f"{kind}.safetensors"]}
        return replace(self, settings=settings, output=self.output.resolve()), same

    def on(self, device: str, threads: int) -> EmbedTask:
        return replace(self, options=replace(self.options, device=device, threads=threads))

    def open(self, directory: EmbedDirectory) -> OpenEmbedTask:
        return OpenEmbedTask(self, directory)


class OpenEmbedTask:
    """A language model that embeds the records of units."""

    def __init__(self, task: EmbedTask, directory: EmbedDirectory) -> None:
        self._directory = directory
        self._embedder = Embedder(task.settings, task.options)
        self.at_a_time = 1  # in this process; a worker may use several threads
        self.setup = describe_embedder(self._embedder, task.options)
        self.same = {"torch": torch.__version__, **self.setup.fingerprint()}
        self._settings = fingerprint(self.setup.fingerprint())

    def do(self, unit: Unit) -> EmbedTally:
        vectors = self._embedder.embed(list(unit.records.records()))
        self._directory.write_shard(unit, self._settings, vectors)
        return embed_counts(unit, self._embedder.max_length)

    def recovered(self) -> dict[str, int]:
        return _recovered([self._embedder.runner])

    def stop(self) -> None:
        self._embedder.runner.stopped = True


def load_predictor(model: str, options: Options, legacy: bool = False) -> Predictor:
    """Load a model; with `legacy`, check that it has the scores that the published tool writes."""
    predictor = Predictor(load_model(model), options)
    if legacy:
        require_legacy(predictor.description, model)
    for name, backend in _backends(predictor).items():
        logger.info("%s encoder: %s, %s, %s", name, predictor.device, predictor.precision, backend)
    return predictor


def _backends(predictor: Predictor) -> dict[str, str]:
    """Return the attention backend of each encoder by its name."""
    names = ["nucleotide", "protein", "screen's nucleotide", "screen's protein"]
    return {name: one.encoder.model.backend.name for name, one in zip(names, predictor.runners, strict=False)}


def require_legacy(description: ModelDescription, name: str) -> None:
    """Check that a model has the scores that the published tool writes.

    Raises:
        ConfigError: it does not.
    """
    if description.vote != "max":
        raise ConfigError(
            f"legacy_output needs the scores of a published model, which {name} does not have; use "
            "--model published-500",
            "legacy_output",
        )


def describe_predictor(model: str, predictor: Predictor) -> PredictSetup:
    """Return the setup of a predictor for the manifest; `model` is the name or directory of its model."""
    decision, device, screen = predictor.decision, predictor.device, predictor.screen
    return PredictSetup(
        _describe_model(model, predictor.description),
        replace(
            predictor.options, device=str(device), precision=predictor.precision, min_length=predictor.min_length,
            min_score=decision.min_score, preset=decision.preset, prevalence=decision.prevalence,
            screen_model=None if screen is None else screen.description.name,
        ),
        _backends(predictor),
        {
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        },
        _versions(),
        None if screen is None else _describe_model(screen_name(predictor.options), screen.description),
    )  # fmt: skip


def _describe_model(name: str, description: ModelDescription) -> CallingModel:
    return CallingModel(
        description.name,
        str(find_model(name)),
        description.checksums,
        description.training.get("imported"),
        description.chunk_length,
        fingerprint_of(description),
    )


def describe_embedder(embedder: Embedder, options: ComputeOptions) -> EmbedSetup:
    """Return the setup of a language model for the manifest."""
    settings, model = embedder.settings, embedder.encoder.model
    directory = find_directory(settings.model)
    description = read_description(directory)
    return EmbedSetup(
        kind=embedder.kind,
        layer=settings.layer,
        per_residue=settings.per_residue,
        max_length=embedder.max_length,
        precision=embedder.precision,
        device=embedder.runner.device.type,
        packing=options.packing,
        attention=model.backend.name,
        width=model.width,
        model=ModelFiles(description.name, str(directory), description.checksums, description.training.get("imported")),
        versions=_versions(),
    )


def embed_counts(unit: Unit, max_length: int) -> EmbedTally:
    """Return the counts of a unit; sequences longer than `max_length` are embedded in windows."""
    return EmbedTally(len(unit.records), sum(len(record.sequence) > max_length for record in unit.records.records()))


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__}


def _recovered(runners: Sequence[AsyncInferenceRunner]) -> dict[str, int]:
    return {
        "batches_halved_for_memory": sum(runner.n_out_of_memory for runner in runners),
        "embeddings_redone_in_float32": sum(runner.n_redone for runner in runners),
    }
