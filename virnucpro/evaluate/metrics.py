"""Metrics of scores: area under the ROC curve, recall at fixed false-positive rates, calibration error.

n sequences, R weightings: weights (R, n) say how often each sequence counts. A row of ones gives the figures
themselves, rows drawn by `bootstrap` their spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.evaluate.genomes import VIRUS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ALL_HOSTS, MACRO = "all", "mean over host classes"
CALIBRATION_BINS = 10
_RECALL, _FALSE_POSITIVES = "recall_{}", "false_positive_rate_{}"  # of an operating point
_RATES = {"recall_at_5_percent_fpr": 0.05, "recall_at_1_percent_fpr": 0.01}
# (hosts, name of the figure) -> one value per weighting; hosts is ALL_HOSTS, a host class or MACRO.
Figures = dict[tuple[str, str], Floats]


def auroc(positive: Floats, negative: Floats) -> float:
    """Return the probability that a positive scores above a negative, ties counted half (Mann-Whitney U)."""
    return _single(_Ranked(positive, negative, *_ones(positive, negative)).auroc())


def recall_at(positive: Floats, negative: Floats, false_positive_rate: float) -> float:
    """Return the recall at the threshold that at most this share of negatives passes."""
    return _single(_Ranked(positive, negative, *_ones(positive, negative)).recall_at(false_positive_rate))


def calibration_error(scores: Floats, is_virus: Bools, weights: Floats | None = None) -> float:
    """Return the expected calibration error: mean |share of viruses - mean score| over ten bins of equal width.

    Bins are weighted by their number of sequences (Guo et al. 2017). Scores are read as probabilities of virus, so the
    figure is valid only for the measured mix of viruses and hosts, or for the mix given by `weights` (n,).
    """
    return _single(
        _calibration_error(scores, is_virus, np.ones((1, len(scores))) if weights is None else weights[None])
    )


def _single(values: Floats) -> float:
    return float(values[0])


def _ones(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    return np.ones((1, len(positive))), np.ones((1, len(negative)))


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; dividing by 0 gives NaN."""
    ratio: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


class _Ranked:
    """Positives (P,) and sorted negatives (N,) with weights (R, P) and (R, N)."""

    def __init__(self, positive: Floats, negative: Floats, of_positive: Floats, of_negative: Floats) -> None:
        order = np.argsort(negative, kind="stable")
        self.positive, self.negative = positive, negative[order]
        self.of_positive, self.of_negative = of_positive, of_negative[:, order]
        self.positives, self.negatives = of_positive.sum(1), of_negative.sum(1)  # (R,)

    def auroc(self) -> Floats:
        passed = np.pad(np.cumsum(self.of_negative, axis=1), ((0, 0), (1, 0)))  # (R, N+1)
        below, up_to = (np.searchsorted(self.negative, self.positive, side) for side in ("left", "right"))
        wins = (self.of_positive * (passed[:, below] + passed[:, up_to])).sum(1) / 2
        return _ratio(wins, self.positives * self.negatives)

    def average_precision(self) -> Floats:
        positive, of_positive = np.sort(self.positive), self.of_positive[:, np.argsort(self.positive, kind="stable")]
        found = _at_least(positive, of_positive, positive)  # (R, P), by the threshold at each positive
        passed = _at_least(self.negative, self.of_negative, positive)
        return _ratio((of_positive * _ratio(found, found + passed)).sum(1, where=of_positive > 0), self.positives)

    def recall_at(self, false_positive_rate: float) -> Floats:
        allowed = np.floor(false_positive_rate * self.negatives + 1e-9)  # 0.29 * 100 is a little below 29
        may_pass = (np.cumsum(self.of_negative[:, ::-1], axis=1) <= allowed[:, None]).sum(1)
        threshold = np.append(self.negative[::-1], -np.inf)[may_pass]  # (R,)
        found = (self.of_positive * (self.positive > threshold[:, None])).sum(1)
        return _ratio(found, np.where(self.negatives > 0, self.positives, 0.0))


def _at_least(scores: Floats, weights: Floats, thresholds: Floats) -> Floats:
    """Return the weight (R, T) of sorted scores (S,) with weights (R, S) that are at least each threshold (T,)."""
    below = np.pad(np.cumsum(weights, axis=1), ((0, 0), (1, 0)))
    passed: Floats = below[:, -1:] - below[:, np.searchsorted(scores, thresholds, "left")]
    return passed


