"""What run.json says about a run, and the fingerprint by which a resumed run knows that it is the same."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from virnucpro import __version__
from virnucpro.config import fingerprint
from virnucpro.errors import ConfigError
from virnucpro.models.registry import find_model
from virnucpro.pipeline.predict import Predictor

_END_BYTES = 1 << 16


def describe_run(inputs: Sequence[str], model: str, predictor: Predictor, command: Sequence[str]) -> dict[str, Any]:
    """Return what is known about a run from its beginning, as it stands in run.json."""
    gpu = torch.cuda.get_device_name(predictor.device) if predictor.device.type == "cuda" else None
    return {
        "virnucpro": __version__,
        "command": list(command),
        "inputs": [describe_input(name) for name in inputs],
        "model": {
            "name": predictor.description.name,
            "directory": str(find_model(model)),
            "checksums": predictor.description.checksums,
            "chunk_length": predictor.description.chunk_length,
            "imported": predictor.description.training.get("imported"),
        },
        "options": {
            **asdict(predictor.options), "device": str(predictor.device), "precision": predictor.precision,
            "min_length": predictor.min_length, "min_score": predictor.decision.min_score,
            "preset": predictor.decision.preset, "prevalence": predictor.decision.prevalence,
        },
        "attention": {
            "nucleotide": predictor.nucleotide.encoder.model.backend.name,
            "protein": predictor.protein.encoder.model.backend.name,
        },
        "hardware": {"machine": platform.machine(), "cpus": os.cpu_count(), "gpu": gpu},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }  # fmt: skip


def describe_input(name: str) -> dict[str, Any]:
    """Return size and digest of the ends of a regular file, None for both of anything else."""
    if not os.path.isfile(name):
        return {"path": name, "bytes": None, "sha256_of_ends": None}
    try:
        with open(name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            ends = file.read(_END_BYTES)
            file.seek(max(size - _END_BYTES, 0))
            ends += file.read(_END_BYTES)
    except OSError:  # the reader will say so
        return {"path": name, "bytes": None, "sha256_of_ends": None}
    return {"path": name, "bytes": size, "sha256_of_ends": hashlib.sha256(ends).hexdigest()}


def fingerprint_run(told: dict[str, Any], predictor: Predictor, unit_records: int) -> dict[str, Any]:
    """Return all that the tables follow from, by name, from `describe_run`'s `told`.

    Where an input lies, threads, token budget and which of several GPUs change nothing and are left out.
    """
    values: dict[str, Any] = {"virnucpro": told["virnucpro"], "number of inputs": len(told["inputs"])}
    for number, described in enumerate(told["inputs"], start=1):
        values[f"size of input {number} in bytes"] = described["bytes"]
        values[f"SHA-256 of the ends of input {number}"] = described["sha256_of_ends"]
    values["model"] = told["model"]["name"]
    for name, checksum in told["model"]["checksums"].items():
        values[f"SHA-256 of {name}"] = checksum
    description = replace(predictor.description, training={}, metrics={}, checksums={})
    values["SHA-256 of model.json"] = fingerprint(asdict(description))
    for name in ("min_length", "min_score", "preset", "prevalence", "precision", "packing"):
        values["--" + name.replace("_", "-")] = told["options"][name]
    values["--unit-records"] = unit_records
    values["device"] = predictor.device.type
    for name, backend in told["attention"].items():
        values[f"attention of the {name} encoder"] = backend
    return values


def require_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare two fingerprints.

    Raises:
        ConfigError: they differ; it names every difference with both values.
    """
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        changes = "; ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in names)
        raise ConfigError(f"this is not the run that was begun: {changes}; --restart begins anew")
