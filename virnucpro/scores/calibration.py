"""What a model's margins are worth: log likelihood ratios by length, their sum over a record, operating points.

A log likelihood ratio is the natural logarithm of P(margin | virus) / P(margin | host). Lengths are in nt; between two
lengths that were measured everything is linear in their logarithm, beyond the first and the last it is constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError

Floats = npt.NDArray[np.float64]
# The false positive rate, the mean over host classes, that each preset is set to.
PRESETS = {"sensitive": 0.10, "balanced": 0.05, "strict": 0.01}


def log_odds(probability: float) -> float:
    """Return the logarithm of the odds of a probability within 0..1, both excluded."""
    return math.log(probability) - math.log1p(-probability)


def probability(log_ratio: Floats | float, prevalence: float) -> Floats:
    """Return the probability of virus by Bayes' rule: evidence is a log likelihood ratio, the prior a prevalence."""
    posterior = np.asarray(log_ratio, dtype=np.float64) + log_odds(prevalence)
    largest = np.maximum(0.0, posterior)  # with it, neither power overflows
    virus, other = np.exp(posterior - largest), np.exp(-largest)
    return np.asarray(virus / (other + virus))


@dataclass(frozen=True, slots=True)
class Knot:
    """The log likelihood ratio of a chunk of `length` nt is slope * margin + intercept (Platt 1999).

    `pooling` is the exponent of `Calibration.pool` for such chunks.
    """

    length: int
    slope: float
    intercept: float
    pooling: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold on the log likelihood ratio does to records of `length` nt: the shares that are called virus.

    `false_positive_rate` is the mean over host classes; `shuffled` is of windows of virus and hosts, half each, whose
    dinucleotides were shuffled.
    """

    length: int
    log_ratio: float
    recall: float
    false_positive_rate: float
    shuffled: float | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How margins become scores and calls.

    `prevalence` is the prior at which scores are stated unless the user gives another; `knots` and each of `presets`
    ascend in length.
    """

    prevalence: float
    knots: tuple[Knot, ...]
    presets: dict[str, tuple[OperatingPoint, ...]]

    def __post_init__(self) -> None:
        if not 0 < self.prevalence < 1:
            raise ConfigError(f"prevalence of a calibration must lie between 0 and 1, got {self.prevalence}")
        if self.presets.keys() != PRESETS.keys():
            raise ConfigError(f"a calibration has the presets {', '.join(PRESETS)}, got {', '.join(self.presets)}")
        every: list[Sequence[Knot | OperatingPoint]] = [self.knots, *self.presets.values()]
        for lengths in ([point.length for point in points] for points in every):
            if not lengths or lengths[0] < 1 or lengths != sorted(set(lengths)):
                raise ConfigError(f"the lengths of a calibration must ascend from at least 1 nt, got {lengths}")

    def log_ratios(self, margins: Floats, lengths: npt.NDArray[np.int64]) -> Floats:
        """Return the log likelihood ratios (C,) of chunks with these margins (C,) and lengths (C,)."""
        return _at(lengths, self.knots, "slope") * margins + _at(lengths, self.knots, "intercept")

    def pool(self, log_ratios: Floats, lengths: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> Floats:
        """Return the log likelihood ratios of records (R,) from those of their chunks (C,).

        `lengths` (C,) are in nt; the chunks of record r begin at `starts[r]`, and every record has at least one.

        It is their mean, weighted by length, times n ** pooling, where n is the effective number of chunks (Kish
        1965): 1 would add up chunks that err independently, 0 takes their mean as if they all erred alike. The
        exponent is that of the chunks' mean length, likewise weighted by length.
        """
        total, squares = np.add.reduceat(lengths, starts), np.add.reduceat(lengths**2, starts)
        mean = np.add.reduceat(log_ratios * lengths, starts) / total
        pooled = mean * (total**2 / squares) ** _at(squares / total, self.knots, "pooling")
        alone = np.diff(starts, append=len(lengths)) == 1
        return np.where(alone, log_ratios[starts], pooled)

    def thresholds(self, preset: str) -> list[float]:
        """Return the least log likelihood ratio of a virus of 0, 1, 2, ... nt; a longer record has the last one."""
        points = self.presets[preset]
        values: list[float] = _at(np.maximum(np.arange(points[-1].length + 1), 1), points, "log_ratio").tolist()
        return values


def _at(lengths: Any, points: Sequence[Knot | OperatingPoint], name: str) -> Floats:
    """Interpolate a field of the points at these lengths."""
    known = np.log([point.length for point in points])
    values = [getattr(point, name) for point in points]
    return np.asarray(np.interp(np.log(lengths), known, values), dtype=np.float64)
