"""Bootstrap weights, and intervals by Efron's percentile method.

Sequences of one taxon resemble one another, so known taxa are drawn whole (the cluster bootstrap); intervals from
single sequences would be too narrow. Taxa are drawn within their class, so that no class is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError
from virnucpro.evaluate.metrics import Figures, Floats, Sample, joined

# Weights held at a time: 32 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The settings of intervals: number of replicates, seed, share of replicates within the interval."""

    replicates: int = 200
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.replicates < 2 or not 0 < self.level < 1:
            raise ConfigError(
                f"a bootstrap needs at least 2 replicates and a level between 0 and 1, "
                f"got {self.replicates} replicates and level {self.level}"
            )

    def weights(self, classes: Sequence[str], taxa: Sequence[str] | None) -> Iterator[Floats]:
        """Yield weights (R, n) of all replicates in blocks: how often each of n sequences was drawn.

        Args:
            classes: class of each sequence.
            taxa: taxon of each sequence, or None to draw sequences one by one.
        """
        names = np.array(classes, dtype=str)
        groups = np.arange(len(names)) if taxa is None else np.unique(taxa, return_inverse=True)[1]
        members = [np.flatnonzero(names == name) for name in np.unique(names)]
        drawn = [np.unique(groups[rows], return_inverse=True) for rows in members]
        rng = np.random.default_rng(self.seed)
        done = 0
        while done < self.replicates:
            size = min(self.replicates - done, max(1, _BLOCK // max(1, len(names))))
            weights = np.empty((size, len(names)))
            for rows, (own, number) in zip(members, drawn, strict=True):
                weights[:, rows] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size)[:, number]
            done += size
            yield weights

    def intervals(
        self,
        samples: Sequence[tuple[npt.NDArray[np.bool_], Sample]],
        classes: Sequence[str],
        taxa: Sequence[str] | None,
    ) -> list[dict[tuple[str, str], tuple[float, float]]]:
        """Return the interval of every figure of each sample; NaN if no replicate gave the figure.

        Args:
            samples: which of all sequences are in the sample (n,), and the sample itself.
            classes: class of every sequence.
            taxa: taxon of every sequence, or None.
        """
        parts: list[list[Figures]] = [[] for _ in samples]
        for weights in self.weights(classes, taxa):
            for own, (chosen, sample) in zip(parts, samples, strict=True):
                own.append(sample.figures(weights[:, chosen]))
        return [{key: self._interval(values) for key, values in joined(own).items()} for own in parts]

    def _interval(self, values: Floats) -> tuple[float, float]:
        """Return the quantiles over the replicates that gave a figure; others may lack a small class."""
        given = values[~np.isnan(values)]
        if not len(given):
            return float("nan"), float("nan")
        outside = (1 - self.level) / 2
        low, high = np.quantile(given, (outside, 1 - outside))
        return float(low), float(high)
