"""How good calls are: area under the ROC curve against each host class, recall at fixed false-positive rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.errors import InputError
from virnucpro.train.genomes import VIRUS
from virnucpro.train.tables import read_table

Floats = npt.NDArray[np.float64]


def auroc(positive: Floats, negative: Floats) -> float:
    """Return the probability that a positive scores above a negative, ties counted half (Mann-Whitney U)."""
    if not len(positive) or not len(negative):
        return float("nan")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    up_to = np.searchsorted(ordered, positive, side="right")
    return float((below + up_to).sum() / 2 / len(positive) / len(negative))


def recall_at(positive: Floats, negative: Floats, false_positive_rate: float) -> float:
    """Return the share of positives above the threshold that lets at most this share of negatives pass."""
    if not len(positive) or not len(negative):
        return float("nan")
    allowed = int(false_positive_rate * len(negative))
    threshold = np.sort(negative)[::-1][allowed] if allowed < len(negative) else -np.inf
    return float((positive > threshold).mean())


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one set of scored sequences; `macro_auroc` is the mean over host classes."""

    n: int
    n_unscored: int
    auroc: float
    macro_auroc: float
    auroc_by_class: dict[str, float]
    recall_at_5_percent: float
    recall_at_1_percent: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures with four decimals, None where there is nothing to compare."""
        return {
            "n": self.n,
            "n_unscored": self.n_unscored,
            "auroc": _rounded(self.auroc),
            "macro_auroc": _rounded(self.macro_auroc),
            "recall_at_5_percent_fpr": _rounded(self.recall_at_5_percent),
            "recall_at_1_percent_fpr": _rounded(self.recall_at_1_percent),
            "auroc_by_class": {name: _rounded(value) for name, value in self.auroc_by_class.items()},
        }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def evaluate(scores: Sequence[float | None], classes: Sequence[str]) -> Evaluation:
    """Evaluate scores of sequences of known classes; class `virus` is positive, all others are hosts.

    A sequence without a score counts as score 0: not called is not found.
    """
    values = np.array([0.0 if score is None else score for score in scores], dtype=np.float64)
    names = np.array(classes)
    positive, negative = values[names == VIRUS], values[names != VIRUS]
    by_class = {str(name): auroc(positive, values[names == name]) for name in np.unique(names) if name != VIRUS}
    return Evaluation(
        n=len(values),
        n_unscored=sum(score is None for score in scores),
        auroc=auroc(positive, negative),
        macro_auroc=float(np.mean(list(by_class.values()))) if by_class else float("nan"),
        auroc_by_class=by_class,
        recall_at_5_percent=recall_at(positive, negative, 0.05),
        recall_at_1_percent=recall_at(positive, negative, 0.01),
    )


def evaluate_tables(truth: Path, calls: Path) -> Evaluation:
    """Evaluate records.tsv against a truth table with columns seq_name and class.

    Raises:
        MissingInputError: a table is not there.
        InputError: a table lacks its columns or repeats a name, the calls lack a sequence of the truth, or the
            truth lacks viruses or hosts.
    """
    classes = _by_name(truth, "class")
    scores = _by_name(calls, "virus_score")
    if missing := [name for name in classes if name not in scores]:
        raise InputError(f"{calls} has no row for {len(missing)} sequences of {truth}, the first is {missing[0]!r}")
    if len({name == VIRUS for name in classes.values()}) < 2:
        raise InputError(f"{truth} must have sequences of class {VIRUS!r} and of another class")
    return evaluate([_score(scores[name], calls) for name in classes], list(classes.values()))


def _by_name(path: Path, column: str) -> dict[str, str]:
    rows = read_table(path, ("seq_name", column))
    values = {row["seq_name"]: row[column] for row in rows}
    if len(values) < len(rows):
        raise InputError(f"{path} has {len(rows)} rows for {len(values)} names; give every sequence a name of its own")
    return values


def _score(text: str, path: Path) -> float | None:
    try:
        return None if text == "NA" else float(text)
    except ValueError:
        raise InputError(f"{path}: virus_score must be a number or NA, got {text!r}") from None
