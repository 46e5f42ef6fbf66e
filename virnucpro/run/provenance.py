"""What run.json says about a run, and the fingerprint by which a resumed run knows that it is the same."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import stat
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from virnucpro import __version__
from virnucpro.errors import ConfigError
from virnucpro.files import fingerprint
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.registry import find_model
from virnucpro.run.units import Content

logger = logging.getLogger(__name__)

_END_BYTES = 1 << 16
# What tells, without reading a file, that nobody has written to it since.
_IDENTITY = ("bytes", "inode", "modified_ns", "changed_ns")


def describe_run(inputs: Sequence[str], command: Sequence[str], predictor: dict[str, Any]) -> dict[str, Any]:
    """Return what is known about a run from its beginning, as it stands in run.json."""
    described = [describe_input(name) for name in inputs]
    return {"virnucpro": __version__, "command": list(command), "inputs": described, **predictor}


def describe_predictor(model: str, predictor: Predictor) -> dict[str, Any]:
    """Return what is known about a predictor, made of the model of that name or directory."""
    gpu = torch.cuda.get_device_name(predictor.device) if predictor.device.type == "cuda" else None
    description = replace(predictor.description, training={}, metrics={}, checksums={})
    return {
        "model": {
            "name": predictor.description.name,
            "directory": str(find_model(model)),
            "checksums": predictor.description.checksums,
            "chunk_length": predictor.description.chunk_length,
            "imported": predictor.description.training.get("imported"),
            "sha256_of_description": fingerprint(asdict(description)),
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
    """Return what tells a regular file from others: size, digest of its ends, inode, times; None of anything else."""
    unknown = {"path": name, "bytes": None, "sha256_of_ends": None, **dict.fromkeys(_IDENTITY)}
    if not os.path.isfile(name):
        return unknown
    try:
        with open(name, "rb") as file:
            identity = _identity(os.fstat(file.fileno()))
            ends = file.read(_END_BYTES)
            file.seek(max(identity["bytes"] - _END_BYTES, 0))
            ends += file.read(_END_BYTES)
    except OSError:  # the reader will say so
        return unknown
    return {**unknown, **identity, "sha256_of_ends": hashlib.sha256(ends).hexdigest()}


def _identity(found: os.stat_result) -> dict[str, int]:
    return dict(zip(_IDENTITY, (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns), strict=True))


def settle_inputs(described: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `described` as it stands in run.json after the inputs were read, and warn of those that changed meanwhile.

    These lose inode and times, so that a later run does not take them for what was read.
    """
    settled = []
    for before in described:
        now = None
        try:
            found = os.stat(before["path"])
            now = _identity(found) if stat.S_ISREG(found.st_mode) else None
        except (OSError, ValueError):
            pass
        if before["inode"] is not None and any(now is None or now[name] != before[name] for name in _IDENTITY):
            logger.warning("%s changed while it was read; the results are of what was read", before["path"])
            before = {**before, **dict.fromkeys(_IDENTITY[1:])}
        settled.append(before)
    return settled


def untouched(before: Any, now: Sequence[dict[str, Any]]) -> bool:
    """Tell whether the inputs are surely the files that run.json describes in `before`, by size, inode and times."""
    try:
        return len(before) == len(now) and all(
            new["inode"] is not None and all(old[name] == new[name] for name in (*_IDENTITY, "sha256_of_ends"))
            for old, new in zip(before, now, strict=True)
        )
    except (TypeError, LookupError):  # of an earlier version, or damaged
        return False


def fingerprint_run(told: dict[str, Any]) -> dict[str, Any]:
    """Return all that the tables follow from, by name, from `describe_run`'s `told`.

    Where an input lies, threads, token budget and which of several GPUs change nothing and are left out.
    """
    return {"virnucpro": told["virnucpro"], **fingerprint_inputs(told["inputs"]), **fingerprint_predictor(told)}


def fingerprint_inputs(inputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return number, sizes and ends of the inputs, by name, from `describe_input`'s values."""
    values: dict[str, Any] = {"number of inputs": len(inputs)}
    for number, described in enumerate(inputs, start=1):
        values[f"size of input {number} in bytes"] = described["bytes"]
        values[f"SHA-256 of the ends of input {number}"] = described["sha256_of_ends"]
    return values


def fingerprint_predictor(told: dict[str, Any]) -> dict[str, Any]:
    """Return all that a score follows from, beside its record, by name, from `describe_predictor`'s `told`."""
    values: dict[str, Any] = {"model": told["model"]["name"]}
    for name, checksum in told["model"]["checksums"].items():
        values[f"SHA-256 of {name}"] = checksum
    values["SHA-256 of model.json"] = told["model"]["sha256_of_description"]
    for name in ("min_length", "min_score", "preset", "prevalence", "precision", "packing"):
        values["--" + name.replace("_", "-")] = told["options"][name]
    values["device"] = told["options"]["device"].partition(":")[0]
    for name, backend in told["attention"].items():
        values[f"attention of the {name} encoder"] = backend
    return values


def require_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare two fingerprints.

    Raises:
        ConfigError: they differ; it names every difference with both values.
    """
    if changes := differences(before, now):
        raise ConfigError(f"this is not the run that was begun: {changes}; --restart begins anew")


def require_same_content(before: Content, now: Content) -> None:
    """Compare the records that a run has read with those that are given now.

    Raises:
        ConfigError: they differ.
    """
    one, two = ({"number of records": read.records, "SHA-256 of all records": read.sha256} for read in (before, now))
    require_same(one, two)


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return in words in what two fingerprints differ, empty where they do not."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in names)