def _bins(scores: Floats) -> Floats:
    """Return (n, bins): 1 where a score lies in the bin; the last bin includes score 1."""
    number = np.clip((scores * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    chosen: Floats = np.eye(CALIBRATION_BINS)[number]
    return chosen


def _calibration_error(scores: Floats, is_virus: Bools, weights: Floats) -> Floats:
    excess = _bins(scores) * (scores - is_virus)[:, None]  # (n, bins)
    return _ratio(np.abs(weights @ excess).sum(1), weights.sum(1))


def roc_curve(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return false- and true-positive rates from (0, 0) to (1, 1), with one point per distinct score."""
    thresholds = np.unique(np.concatenate((positive, negative)))[::-1]
    above = (1 - np.searchsorted(np.sort(side), thresholds, "left") / len(side) for side in (negative, positive))
    false_positive, true_positive = (np.concatenate(([0.0], rate)) for rate in above)
    return false_positive, true_positive


def precision_recall_curve(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return recall and precision at each distinct score of a positive, from the highest score down."""
    thresholds = np.unique(positive)[::-1]
    found, passed = (len(side) - np.searchsorted(np.sort(side), thresholds, "left") for side in (positive, negative))
    return found / max(1, len(positive)), found / (found + passed)


def reliability(scores: Floats, is_virus: Bools) -> tuple[Floats, Floats, Floats]:
    """Return the mean score, the share of viruses and the number of sequences of each bin that is not empty."""
    bins = _bins(scores)
    count = bins.sum(0)
    held = count > 0
    return (scores @ bins)[held] / count[held], (is_virus @ bins)[held] / count[held], count[held]


@dataclass(frozen=True, slots=True)
class Sample:
    """Scores (n,) of sequences of known class; a sequence without a score has score 0 and False in `scored`.

    `called` has, by the name of an operating point such as a preset, which sequences (n,) are called virus.
    """

    scores: Floats
    scored: Bools
    classes: npt.NDArray[np.str_]
    called: dict[str, Bools] = field(default_factory=dict)

    @classmethod
    def of(cls, scores: Sequence[float | None], classes: Sequence[str]) -> Sample:
        """Make a sample; a sequence without a score counts as score 0, because it was not found."""
        values = np.array([0.0 if score is None else score for score in scores], dtype=np.float64)
        return cls(values, np.array([score is not None for score in scores], dtype=bool), np.array(classes, dtype=str))

    @property
    def is_virus(self) -> Bools:
        virus: Bools = self.classes == VIRUS
        return virus

    @property
    def hosts(self) -> list[str]:
        return [str(name) for name in np.unique(self.classes) if name != VIRUS]

    def members(self, hosts: str) -> Bools:
        """Return the sequences of a comparison with these hosts: viruses, and hosts of one class or of all."""
        return np.ones(len(self.scores), dtype=bool) if hosts == ALL_HOSTS else self.is_virus | (self.classes == hosts)

    def take(self, chosen: Bools) -> Sample:
        """Return the chosen sequences."""
        called = {name: flags[chosen] for name, flags in self.called.items()}
        return Sample(self.scores[chosen], self.scored[chosen], self.classes[chosen], called)

    def figures(self, weights: Floats) -> Figures:
        """Return every figure for every weighting (R, n), NaN without viruses or hosts."""
        found: Figures = {}
        for hosts in (ALL_HOSTS, *self.hosts):
            members = self.members(hosts)
            for name, value in _compare(self.take(members), weights[:, members]).items():
                found[hosts, name] = value
        for name in ("auroc", *(_FALSE_POSITIVES.format(point) for point in self.called)):
            per_class = [found[hosts, name] for hosts in self.hosts]
            found[MACRO, name] = np.mean(per_class, axis=0) if per_class else np.full(len(weights), np.nan)
        return found

    def points(self) -> dict[str, dict[str, float | None]]:
        """Return recall, false positive rate (of all hosts; mean over host classes) and precision of the points."""
        found = {key: rounded(values[0]) for key, values in self.figures(np.ones((1, len(self.scores)))).items()}
        return {
            name: {
                "recall": found[ALL_HOSTS, _RECALL.format(name)],
                "false_positive_rate": found[ALL_HOSTS, _FALSE_POSITIVES.format(name)],
                "false_positive_rate_mean_over_host_classes": found[MACRO, _FALSE_POSITIVES.format(name)],
                "precision": rounded(float(self.is_virus[called].mean())) if called.any() else None,
            }
            for name, called in self.called.items()
        }

    def summary(self) -> dict[str, Any]:
        """Return the figures of all hosts together and AUROC by class: four decimals, None without a figure."""
        found = {key: rounded(values[0]) for key, values in self.figures(np.ones((1, len(self.scores)))).items()}
        return {
            "n": len(self.scores),
            "n_unscored": int((~self.scored).sum()),
            "auroc": found[ALL_HOSTS, "auroc"],
            "macro_auroc": found[MACRO, "auroc"],
            **{name: found[ALL_HOSTS, name] for name in ("average_precision", *_RATES, "calibration_error")},
            "auroc_by_class": {hosts: found[hosts, "auroc"] for hosts in self.hosts},
        }


def _compare(sample: Sample, weights: Floats) -> dict[str, Floats]:
    """Return the figures of all viruses against all hosts of a sample, (R,) each."""
    virus, scored = sample.is_virus, sample.scored
    ranked = _Ranked(sample.scores[virus], sample.scores[~virus], weights[:, virus], weights[:, ~virus])
    error = _calibration_error(sample.scores[scored], virus[scored], weights[:, scored])
    both = (ranked.positives > 0) & (ranked.negatives > 0)
    return {
        "auroc": ranked.auroc(),
        "average_precision": np.where(both, ranked.average_precision(), np.nan),
        **{name: ranked.recall_at(rate) for name, rate in _RATES.items()},
        "calibration_error": np.where(both, error, np.nan),  # sequences without a score are left out
        **{_RECALL.format(name): _share(called, virus, weights) for name, called in sample.called.items()},
        **{_FALSE_POSITIVES.format(name): _share(called, ~virus, weights) for name, called in sample.called.items()},
    }


def _share(called: Bools, side: Bools, weights: Floats) -> Floats:
    """Return the share (R,) of one side that is called virus."""
    return _ratio(weights[:, called & side].sum(1), weights[:, side].sum(1))


def rounded(value: float) -> float | None:
    """Return a figure with four decimals, None for NaN."""
    return None if np.isnan(value) else round(float(value), 4)


def evaluate(scores: Sequence[float | None], classes: Sequence[str]) -> dict[str, Any]:
    """Return the figures of scores of sequences of known classes, see `Sample.summary`.

    Class `virus` is positive, all others are hosts. A sequence without a score counts as score 0, and is left out of
    the calibration error.
    """
    return Sample.of(scores, classes).summary()


def joined(parts: Iterable[Figures]) -> Figures:
    """Concatenate the figures of several blocks of weightings."""
    blocks = list(parts)
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
