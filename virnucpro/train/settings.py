"""Training settings: a TOML file with three tables, read into frozen dataclasses."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError, MissingInputError
from virnucpro.pretrained.description import VIRUS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Settings of the draws: shares of classes, weights of taxa, window lengths, errors, windows without an organism.

    `class_share` is the share of each class in a batch. `extra` is a second directory with files CLASS.fna for training
    only; `extra_share` is the share of a class's windows that is drawn from it (all windows of a class that only this
    directory has). `merge` renames classes of the data, so that several count as one. `fixed_lengths` are drawn with
    probability `fixed_share`, otherwise a length between `min_length` and `max_length` nt.

    Each window gets its own error rates, up to `max_substitution` letters replaced and `max_unknown` turned into N. A
    share `indel_share` of the windows has insertions and deletions, up to `max_indel` per letter; a letter that
    repeats the one before it is changed `homopolymer` times as often. With `fill_unknown` every letter other than A, C,
    G and T is replaced by a random base.
    A share `tails` of the windows gets a homopolymer at an end, a share `adapter_ends` an adapter at the 3' end.

    A share `shuffled` of the windows, of any class, is shuffled with its dinucleotides kept, and a share `simple` is
    replaced by simple repeats and adapters; both are then no virus. A share `tandem` of the host windows becomes
    repeats of a unit of 20 to 200 nt of it, with mutations, and keeps its class.
    """

    directory: str
    class_share: dict[str, float]
    exclude: tuple[str, ...] = ("viroid",)
    extra: str = ""
    extra_share: dict[str, float] = field(default_factory=dict)
    merge: dict[str, str] = field(default_factory=dict)
    temper: float = 0.5
    min_length: int = 75
    max_length: int = 500
    fixed_lengths: tuple[int, ...] = (300, 500)
    fixed_share: float = 0.7
    max_substitution: float = 0.04
    max_indel: float = 0.0
    indel_share: float = 1.0
    homopolymer: float = 1.0
    max_unknown: float = 0.0
    fill_unknown: bool = False
    tails: float = 0.0
    adapter_ends: float = 0.0
    shuffled: float = 0.0
    simple: float = 0.0
    tandem: float = 0.0

    def __post_init__(self) -> None:
        if min(self.shuffled, self.simple) < 0 or self.shuffled + self.simple > 1:
            raise ConfigError(
                f"shuffled and simple are shares of at most 1 together, got {self.shuffled}, {self.simple}"
            )
        for name in (
            "max_substitution", "max_indel", "indel_share", "max_unknown", "tails", "adapter_ends", "tandem"
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if not 1 <= self.homopolymer < math.inf:
            raise ConfigError(f"homopolymer must be a factor of at least 1, got {self.homopolymer}")
        if not 3 <= self.min_length <= min(self.max_length, *self.fixed_lengths):
            raise ConfigError(
                f"min_length must be at least 3 and at most max_length and fixed_lengths, got {self.min_length}"
            )
        for name, share in self.extra_share.items():
            if not 0 <= share <= 1 or name not in self.class_share:
                raise ConfigError(f"extra_share must give classes of class_share a share in 0..1, got {name} = {share}")
        if self.extra_share and not self.extra:
            raise ConfigError("extra_share needs the directory `extra`, which is not set")
        if VIRUS in self.merge:
            raise ConfigError("merge may only rename host classes, not virus")

    def hosts(self) -> tuple[str, ...]:
        """Return the host classes that are drawn, sorted by name."""
        return tuple(sorted(self.class_share.keys() - {VIRUS}))


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The shape of the model: classes, widths and layers of the two encoders, k of the nucleotide tokens.

    `classes` is `two` (other and virus) or `hosts`: virus and every host class of `class_share`.
    """

    name: str
    classes: Literal["two", "hosts"] = "two"
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

    def __post_init__(self) -> None:
        if self.classes not in ("two", "hosts"):
            raise ConfigError(f"classes must be two or hosts, got {self.classes!r}")


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Settings of the fit: AdamW, or Muon (Jordan et al. 2024) for the hidden matrices. The learning rate has a linear
    warm-up, is then constant, and falls to zero over the last share `decay` of the steps.

    `batch` is the number of windows per process; `frame_loss` is the weight of the mean loss of single frames beside
    that of chunks; `init` names a model of the same shape with the initial weights, which may have two classes if the
    new one has more; `compile` fuses the elementwise work of a layer by torch.compile; `hidden_tokens` is the share of
    tokens masked in each step.
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
    """Settings of the published recipe, see `train.published`: a table [classifier] instead of the three others.

    `model` names the model whose encoders and frame rule are used. `windows` is the number of viral windows drawn from
    train, with as many of all hosts together; val and test get a tenth of it.
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
            raise ConfigError(
                "windows must be at least 10, batch at least 2, epochs, patience and decay_every at least 1"
            )


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The three tables [data], [model] and [fit]."""

    data: DataSettings
    model: ModelSettings
    fit: FitSettings

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_settings(path: Path) -> TrainSettings | ClassifierSettings:
    """Read the settings of a training; a relative data directory is relative to the file.

    Raises:
        MissingInputError: the file does not exist.
        ConfigError: it is not TOML, or has unknown, missing or invalid values.
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
        raise ConfigError(
            f"{path}: {error}; the file must have the tables [data], [model] and [fit], or [classifier]"
        ) from error


def _from_file(table: dict[str, Any], path: Path) -> dict[str, Any]:
    lists = {name: tuple(value) for name, value in table.items() if isinstance(value, list)}
    places = {name: str((path.parent / table[name]).resolve()) for name in ("directory", "extra") if table.get(name)}
    return {**table, **lists, **places}
