"""The composition of a run from its evidence: the share of virus, and the false discovery rate at each score.

Evidence is a log likelihood ratio in steps of 0.01, between -30 and 30. A run keeps only a histogram of it, whose size
does not depend on the number of records.
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
    """Return the evidence, in steps, for log likelihood ratios (N,); 0 for NaN."""
    return np.clip(np.rint(np.nan_to_num(log_ratios) * _STEPS), -_LARGEST, _LARGEST).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Composition:
    """`prevalence` is the share of virus among the records with a score; `fdr` maps evidence, in steps, to the
    expected share of others among the records with at least that evidence."""

    prevalence: float
    fdr: dict[int, float]

    @property
    def rounded_prevalence(self) -> float:
        """The share of virus with the digits of run.json."""
        return round(self.prevalence, 6)

    @classmethod
    def of(cls, histogram: Mapping[int, int]) -> Composition | None:
        """Estimate the composition from a histogram of evidence; None if it is empty.

        The prevalence is the fixed point of Saerens et al. (2002, doi:10.1162/089976602753284446), at which the mean
        posterior equals the prior. One virus and one other are added, so that a few records never give 0 or 1. The
        likelihood is concave, so bisection finds it.
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
