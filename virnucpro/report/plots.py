"""Plots of an evaluation, and functions for all figures. Only this module imports matplotlib.

Figures are optional: commands write their tables first, and a figure that fails gives a warning. Figures need no
pyplot backend and no display. They show names literally, never as formulas.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro._optional import MATPLOTLIB
from virnucpro.errors import StoppedError, VirnucproError
from virnucpro.files import atomic_path
from virnucpro.report.html import readable

Floats = npt.NDArray[np.float64]
EVALUATION_PLOTS = ("roc", "precision_recall", "recall_by_length", "calibration", "scores")
FORMATS = ("png", "svg", "pdf")
_SIZE = (6.0, 5.0)  # inches
_DPI = 150
_LONGEST_NAME = 60
# Settings that a user's matplotlibrc could change so that text becomes formulas or LaTeX, and stable names in SVG.
_PLAIN_TEXT: dict[Any, Any] = {
    "text.usetex": False, "text.parse_math": False, "axes.formatter.use_mathtext": False, "svg.hashsalt": "virnucpro",
}  # fmt: skip

logger = logging.getLogger(__name__)


class BrokenMatplotlibError(VirnucproError):
    """Matplotlib is installed and cannot be used."""


def new_figure() -> Callable[..., Any]:
    """Return matplotlib's Figure.

    Raises:
        BrokenMatplotlibError: matplotlib is installed but cannot be imported.
        VirnucproError: matplotlib is not installed; the message names the extra to install.
    """
    try:
        return _import_figure()
    except StoppedError:
        raise
    except Exception as error:  # a broken installation may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name in ("matplotlib", "matplotlib.figure"):
            raise VirnucproError(
                f"plots need matplotlib, which is not installed: {MATPLOTLIB.install_command}, or leave the plots out"
            ) from None
        raise BrokenMatplotlibError(
            f"matplotlib cannot be imported ({_in_a_line(error)}); install it again: {MATPLOTLIB.install_command}"
        ) from error


def _import_figure() -> Callable[..., Any]:
    """Import matplotlib without MPLBACKEND, because an unknown value there makes the import fail.

    Jupyter sets a value that is unknown unless matplotlib-inline is installed. A known value is set again after the
    import, for other code in this process.
    """
    first = "matplotlib" not in sys.modules
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        with _quiet():
            from matplotlib import rcParams
            from matplotlib.figure import Figure

            if first and backend:
                with suppress(ValueError):
                    rcParams["backend"] = backend
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    make: Callable[..., Any] = Figure
    return make


def can_draw(image_format: str, asked: bool, otherwise: str = "no figures") -> bool:
    """Return whether figures of a format can be drawn, by drawing a small one; warn if they cannot.

    Args:
        image_format: png, svg or pdf.
        asked: the user asked for figures.
        otherwise: what there is without matplotlib, for the warning.

    Raises:
        VirnucproError: they were asked for, and matplotlib is not installed.
    """
    try:
        make = new_figure()
        with _quiet(), _plain_text():
            figure = make(figsize=(1, 1))
            figure.text(0.5, 0.5, "a")
            figure.savefig(io.BytesIO(), format=image_format)
    except StoppedError:
        raise
    except BrokenMatplotlibError as error:
        logger.warning("%s: %s", otherwise, error)
    except VirnucproError:
        if asked:
            raise
        logger.warning("%s, because matplotlib is not installed: %s", otherwise, MATPLOTLIB.install_command)
    except Exception as error:  # a broken installation may raise anything
        logger.warning("%s: matplotlib cannot draw %s (%s)", otherwise, image_format, _in_a_line(error))
    else:
        return True
    return False


@contextmanager
def optional_figure(path: Path) -> Iterator[None]:
    """Turn any failure of this block, which draws the figure `path`, into a warning, and remove the figure."""
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:  # the tables are complete, whatever the fault of a figure
        logger.warning("%s was not drawn (%s); the tables are complete", path, _in_a_line(error))
        with suppress(OSError):
            path.unlink(missing_ok=True)  # it may be from an earlier run


@contextmanager
def figure_axes(
    path: Path, size: tuple[float, float] = _SIZE, layout: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Give the axes of a new figure of `size` inches, and write it to `path` when the block ends.

    The suffix of `path` is the format: png, svg or pdf. `layout` has arguments of matplotlib's `Figure.subplots`.
    """
    make = new_figure()
    with _quiet(), _plain_text():
        figure = make(figsize=size, layout="constrained")
        yield figure.subplots(**(layout or {}))
        with atomic_path(path) as temporary:
            dated = {"Date": None} if path.suffix == ".svg" else None  # the same figure has the same bytes
            figure.savefig(temporary, format=path.suffix[1:], dpi=_DPI, metadata=dated)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress matplotlib's warnings and messages about missing glyphs, caches and settings."""
    library = logging.getLogger("matplotlib")
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.setLevel(level)


def _plain_text() -> Any:
    from matplotlib import rc_context

    return rc_context(_PLAIN_TEXT)


