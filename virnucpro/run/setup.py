"""The setup of a run for its manifest: the model, the chosen options, kernels and hardware."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from virnucpro import __version__
from virnucpro.config import Options
from virnucpro.files import fingerprint
from virnucpro.pretrained.description import ModelDescription


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The model of a run: name, directory, SHA-256 of its files, and origin of imported weights."""

    name: str
    directory: str = ""
    checksums: dict[str, str] = field(default_factory=dict)
    imported: Any = None


@dataclass(frozen=True, slots=True)
class CallingModel(ModelFiles):
    """The model of a run of `predict`, with its chunk length (nt) and the SHA-256 of its description."""

    chunk_length: int | None = None
    sha256_of_description: str = ""


def fingerprint_of(description: ModelDescription) -> str:
    """Return a SHA-256 of the parts of a model's description that determine scores and calls."""
    return fingerprint(asdict(description) | {"training": {}, "metrics": {}, "checksums": {}})


@dataclass(frozen=True, slots=True)
class PredictSetup:
    """The setup of a run of `predict`: the model, the chosen options, kernels and hardware.

    `attention` names the backend of each encoder; `versions` are those of Python and torch; `screen` is the model of
    the screen, if there is one.
    """

    model: CallingModel
    options: Options
    attention: dict[str, str]
    hardware: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    screen: CallingModel | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that determines the score of a record, by name.

        Threads, token budget and the number of the GPU do not change scores and are left out.
        """
        model, options = self.model, self.options
        return {
            "model": model.name,
            **{f"SHA-256 of {name}": checksum for name, checksum in model.checksums.items()},
            "SHA-256 of model.json": model.sha256_of_description,
            **self._fingerprint_of_screen(),
            "--min-length": options.min_length, "--min-score": options.min_score, "--preset": options.preset,
            "--prevalence": options.prevalence, "--composition": options.composition, "--max-fdr": options.max_fdr,
            "--precision": options.precision, "--packing": options.packing,
            "device": options.device.partition(":")[0],
            **{f"attention of the {name} encoder": backend for name, backend in self.attention.items()},
        }  # fmt: skip

    def _fingerprint_of_screen(self) -> dict[str, Any]:
        if self.screen is None:
            return {}
        checksums = {**self.screen.checksums, "model.json": self.screen.sha256_of_description}
        return {
            "--screen": self.options.screen,
            "model of the screen": self.screen.name,
            **{f"SHA-256 of the screen's {name}": checksum for name, checksum in checksums.items()},
        }


@dataclass(frozen=True, slots=True)
class EmbedSetup:
    """The setup of a run of `embed`; `width` is the size of a vector, `max_length` (letters) that of a window."""

    kind: str
    layer: int | None
    per_residue: bool
    max_length: int
    precision: str
    device: str
    packing: bool
    attention: str
    width: int
    model: ModelFiles
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that determines the vector of a sequence, by name."""
        unnamed = ("width", "model", "versions")
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in unnamed}
        weights = self.model.checksums.get(f"{self.kind}.safetensors")
        return {"virnucpro": __version__, **values, "SHA-256 of the weights": weights}
