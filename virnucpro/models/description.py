"""What a model directory says about itself: `model.json`, read and checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError, ModelError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class EncoderDescription:
    """One of the two language models.

    `architecture` is esm2 or dnabert and `config` its shape; `tokenizer` is esm2, kmer-K, or bpe (then
    tokenizer.json lies in the model directory); `skip_first`, `skip_last` and `limit` are the pooling window.
    """

    architecture: Literal["esm2", "dnabert"]
    config: dict[str, Any]
    tokenizer: str
    skip_first: int
    skip_last: int
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class ClassifierDescription:
    """The classifier: `mlp` is the published one, `gated` weighs the frames of a chunk by what it learned."""

    kind: Literal["mlp", "gated"]
    input_dim: int
    hidden_dim: int


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Everything that is needed to use a model, and where it comes from.

    `chunk_length` and `min_length` are in nt; `max_ambiguous` is the largest share of letters other than
    A, C, G, T, U in a chunk that is still scored; `vote` says how the frames of a chunk make its call:
    `max` (method of the published tool) or `weighted`; `checksums` maps file names to SHA-256.
    """

    name: str
    chunk_length: int
    min_length: int
    frame_rule: FrameRule
    nucleotide: EncoderDescription
    protein: EncoderDescription
    classifier: ClassifierDescription
    vote: Literal["max", "weighted"]
    max_ambiguous: float = 1.0
    threshold: float = 0.5
    classes: tuple[str, str] = ("other", "virus")
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.vote not in ("max", "weighted"):
            raise ConfigError(f"vote must be max or weighted, got {self.vote!r}")

    def write_json(self, path: Path) -> None:
        """Write model.json."""
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: Path) -> ModelDescription:
        """Read model.json.

        Raises:
            ModelError: the file is missing, is not JSON, or lacks or has unknown fields.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(f"{path.parent} is not a model directory: it has no {path.name}") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read as a model description: {error}") from error
        found = values.pop("format", None) if isinstance(values, dict) else None
        if found != FORMAT:
            raise ModelError(f"{path} has format {found!r}, this version reads format {FORMAT}; upgrade virnucpro")
        try:
            values["frame_rule"] = FrameRule(**values["frame_rule"])
            values["nucleotide"] = EncoderDescription(**values["nucleotide"])
            values["protein"] = EncoderDescription(**values["protein"])
            values["classifier"] = ClassifierDescription(**values["classifier"])
            values["classes"] = tuple(values["classes"])
            return cls(**values)
        except (KeyError, TypeError, ConfigError) as error:
            raise ModelError(f"{path} is not a complete model description: {error}") from error