def label(name: str) -> str:
    r"""Return a name for a figure: shortened, and with codes for characters that cannot be shown.

    >>> label("a$b$\x1b")
    'a$b$\\x1b'
    """
    shown = readable(name).replace("\n", "\\n").replace("\t", "\\t")
    shown = shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}…"
    return f" {shown}" if shown.startswith("_") else shown  # a legend omits labels that begin with _


def _in_a_line(error: Exception) -> str:
    """Return the class of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    kind = type(error).__name__
    return f"{kind}: {readable(lines[0][:200])}" if lines else kind


@contextmanager
def _axes(path: Path, x: str, y: str, title: str) -> Iterator[Any]:
    """Give axes with these labels, see `figure_axes`."""
    with figure_axes(path) as axes:
        axes.set(xlabel=x, ylabel=y)
        axes.set_title(title, fontsize="medium")
        axes.grid(alpha=0.3)
        yield axes


def _style(number: int) -> dict[str, Any]:
    """Return the style of a line: the first is black and thick, the others have colours that repeat after nine."""
    return {"color": f"C{(number - 1) % 9}" if number else "black", "linewidth": 1.2 if number else 2.2}


Points = Mapping[str, tuple[float, float]]  # operating points: name -> x and y


def plot_roc(
    path: Path, curves: Mapping[str, tuple[Floats, Floats]], points: Points | None = None, n: str = ""
) -> None:
    """Draw ROC curves: name -> false- and true-positive rates, the first stands out; `n` says of how many sequences."""
    with _axes(path, "false-positive rate", "recall of viruses", n) as axes:
        axes.plot((0, 1), (0, 1), color="grey", linestyle=":")
        for number, (name, (false_positive, true_positive)) in enumerate(curves.items()):
            axes.plot(false_positive, true_positive, label=label(name), **_style(number))
        _draw_points(axes, points)
        axes.legend(loc="lower right", fontsize="small")


def plot_precision_recall(
    path: Path, recall: Floats, precision: Floats, share: float, points: Points | None = None, n: str = ""
) -> None:
    """Draw precision against recall; `share` is that of viruses among the sequences, the precision of a guess."""
    with _axes(path, "recall of viruses", "precision: share of viruses among calls", n) as axes:
        axes.axhline(share, color="grey", linestyle=":", label=f"share of viruses {share:.2f}")
        axes.plot(recall, precision, color="black", linewidth=2.2, label="all scores as thresholds")
        _draw_points(axes, points)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axes.legend(loc="lower left", fontsize="small")


def plot_recall_by_length(
    path: Path, lengths: Mapping[str, int], recalls: Mapping[str, Sequence[tuple[float, float, float]]], n: str = ""
) -> None:
    """Draw recall against length.

    `lengths` has for each length its number of viruses, `recalls` for each curve its value and interval at each length.
    NaN is left out.
    """
    places = np.arange(len(lengths))
    with _axes(path, "length, nt (number of viruses)", "recall of viruses", n) as axes:
        for number, (name, values) in enumerate(recalls.items()):
            value, low, high = np.array(values, dtype=np.float64).T
            beside = 0.06 * (number - (len(recalls) - 1) / 2)  # so that intervals do not hide one another
            error = np.maximum(0, (value - low, high - value))
            axes.errorbar(places + beside, value, error, marker="o", capsize=2, color=f"C{number}", label=label(name))
        axes.set(ylim=(-0.02, 1.02))
        axes.set_xticks(places, [f"{label(name)}\n({number:,})" for name, number in lengths.items()], fontsize="small")
        axes.legend(loc="upper left", fontsize="small")


def _draw_points(axes: Any, points: Points | None) -> None:
    for number, (name, (x, y)) in enumerate((points or {}).items()):
        axes.plot(x, y, marker="osD^v"[number % 5], color=f"C{(number + 5) % 9}", linestyle="", label=label(name))


def plot_calibration(path: Path, mean_score: Floats, share_of_viruses: Floats, count: Floats, n: str = "") -> None:
    """Draw the share of viruses against the mean score of each bin, with the number of sequences beside it."""
    with _axes(path, "mean score of the bin", "share of viruses in the bin", n) as axes:
        axes.plot((0, 1), (0, 1), color="grey", linestyle=":", label="calibrated")
        axes.plot(mean_score, share_of_viruses, marker="o", label="measured")
        for x, y, number in zip(mean_score, share_of_viruses, count, strict=True):
            axes.annotate(f"{number:.0f}", (x, y), textcoords="offset points", xytext=(6, -9), fontsize="x-small")
        axes.legend(loc="upper left", fontsize="small")


def plot_scores(path: Path, scores: Mapping[str, Floats], n: str = "") -> None:
    """Draw for each class its share with at least a score, which a threshold would call virus. The first stands out."""
    with _axes(path, "score", "share of the class with at least this score", n) as axes:
        for number, (name, values) in enumerate(scores.items()):
            axes.ecdf(values, complementary=True, label=label(name), **_style(number))
        axes.set(xlim=(0, 1))
        axes.legend(loc="best", fontsize="small")
