"""Find model directories by name or path, and check their files."""

from __future__ import annotations

import os
from pathlib import Path

from virnucpro.environment import models_directory
from virnucpro.errors import ConfigError, ModelError
from virnucpro.pretrained.catalogue import CATALOGUE
from virnucpro.pretrained.description import DESCRIPTIONS, LanguageModelDescription, ModelDescription
from virnucpro.pretrained.weights import sha256
from virnucpro.words import in_bytes

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT_MODEL = "bundled"
# Judges chunks before a large model, if the user asks for a screen.
SCREEN_MODEL = DEFAULT_MODEL
# The models in the package.
SHIPPED = {DEFAULT_MODEL: BUNDLED}


def list_models() -> dict[str, Path]:
    """Return the installed models that can be named: name -> directory."""
    try:
        # Hidden directories hold unfinished downloads and imports.
        found = (path for path in models_directory().iterdir() if not path.name.startswith("."))
        downloaded = sorted(path for path in found if description_file(path))
    except (OSError, ConfigError):  # nothing was downloaded, or there is no home directory
        downloaded = []
    return SHIPPED | {path.name: path for path in downloaded if path.name not in SHIPPED}


def description_file(directory: Path) -> str | None:
    """Return the name of the file that describes a model directory, None if it has none."""
    return next((name for name in DESCRIPTIONS if os.path.isfile(directory / name)), None)


def find_directory(name: str) -> Path:
    """Return the directory of a model or language model given by name or by path.

    Raises:
        ModelError: there is none; for a published model the message says how to download it.
        ConfigError: the name is neither text nor a path.
    """
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(name, str):
        raise ConfigError(f"a model must be a name or a directory (text or a path object), got {name!a}")
    known = list_models()
    directory = known.get(name, Path(name))
    if file := description_file(directory):
        _require_inside(directory / file)
        return directory
    if entry := CATALOGUE.get(name):
        raise ModelError(
            f"the model {name} is not installed; run `virnucpro models download {name}` ({in_bytes(entry.bytes)}), "
            f"or copy its directory to {models_directory() / name}"
        )
    raise ModelError(
        f"there is no model {name!r}: it is neither a directory with a model.json nor one of "
        f"{', '.join([*known, *CATALOGUE])}"
    )


def read_description(directory: Path) -> ModelDescription | LanguageModelDescription:
    """Read the description of a model directory."""
    file = description_file(directory) or "model.json"
    _require_inside(directory / file)
    return DESCRIPTIONS[file].from_json(directory / file)


def find_model(name: str) -> Path:
    """Return the directory of a complete model given by name or by path.

    Raises:
        ModelError: there is no such model.
    """
    directory = find_directory(name)
    if description_file(directory) != "model.json":
        raise ModelError(f"{name} is a language model without a classifier; use it with `virnucpro embed`")
    return directory


def _require_inside(path: Path) -> None:
    if path.resolve().parent != path.parent.resolve():
        raise ModelError(f"{path} is a link to {path.resolve()}, outside its directory; put the file itself there")


def check_file(directory: Path, name: str, description: ModelDescription | LanguageModelDescription) -> Path:
    """Check the checksum of a file of a model directory and return the file's path.

    Raises:
        ModelError: it is missing, lies outside the directory, or differs from the description's checksum.
    """
    path, expected = directory / name, description.checksums.get(name)
    if not os.path.isfile(path):
        remedy = "copy the whole model directory again" if expected else "import it with `virnucpro models import`"
        raise ModelError(f"{directory} lacks {name}; {remedy}")
    _require_inside(path)
    try:
        found = sha256(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}; copy the model directory again") from error
    if found != expected:
        raise ModelError(
            f"{path} is damaged or was changed: its SHA-256 is {found}, "
            f"but model.json has {expected}; copy the model directory again"
        )
    return path
