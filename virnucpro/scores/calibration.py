"""Calibration: from logits to log likelihood ratios by length, their pooling over a record, operating points.

H host classes. A log likelihood ratio is the natural logarithm of P(data | virus) / P(data | host), for one host class
or for a mixture of them. Lengths are in nt. Between two measured lengths, values are linear in the logarithm of the
length; beyond the first and the last they are constant.
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
# The false positive rate of each preset, as the mean over host classes.
PRESETS = {"sensitive": 0.10, "balanced": 0.05, "strict": 0.01}


def log_odds(probability: float) -> float:
    """Return the log odds of a probability between 0 and 1, both excluded."""
    return math.log(probability) - math.log1p(-probability)


def probability(log_ratio: Floats | float, prevalence: float) -> Floats:
    """Return the probability of virus by Bayes' rule, from a log likelihood ratio and a prevalence as the prior."""
    posterior = np.asarray(log_ratio, dtype=np.float64) + log_odds(prevalence)
    largest = np.maximum(0.0, posterior)  # keeps both exponentials from overflowing
    virus, other = np.exp(posterior - largest), np.exp(-largest)
    return np.asarray(virus / (other + virus))


def against_mixture(ratios: Floats, shares: Floats) -> Floats:
    """Return the log likelihood ratio (N,) of virus against a mixture of hosts, from that against each, (N, H).

    `shares` (H,) are those of the host classes among hosts, with sum 1. With one host class, the result is its ratio.
    """
    with np.errstate(divide="ignore"):  # a class that is absent
        weighted = ratios - np.log(shares)
    lowest = weighted.min(axis=-1)
    return np.asarray(lowest - np.log(np.exp(lowest[..., None] - weighted).sum(axis=-1)))


@dataclass(frozen=True, slots=True)
class Knot:
    """The calibration at one length.

    The log likelihood ratio of virus against host class h is slope[h] * difference + intercept[h] (Platt 1999), where
    `difference` is logit(virus) - logit(h). `length` is that of a chunk (nt), `pooling` the exponent of
    `Calibration.pool` for such chunks.
    """

    length: int
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    pooling: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold on the log likelihood ratio for records of `length` nt, and the shares it calls virus.

    `recall` is the share of viruses, `false_positive_rate` that of hosts as the mean over host classes, and `shuffled`
    that of windows with shuffled dinucleotides, half from viruses and half from hosts.
    """

    length: int
    log_ratio: float
    recall: float
    false_positive_rate: float
    shuffled: float | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How logits become scores and calls.

    `prevalence` is the default prior of scores; `knots` and the points of each preset ascend in length. `shares` (H,)
    are the default shares of the host classes among hosts; empty if they are alike. `kmers` (S,) are the weights of the
    9-mers of each side of the model's filter, which are added to the evidence of chunks; empty without one.
    """

    prevalence: float
    knots: tuple[Knot, ...]
    presets: dict[str, tuple[OperatingPoint, ...]]
    shares: tuple[float, ...] = ()
    kmers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.prevalence < 1:
            raise ConfigError(f"prevalence of a calibration must lie between 0 and 1, got {self.prevalence}")
        if self.presets.keys() != PRESETS.keys():
            raise ConfigError(f"a calibration has the presets {', '.join(PRESETS)}, got {', '.join(self.presets)}")
        every: list[Sequence[Knot | OperatingPoint]] = [self.knots, *self.presets.values()]
        for lengths in ([point.length for point in points] for points in every):
            if not lengths or lengths[0] < 1 or lengths != sorted(set(lengths)):
                raise ConfigError(f"the lengths of a calibration must ascend from at least 1 nt, got {lengths}")
        sizes = {len(values) for knot in self.knots for values in (knot.slope, knot.intercept)}
        if self.shares:
            sizes.add(len(self.shares))
            if min(self.shares) < 0 or not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
                raise ConfigError(f"shares of a calibration must be at least 0, with sum 1, got {self.shares}")
        if len(sizes) > 1 or 0 in sizes:
            raise ConfigError(f"a calibration needs a slope and an intercept for each host class, got {sorted(sizes)}")

    @property
    def n_hosts(self) -> int:
        """The number of host classes."""
        return len(self.knots[0].slope)

    @property
    def default_shares(self) -> Floats:
        """The default shares (H,) of the host classes among hosts."""
        return np.array(self.shares) if self.shares else np.full(self.n_hosts, 1 / self.n_hosts)

    def ratios(self, differences: Floats, lengths: npt.NDArray[np.int64], sums: Floats) -> Floats:
        """Return the log likelihood ratios (C, H) of chunks with these differences (C, H) and lengths (C,).

        `sums` (C, S) are their numbers of 9-mers, see `KmerFilter.sums`.
        """
        scaled = _columns_at(lengths, self.knots, "slope") * differences + _columns_at(lengths, self.knots, "intercept")
        return scaled + (sums @ np.array(self.kmers))[:, None] if self.kmers else scaled

    def pool(self, ratios: Floats, lengths: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> Floats:
        """Return the log likelihood ratios of records (R, H) from those of their chunks (C, H).

        `lengths` (C,) are in nt; the chunks of record r begin at `starts[r]`, and every record has at least one.

        The result is the mean, weighted by length, times n ** pooling, where n is the effective number of chunks (Kish
        1965). The exponent would be 1 if the errors of chunks were independent, and 0 if they were all equal. It is
        read at the mean length of the chunks, also weighted by length.
        """
        total, squares = np.add.reduceat(lengths, starts), np.add.reduceat(lengths**2, starts)
        factor = (total**2 / squares) ** _at(squares / total, self.knots, "pooling")
        alone = np.diff(starts, append=len(lengths)) == 1
        pooled = [np.add.reduceat(of_host * lengths, starts) / total * factor for of_host in ratios.T]
        return np.where(alone[:, None], ratios[starts], np.stack(pooled, axis=1))

    def thresholds(self, preset: str) -> list[float]:
        """Return the minimum log likelihood ratio of a virus of 0, 1, 2, ... nt; longer records use the last value."""
        points = self.presets[preset]
        values: list[float] = _at(np.maximum(np.arange(points[-1].length + 1), 1), points, "log_ratio").tolist()
        return values


def _at(lengths: Any, points: Sequence[Knot | OperatingPoint], name: str) -> Floats:
    """Interpolate a field of the points at these lengths."""
    return _interpolated(lengths, points, [getattr(point, name) for point in points])


def _columns_at(lengths: Any, knots: Sequence[Knot], name: str) -> Floats:
    """Interpolate a field with H values of the knots at these lengths (C,); return (C, H)."""
    columns = zip(*(getattr(knot, name) for knot in knots), strict=True)
    return np.stack([_interpolated(lengths, knots, column) for column in columns], axis=1)


def _interpolated(lengths: Any, points: Sequence[Knot | OperatingPoint], values: Sequence[float]) -> Floats:
    known = np.log([point.length for point in points])
    return np.asarray(np.interp(np.log(lengths), known, values), dtype=np.float64)
