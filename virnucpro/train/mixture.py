"""The training data: labelled genomes, further sequences for training only, and how often each record is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError
from virnucpro.evaluate.genomes import Genomes, joined, read_genomes, renamed
from virnucpro.train.settings import DataSettings


@dataclass(frozen=True, slots=True)
class Mixture:
    """Records, and the probability (N,) of each in a draw of a window."""

    genomes: Genomes
    weights: npt.NDArray[np.float64]


def read_split(settings: DataSettings, split: str) -> Genomes:
    """Read a split of the labelled genomes, with the classes that `merge` names."""
    return renamed(read_genomes(Path(settings.directory), split, settings.exclude), settings.merge)


def read_mixture(settings: DataSettings) -> Mixture:
    """Read all training data.

    Raises:
        VirnucproError: a directory cannot be read, or no directory has a class with a share.
    """
    genomes = read_split(settings, "train")
    if not settings.extra:
        return Mixture(genomes, genomes.weights(settings.class_share, settings.temper))
    extra = renamed(read_genomes(Path(settings.extra), "", settings.exclude), settings.merge)
    own, other = (set(part.classes.tolist()) for part in (genomes, extra))
    if lacking := sorted(settings.class_share.keys() - own - other):
        raise ConfigError(
            f"class_share names {lacking[0]!r}, which the data lack; their classes are {', '.join(sorted(own | other))}"
        )
    if lacking := sorted(name for name, share in settings.extra_share.items() if share and name not in other):
        raise ConfigError(f"extra_share names {lacking[0]!r}, which {settings.extra} lacks")
    parts = {name: settings.extra_share.get(name, 0.0) if name in own else 1.0 for name in settings.class_share}
    total = sum(settings.class_share.values())
    weights = []
    for part, share in (
        (genomes, {name: value * (1 - parts[name]) for name, value in settings.class_share.items()}),
        (extra, {name: value * parts[name] for name, value in settings.class_share.items()}),
    ):
        drawn = {name: value for name, value in share.items() if value}
        weights.append(
            part.weights(drawn, settings.temper) * sum(drawn.values()) / total if drawn else np.zeros(len(part.ids))
        )
    return Mixture(joined((genomes, extra)), np.concatenate(weights))
