"""Training settings: a TOML file of three tables, read into frozen dataclasses."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError, MissingInputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What is drawn: shares of the classes, tempering of taxa, window lengths, substitutions.

    `class_share` gives each class its part of a batch. `fixed_lengths` are drawn with probability
    `fixed_share`, otherwise a length between `min_length` and `max_length` nt. Each window gets its own rates of
    errors, up to `max_substitution` letters replaced, `max_indel` left out or doubled, `max_unknown` made N.
    A share `shuffled` of the windows, of any class, is shuffled with its dinucleotides kept, and a share `simple` is
    replaced by simple repeats and adapters; both are then no virus.
    """

    directory: str
    class_share: dict[str, float]
    exclude: tuple[str, ...] = ("viroid",)
    temper: float = 0.5
    min_length: int = 75
    max_length: int = 500
    fixed_lengths: tuple[int, ...] = (300, 500)
    fixed_share: float = 0.7
    max_substitution: float = 0.04
    max_indel: float = 0.0
    max_unknown: float = 0.0
    shuffled: float = 0.0
    simple: float = 0.0

    def __post_init__(self) -> None:
        if min(self.shuffled, self.simple) < 0 or self.shuffled + self.simple > 1:
            raise ConfigError(
                f"shuffled and simple are shares of at most 1 together, got {self.shuffled}, {self.simple}"
            )


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The shape of the model; widths and layers of the two encoders, the k of the nucleotide tokens."""

    name: str
    protein_layers: int = 4
    protein_width: int = 192
    protein_heads: int = 6
    nucleotide_layers: int = 3
    nucleotide_width: int = 192
    nucleotide_heads: int = 6
    kmer: int = 3
    hidden_dim: int = 256
    dropout: float = 0.1
    frame_rule: FrameRule = field(default_factory=lambda: FrameRule("longest_segments", segments=2, min_aa=20))


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How it is fitted: AdamW, or Muon (Jordan et al. 2024) for the hidden matrices; linear warm-up to a constant rate
    that falls to zero over the last `decay` of the steps.

    `batch` counts windows a process; `frame_loss` weighs the mean loss of single frames beside the loss of
    the chunks' votes; `init` names a model of the same shape whose weights to start from; `compile` fuses the
    elementwise work of a layer by torch.compile; `hidden_tokens` is the share of tokens masked at each step.
    """

    steps: int
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 500
    decay: float = 1.0
    clip: float = 1.0
    label_smoothing: float = 0.03
    frame_loss: float = 0.2
    seed: int = 1
    workers: int = 4
    evaluate_every: int = 1000
    windows_per_class: int = 300
    init: str = ""
    compile: bool = False
    hidden_tokens: float = 0.0
    optimizer: Literal["adamw", "muon"] = "adamw"

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "muon"):
            raise ConfigError(f"optimizer must be adamw or muon, got {self.optimizer!r}")


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """The published recipe, see `train.published`: a table [classifier] instead of the three others.

    `model` names the model whose encoders and frame rule are used, `windows` how many of virus are drawn from train,
    and as many of all hosts; of val and of test a tenth.
    """

    directory: str
    name: str
    model: str = "published-500"
    exclude: tuple[str, ...] = ("viroid",)
    windows: int = 20_000
    batch: int = 32
    epochs: int = 200
    patience: int = 5
    learning_rate: float = 2e-4
    momentum: float = 0.9
    decay_every: int = 10
    decay: float = 0.85
    seed: int = 42

    def __post_init__(self) -> None:
        if min(self.windows, self.epochs, self.patience, self.decay_every) < 1 or self.windows < 10 or self.batch < 2:
            raise ConfigError("windows is at least 10, batch at least 2, epochs, patience and decay_every at least 1")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The three tables [data], [model] and [fit]."""

    data: DataSettings
    model: ModelSettings
    fit: FitSettings

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_settings(path: Path) -> TrainSettings | ClassifierSettings:
    """Read a training's settings; a relative data directory is relative to the file.

    Raises:
        MissingInputError: the file is not there.
        ConfigError: it is not TOML, or has unknown, missing or impossible values.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        if tuple(values) == ("classifier",):
            return ClassifierSettings(**_from_file(values["classifier"], path))
        data, model, fit = _from_file(values["data"], path), dict(values["model"]), dict(values["fit"])
        if "frame_rule" in model:
            model["frame_rule"] = FrameRule(**model["frame_rule"])
        return TrainSettings(DataSettings(**data), ModelSettings(**model), FitSettings(**fit))
    except (KeyError, TypeError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}; the tables are [data], [model] and [fit], or [classifier]") from error


def _from_file(table: dict[str, Any], path: Path) -> dict[str, Any]:
    lists = {name: tuple(value) for name, value in table.items() if isinstance(value, list)}
    return {**table, **lists, "directory": str((path.parent / table["directory"]).resolve())}
