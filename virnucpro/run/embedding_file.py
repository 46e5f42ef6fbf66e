"""The safetensors files of `embed`: one per unit, with metadata on its records and settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from virnucpro.errors import OutputError
from virnucpro.files import atomic_path
from virnucpro.run.units import Unit

Vectors = npt.NDArray[np.float32]


def _metadata(unit: Unit, settings: str, vectors: Vectors) -> dict[str, str]:
    """Return the metadata of a shard: SHA-256 of its records, of the settings and of its values."""
    digest = hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()
    digests = {"input_sha256": unit.digest, "settings_sha256": settings, "sha256": digest}
    return {"virnucpro": json.dumps(digests)}  # one entry, because safetensors writes several in any order


def write_shard(path: Path, unit: Unit, settings: str, vectors: Vectors) -> None:
    """Write the vectors of a unit; `settings` is the fingerprint of the settings.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            save_file({"embeddings": vectors}, temporary, metadata=_metadata(unit, settings, vectors))
        except SafetensorError as error:
            raise OutputError(f"{path} cannot be written: {error}; choose another --output") from error
        temporary.chmod(0o644)  # safetensors makes it readable by its owner only


def holds_other_records(path: Path, unit: Unit, settings: str) -> bool:
    """Return whether a shard is complete and of these settings, but of other records."""
    try:
        with safe_open(path, "np") as shard:
            metadata, vectors = shard.metadata() or {}, shard.get_tensor("embeddings")
            found = json.loads(metadata["virnucpro"])["input_sha256"]
    except (OSError, SafetensorError, ValueError, TypeError, LookupError, RecursionError):
        return False
    return found != unit.digest and metadata == _metadata(replace(unit, digest=found), settings, vectors)


def is_done(path: Path, unit: Unit, settings: str) -> bool:
    """Return whether a shard is complete and of these records and settings."""
    try:
        with safe_open(path, "np") as shard:
            metadata, vectors = shard.metadata() or {}, shard.get_tensor("embeddings")
    except (OSError, SafetensorError):
        return False
    return metadata == _metadata(unit, settings, vectors)
