"""What a run consists of, from its own evidence: the share of virus in it, and the false discovery rate at each score.

Evidence is a log likelihood ratio in steps of 0.01, at most 30 either way: a histogram of it is all that is kept of a
run, however many records it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.scores.calibration import Floats, probability

_STEPS = 100  # in a unit of the log likelihood ratio
_LARGEST = 30 * _STEPS


def evidence_steps(log_ratios: Floats) -> npt.NDArray[np.int64]:
    """Return the evidence of records with these log likelihood ratios (N,) in steps; where it is NaN, 0."""
    return np.clip(np.rint(np.nan_to_num(log_ratios) * _STEPS), -_LARGEST, _LARGEST).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Composition:
    """`prevalence` is the share of virus among the records with a score; `fdr` maps evidence, in steps, to the share
    of others that is expected among the records with as much evidence or more."""

    prevalence: float
    fdr: dict[int, float]

    @property
    def rounded_prevalence(self) -> float:
        """The share of virus as it stands in run.json."""
        return round(self.prevalence, 6)

    @classmethod
    def of(cls, histogram: Mapping[int, int]) -> Composition | None:
        """Estimate the composition from evidence and how often it was seen; None where none was seen.

        The prevalence is the one to which the algorithm of Saerens et al. (2002, doi:10.1162/089976602753284446)
        converges, under which the mean posterior is the prior, with one virus and one other seen besides, so that a
        few records do not make it 0 or 1. The likelihood is concave, hence found by bisection.
        """
        if not histogram:
            return None
        steps = np.array(sorted(histogram, reverse=True))
        number = np.array([histogram[step] for step in steps.tolist()], dtype=np.float64)
        low, high = 0.0, 1.0
        for _ in range(60):
            prevalence = (low + high) / 2
            posterior = probability(steps / _STEPS, prevalence)
            if (number * posterior).sum() + 1 > (number.sum() + 2) * prevalence:
                low = prevalence
            else:
                high = prevalence
        fdr = np.cumsum(number * (1 - posterior)) / np.cumsum(number)
        return cls(prevalence, dict(zip(steps.tolist(), fdr.tolist(), strict=True)))
