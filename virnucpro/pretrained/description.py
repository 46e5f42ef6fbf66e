"""Descriptions of models: `model.json`, or `encoder.json` for a language model alone, read and checked."""

from __future__ import annotations

import json
import math
import re
import reprlib
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError, ModelError
from virnucpro.places import plain_file
from virnucpro.scores.calibration import Calibration
from virnucpro.scores.reference import REFERENCE_FILE
from virnucpro.seq.kmer_filter import KmerLayout

FORMAT = 1
WEIGHTS = ("nucleotide.safetensors", "protein.safetensors", "classifier.safetensors")
TOKENIZER = "tokenizer.json"
KMERS = "kmers.safetensors"  # of a model with a filter of 9-mers
HEAD_FILE = "head.safetensors"  # of a language model, if the published files have its head
# Larger than any number in a description, and small enough that no product of two numbers overflows.
_LARGEST = 1 << 24
# Limits: the index of the largest published model has 100 kB, and no description nests more than six levels.
_MAX_BYTES, _MAX_LEVELS = 1 << 24, 32

VIRUS = "virus"
TWO_CLASSES = ("other", VIRUS)

Description = TypeVar("Description", "ModelDescription", "LanguageModelDescription")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        ModelError: it is missing, is not a JSON object, is too large or nests too deep.
    """
    try:
        with plain_file(path).open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
        values = json.loads(text.decode())
        _require_depth(values, _MAX_LEVELS)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}; copy the file again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a JSON object but {reprlib.repr(values)}; copy the file again")
    return values


def _require_depth(value: Any, levels: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if not levels:
        raise ValueError(f"it nests more than {_MAX_LEVELS} levels deep")
    for item in value.values() if isinstance(value, dict) else value:
        _require_depth(item, levels - 1)


def read_as(kind: Any, value: Any, name: str) -> Any:
    """Convert a value from JSON to a dataclass (from a mapping) or to the type of a field.

    Raises:
        ConfigError: the value, or one inside it, is missing, unknown, of another type or out of range.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        values = read_as(dict[str, Any], value, name)
        types = get_type_hints(kind)
        needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
        if missing := sorted(needed - values.keys()):
            raise ConfigError(f"{name} lacks {', '.join(missing)}")
        if unknown := sorted(values.keys() - types.keys()):
            raise ConfigError(f"{name} has the unknown field {reprlib.repr(unknown[0])}")
        return kind(**{key: read_as(types[key], item, f"{name}.{key}") for key, item in values.items()})  # type: ignore[operator]
    if origin is dict and isinstance(value, dict):
        return {key: read_as(arguments[1], item, f"{name}[{reprlib.repr(key)}]") for key, item in value.items()}
    if origin is tuple and arguments == (float, ...) and type(value) in (int, float):
        value = (value,)  # calibrations of models with one host class were written as plain numbers
    if origin is tuple and isinstance(value, (list, tuple)) and arguments[1:] == (...,):
        return tuple(read_as(arguments[0], item, name) for item in value)
    if origin is tuple and isinstance(value, (list, tuple)) and len(value) == len(arguments):
        return tuple(read_as(a, item, name) for a, item in zip(arguments, value, strict=True))
    if origin in (Union, UnionType) and value is None and type(None) in arguments:
        return None
    if origin in (Union, UnionType):
        return read_as(next(a for a in arguments if a is not type(None)), value, name)
    if (
        kind is Any
        or (origin is Literal and value in arguments)
        or (kind is float and type(value) in (int, float) and math.isfinite(value))
        or (kind is int and type(value) is int and 0 <= value <= _LARGEST)
        or (kind in (bool, str) and type(value) is kind)
    ):
        return value
    expected = {int: f"a whole number from 0 to {_LARGEST}", float: "a number", str: "text", bool: "true or false"}
    raise ConfigError(f"{name} must be {expected.get(kind, kind)}, got {reprlib.repr(value)}")


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
    """The classifier: `mlp` is the published one, `gated` learns a weight for each frame."""

    kind: Literal["mlp", "gated"]
    input_dim: int
    hidden_dim: int


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Everything that is needed to use a model, and its origin.

    `chunk_length` and `min_length` are in nt. A chunk is scored if its share of letters other than A, C, G, T, U is at
    most `max_ambiguous` and its `repetition` (see `virnucpro.seq`) at most `max_repetition`. `vote` says how frames
    are combined: `max` (the published method) or `weighted`. `calibration` turns weighted votes into evidence; its
    presets then replace `threshold`. `classes` names the classifier's logits: one or more host classes, then virus.
    `kmers` is the layout of a filter of 9-mers, if there is one.
    `checksums` maps file names to SHA-256.
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
    max_repetition: float = 1.0
    threshold: float = 0.5
    calibration: Calibration | None = None
    classes: tuple[str, ...] = TWO_CLASSES
    kmers: KmerLayout | None = None
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.vote not in ("max", "weighted"):
            raise ConfigError(f"vote must be max or weighted, got {self.vote!r}")
        if self.chunk_length < 3:
            raise ConfigError(f"chunk_length must be at least 3 nt (one codon), got {self.chunk_length}")
        for name in ("threshold", "max_ambiguous", "max_repetition"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        hosts, last = self.classes[:-1], self.classes[-1:]
        if not hosts or last != (VIRUS,) or len(set(self.classes)) < len(self.classes) or "" in hosts:
            raise ConfigError(f"classes must be different names of host classes, then virus, got {self.classes}")
        if len(hosts) > 1 and self.vote != "weighted":
            raise ConfigError(f"a model of more than two classes needs the vote weighted, got {self.vote}")
        if self.calibration and self.vote != "weighted":
            raise ConfigError(f"only the vote weighted can be calibrated, got {self.vote}")
        if self.calibration and self.calibration.n_hosts != len(hosts):
            raise ConfigError(
                f"the calibration has {self.calibration.n_hosts} host classes, the model {len(hosts)}; calibrate it "
                "again"
            )
        if self.calibration and len(hosts) > 1 and REFERENCE_FILE not in self.checksums:
            raise ConfigError(f"a calibrated model of several host classes needs {REFERENCE_FILE}; calibrate it again")
        sides = len(self.kmers.sides) if self.kmers else 0
        if self.calibration and len(self.calibration.kmers) not in (0, sides):
            raise ConfigError(
                f"the calibration weighs {len(self.calibration.kmers)} sides of 9-mers, the model has {sides}; "
                "calibrate it again"
            )
        _check_checksums(self.checksums, self.files())

    @property
    def cuts_pieces(self) -> bool:
        """Whether records are cut into pieces (see `virnucpro.seq.letters`); the published tool does not do so."""
        return self.frame_rule.kind != "stop_free"

    def encoders(self) -> dict[str, EncoderDescription]:
        """Return the encoders by the stems of their weight files."""
        return {"nucleotide": self.nucleotide, "protein": self.protein}

    def files(self) -> tuple[str, ...]:
        """Return the names of the files beside model.json."""
        has_tokenizer = "bpe" in (self.nucleotide.tokenizer, self.protein.tokenizer)
        optional = {
            TOKENIZER: has_tokenizer,
            KMERS: self.kmers is not None,
            REFERENCE_FILE: REFERENCE_FILE in self.checksums,
        }
        return (*WEIGHTS, *(name for name, there in optional.items() if there))

    def write_json(self, path: Path) -> None:
        """Write model.json."""
        _write_json(self, path)

    @classmethod
    def from_json(cls, path: Path) -> ModelDescription:
        """Read model.json.

        Raises:
            ModelError: the file is missing, is not JSON, or lacks or has unknown fields.
        """
        return _from_json(cls, path)


@dataclass(frozen=True, slots=True)
class LanguageModelDescription:
    """A language model alone, for `virnucpro embed`; `part` is what it reads, `training` its origin."""

    name: str
    part: Literal["nucleotide", "protein"]
    encoder: EncoderDescription
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_checksums(self.checksums, self.files())

    def encoders(self) -> dict[str, EncoderDescription]:
        """Return the encoder by the stem of its weight file."""
        return {self.part: self.encoder}

    def files(self) -> tuple[str, ...]:
        """Return the names of the files beside encoder.json."""
        optional = {HEAD_FILE: HEAD_FILE in self.checksums, TOKENIZER: self.encoder.tokenizer == "bpe"}
        return (f"{self.part}.safetensors", *(name for name, there in optional.items() if there))

    def write_json(self, path: Path) -> None:
        """Write encoder.json."""
        _write_json(self, path)

    @classmethod
    def from_json(cls, path: Path) -> LanguageModelDescription:
        """Read encoder.json.

        Raises:
            ModelError: the file is missing, is not JSON, or lacks or has unknown fields.
        """
        return _from_json(cls, path)


def _check_checksums(checksums: dict[str, str], files: tuple[str, ...]) -> None:
    if unknown := sorted(checksums.keys() - set(files)):
        raise ConfigError(f"checksums names {reprlib.repr(unknown[0])}, which is not a file of this model")
    if bad := [name for name, value in checksums.items() if not re.fullmatch("[0-9a-f]{64}", value)]:
        raise ConfigError(f"the checksum of {bad[0]} is not a SHA-256 in 64 hexadecimal digits")


def _write_json(description: ModelDescription | LanguageModelDescription, path: Path) -> None:
    path.write_text(json.dumps({"format": FORMAT, **asdict(description)}, indent=2) + "\n", encoding="utf-8")


def _from_json(kind: type[Description], path: Path) -> Description:
    if not path.exists():
        raise ModelError(f"{path.parent} is not a model directory: it has no {path.name}")
    values = read_json(path)
    found = values.pop("format", None)
    if found != FORMAT:
        raise ModelError(
            f"{path} has format {reprlib.repr(found)}, but this version reads format {FORMAT}; upgrade virnucpro"
        )
    try:
        return read_as(kind, values, "model")  # type: ignore[no-any-return]
    except ConfigError as error:
        raise ModelError(
            f"{path} is not a complete model description: {error}; copy the model directory again"
        ) from error


# The two kinds of descriptions, by file name.
DESCRIPTIONS: dict[str, type[ModelDescription] | type[LanguageModelDescription]] = {
    "model.json": ModelDescription,
    "encoder.json": LanguageModelDescription,
}
