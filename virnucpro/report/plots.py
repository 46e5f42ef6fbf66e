"""Plots of an evaluation. The only module that names matplotlib; it draws without a display."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro._optional import MATPLOTLIB
from virnucpro.errors import VirnucproError
from virnucpro.pipeline.outputs import atomic_path

Floats = npt.NDArray[np.float64]
_SIZE = (6.0, 5.0)  # inches
_DPI = 150


def new_figure() -> Callable[..., Any]:
    """Return matplotlib's Figure.

    Raises:
        VirnucproError: matplotlib is not installed; the message names the extra that brings it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise VirnucproError(
            f"plots need matplotlib, which is not installed: {MATPLOTLIB.install_command}, or leave the plots out"
        ) from None
    make: Callable[..., Any] = Figure
    return make


@contextmanager
def _axes(path: Path, x: str, y: str) -> Iterator[Any]:
    """Give axes with these labels, and write their figure to `path` as PNG when the block ends."""
    figure = new_figure()(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    yield axes
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)


def _style(number: int) -> dict[str, Any]:
    """Return the look of a line: the first black and thick, the others in colours that repeat after nine."""
    return {"color": f"C{(number - 1) % 9}" if number else "black", "linewidth": 1.2 if number else 2.2}


def plot_roc(path: Path, curves: Mapping[str, tuple[Floats, Floats]]) -> None:
    """Draw ROC curves: label -> false- and true-positive rates. The first stands out."""
    with _axes(path, "false-positive rate", "recall of viruses") as axes:
        axes.plot((0, 1), (0, 1), color="grey", linestyle=":")
        for number, (label, (false_positive, true_positive)) in enumerate(curves.items()):
            axes.plot(false_positive, true_positive, label=label, **_style(number))
        axes.legend(loc="lower right", fontsize="small")


def plot_calibration(path: Path, mean_score: Floats, share_of_viruses: Floats, count: Floats) -> None:
    """Draw the share of viruses against the mean score of each bin, with the number of sequences beside it."""
    with _axes(path, "mean score of the bin", "share of viruses in the bin") as axes:
        axes.plot((0, 1), (0, 1), color="grey", linestyle=":", label="calibrated")
        axes.plot(mean_score, share_of_viruses, marker="o", label="measured")
        for x, y, n in zip(mean_score, share_of_viruses, count, strict=True):
            axes.annotate(f"{n:.0f}", (x, y), textcoords="offset points", xytext=(6, -9), fontsize="x-small")
        axes.legend(loc="upper left", fontsize="small")


def plot_scores(path: Path, scores: Mapping[str, Floats]) -> None:
    """Draw for each class the share with at least a score: what a threshold would call virus. The first stands out."""
    with _axes(path, "score", "share of the class with at least this score") as axes:
        for number, (label, values) in enumerate(scores.items()):
            axes.ecdf(values, complementary=True, label=label, **_style(number))
        axes.set(xlim=(0, 1))
        axes.legend(loc="upper right", fontsize="small")
