"""Training settings: a TOML file with three tables, read into frozen dataclasses.

What a setting does is said beside it; `virnucpro train --settings` prints that as a template.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError, MissingInputError
from virnucpro.pretrained.description import VIRUS, read_as

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_EXCLUDED = ("viroid",)
_BOTH = (300, 500)
_RULE = FrameRule("longest_segments", segments=2, min_aa=20)


def _about(words: str) -> dict[str, str]:
    return {"about": words}


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Settings of the draws: shares of classes, weights of taxa, window lengths, errors, windows without an organism.

    Each window gets its own error rates, between 0 and the greatest.
    """

    directory: str = field(metadata=_about("directory with train/CLASS.fna and val/CLASS.fna; or --data"))
    class_share: dict[str, float] = field(metadata=_about("share of each class in a batch; virus and any hosts"))
    exclude: tuple[str, ...] = field(default=_EXCLUDED, metadata=_about("classes to leave out"))
    extra: str = field(
        default="", metadata=_about("second directory, with CLASS.fna for training only, without splits; or --extra")
    )
    extra_share: dict[str, float] = field(
        default_factory=dict,
        metadata=_about("share of a class's windows that comes from `extra`; all if only `extra` has the class"),
    )
    merge: dict[str, str] = field(
        default_factory=dict, metadata=_about("new names of host classes of the data, so that several count as one")
    )
    temper: float = field(default=0.5, metadata=_about("a taxon's weight is its size to this power; 0: all equal"))
    min_length: int = field(default=75, metadata=_about("shortest window, nt"))
    max_length: int = field(default=500, metadata=_about("longest window, nt; becomes the model's chunk length"))
    fixed_lengths: tuple[int, ...] = field(default=_BOTH, metadata=_about("lengths, nt, that are drawn more often"))
    fixed_share: float = field(default=0.7, metadata=_about("share of windows of these lengths; others: any length"))
    max_substitution: float = field(default=0.04, metadata=_about("greatest share of letters replaced"))
    max_indel: float = field(default=0.0, metadata=_about("greatest share of letters inserted or deleted"))
    indel_share: float = field(default=1.0, metadata=_about("share of windows with insertions and deletions"))
    homopolymer: float = field(
        default=1.0, metadata=_about("how many times as often a letter that repeats the one before it is changed")
    )
    max_unknown: float = field(default=0.0, metadata=_about("greatest share of letters turned into N"))
    fill_unknown: bool = field(default=False, metadata=_about("replace letters other than A, C, G, T by random bases"))
    tails: float = field(default=0.0, metadata=_about("share of windows with a homopolymer at an end"))
    adapter_ends: float = field(default=0.0, metadata=_about("share of windows with an adapter at the 3' end"))
    shuffled: float = field(
        default=0.0, metadata=_about("share of windows shuffled with dinucleotides kept; labelled as no virus")
    )
    simple: float = field(
        default=0.0, metadata=_about("share of windows replaced by simple repeats and adapters; labelled as no virus")
    )
    tandem: float = field(
        default=0.0, metadata=_about("share of host windows that become repeats of 20 to 200 nt; they keep their class")
    )

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
    """The shape of the model: classes, widths and layers of the two encoders, k of the nucleotide tokens."""

    name: str = field(metadata=_about("name of the model"))
    classes: Literal["two", "hosts"] = field(
        default="two", metadata=_about("two: other and virus; hosts: virus and every host class of class_share")
    )
    protein_layers: int = field(default=4, metadata=_about("layers of the protein encoder"))
    protein_width: int = field(default=192, metadata=_about("width of its vectors"))
    protein_heads: int = field(default=6, metadata=_about("its attention heads; they divide the width"))
    nucleotide_layers: int = field(default=3, metadata=_about("layers of the nucleotide encoder"))
    nucleotide_width: int = field(default=192, metadata=_about("width of its vectors"))
    nucleotide_heads: int = field(default=6, metadata=_about("its attention heads; they divide the width"))
    kmer: int = field(default=3, metadata=_about("nucleotides of one token"))
    hidden_dim: int = field(default=256, metadata=_about("width of the classifier's hidden layer"))
    dropout: float = field(default=0.1, metadata=_about("share of values set to zero in training"))
    frame_rule: FrameRule = field(
        default=_RULE,
        metadata=_about(
            "which reading frames of a window are used: the `segments` longest stop-free ones, of at least `min_aa` "
            "amino acids and the share `min_share` of the longest"
        ),
    )

    def __post_init__(self) -> None:
        if self.classes not in ("two", "hosts"):
            raise ConfigError(f"classes must be two or hosts, got {self.classes!r}")


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Settings of the fit. The learning rate has a linear warm-up, is then constant, and falls to zero at the end."""

    steps: int = field(metadata=_about("number of steps; each is one batch"))
    batch: int = field(default=512, metadata=_about("windows of a batch, for each process"))
    learning_rate: float = field(default=1e-3, metadata=_about("learning rate between warm-up and decay"))
    weight_decay: float = field(default=0.05, metadata=_about("weight decay of matrices"))
    warmup: int = field(default=500, metadata=_about("steps in which the learning rate rises"))
    decay: float = field(default=1.0, metadata=_about("share of the steps after the warm-up in which it falls to zero"))
    clip: float = field(default=1.0, metadata=_about("greatest norm of the gradient"))
    label_smoothing: float = field(default=0.03, metadata=_about("share of a label spread over the classes"))
    frame_loss: float = field(default=0.2, metadata=_about("weight of the loss of frames beside that of windows"))
    seed: int = field(default=1, metadata=_about("seed of the random numbers"))
    workers: int = field(default=4, metadata=_about("processes that make batches; 0: none beside the training"))
    evaluate_every: int = field(
        default=1000,
        metadata=_about("steps between evaluations; each writes log.jsonl, the model and a checkpoint for --resume"),
    )
    windows_per_class: int = field(
        default=300, metadata=_about("windows of each host class in an evaluation; of virus three times as many")
    )
    init: str = field(
        default="", metadata=_about("model of the same shape to start from, a name or a directory; or --init")
    )
    compile: bool = field(default=False, metadata=_about("fuse the work of a layer by torch.compile"))
    hidden_tokens: float = field(default=0.0, metadata=_about("share of tokens masked in each step"))
    optimizer: Literal["adamw", "muon"] = field(
        default="adamw", metadata=_about("adamw, or muon for the hidden matrices (torch 2.9 or later)")
    )

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "muon"):
            raise ConfigError(f"optimizer must be adamw or muon, got {self.optimizer!r}")


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """Settings of the published recipe, see `train.published`: a table [classifier] instead of the three others."""

    directory: str = field(metadata=_about("directory with train, val and test, CLASS.fna in each; or --data"))
    name: str = field(metadata=_about("name of the model"))
    model: str = field(
        default="published-500", metadata=_about("model whose encoders and frame rule are used; or --init")
    )
    exclude: tuple[str, ...] = field(default=_EXCLUDED, metadata=_about("classes to leave out"))
    windows: int = field(
        default=20_000, metadata=_about("windows of virus, and as many of all hosts; val and test: a tenth of it")
    )
    batch: int = field(default=32, metadata=_about("frames of a batch"))
    epochs: int = field(default=200, metadata=_about("greatest number of passes through the windows"))
    patience: int = field(default=5, metadata=_about("stop after so many epochs without a lower loss on val"))
    learning_rate: float = field(default=2e-4, metadata=_about("learning rate of the first epoch"))
    momentum: float = field(default=0.9, metadata=_about("momentum"))
    decay_every: int = field(default=10, metadata=_about("epochs after which the learning rate falls"))
    decay: float = field(default=0.85, metadata=_about("factor by which it falls"))
    seed: int = field(default=42, metadata=_about("seed of the random numbers"))

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
        raise MissingInputError(
            f"{path}: no such file; `virnucpro train --settings > {path}` writes a template"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        if "classifier" in values:
            _check_names({"classifier": ClassifierSettings}, values, "")
            classifier: ClassifierSettings = _read(ClassifierSettings, values, "classifier", path)
            return classifier
        _check_names(get_type_hints(TrainSettings), values, "")
        tables = (DataSettings, "data"), (ModelSettings, "model"), (FitSettings, "fit")
        return TrainSettings(*(_read(kind, values, name, path) for kind, name in tables))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; `virnucpro train --settings` prints all settings") from error


def _read(kind: Any, values: dict[str, Any], name: str, path: Path) -> Any:
    """Return the settings in a table.

    Raises:
        ConfigError: the table is missing, or has missing or invalid values.
    """
    if name not in values:
        raise ConfigError(f"the table [{name}] is missing")
    table = values[name]
    if isinstance(table, dict):
        places = (key for key in ("directory", "extra") if isinstance(table.get(key), str) and table[key])
        table = {**table, **{key: str((path.parent / table[key]).resolve()) for key in places}}
    return read_as(kind, table, name)


def _check_names(types: Mapping[str, Any], values: dict[str, Any], table: str) -> None:
    """Check the names in a table and in tables within it, and values that are one of a few words.

    Raises:
        ConfigError: a name or a word is unknown; the message has the name that is nearest.
    """
    for name, value in values.items():
        if name not in types:
            raise ConfigError(_unknown(name, types, table))
        if is_dataclass(types[name]) and isinstance(value, dict):
            _check_names(get_type_hints(types[name]), value, f"{table}.{name}".lstrip("."))
        words = get_args(types[name]) if get_origin(types[name]) is Literal else (value,)
        if value not in words:
            raise ConfigError(f"{name} must be {' or '.join(words)}, got {value!r}")


def _unknown(name: str, known: Iterable[str], table: str) -> str:
    near = get_close_matches(name, known, n=1)
    if table:
        return f"[{table}] has no setting {name!r}" + (f"; did you mean {near[0]}?" if near else "")
    tables = ", ".join(f"[{one}]" for one in known)
    return f"unknown table [{name}]" + (f"; did you mean [{near[0]}]?" if near else f"; the tables are {tables}")
