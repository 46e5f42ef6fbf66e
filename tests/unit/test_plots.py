"""Plots are images with the lines they were given, whatever names say; matplotlib may be missing or broken."""

import os
import subprocess
import sys

import numpy as np
import pytest

from virnucpro.errors import StoppedError, VirnucproError
from virnucpro.pipeline.regions import Region
from virnucpro.report import plots
from virnucpro.report.scan_figures import draw_figure
from virnucpro.report.tracks import record_view
from virnucpro.run.scan import Numbering, Track
from virnucpro.types import Record

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def drawn(monkeypatch):
    """The figures as they are drawn, in order."""
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extras report and dev")
    figures = []
    make = plots.new_figure()
    monkeypatch.setattr(plots, "new_figure", lambda: lambda **keywords: figures.append(make(**keywords)) or figures[-1])
    return figures


def lines(figure):
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def test_roc(drawn, tmp_path):
    curve = np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.9, 1.0])
    plots.plot_roc(tmp_path / "roc.png", {"bacteria, AUROC 0.850": curve})
    assert (tmp_path / "roc.png").read_bytes().startswith(PNG)
    assert lines(drawn[0])["bacteria, AUROC 0.850"] == [[0, 0], [0.2, 0.9], [1, 1]]
    assert [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()] == ["bacteria, AUROC 0.850"]


def test_precision_and_recall(drawn, tmp_path):
    recall, precision = np.array([0.5, 1.0]), np.array([1.0, 0.4])
    plots.plot_precision_recall(tmp_path / "p.svg", recall, precision, 0.25, {"strict": (0.5, 0.9)}, "4 viruses")
    found = lines(drawn[0])
    assert found["all scores as thresholds"] == [[0.5, 1], [1, 0.4]]
    assert found["strict"] == [[0.5, 0.9]]
    assert found["share of viruses 0.25"] == [[0, 0.25], [1, 0.25]]
    assert drawn[0].axes[0].get_title() == "4 viruses"
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")


def test_recall_by_length(drawn, tmp_path):
    recalls = {"strict": [(0.1, 0.0, 0.3), (0.6, 0.5, 0.7)], "sensitive": [(0.5, 0.4, 0.6), (np.nan, np.nan, np.nan)]}
    plots.plot_recall_by_length(tmp_path / "r.png", {"150-299": 20, "300-": 1500}, recalls, "n")
    axes = drawn[0].axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["150-299\n(20)", "300-\n(1,500)"]
    assert axes.containers[0].lines[0].get_ydata().tolist() == [0.1, 0.6]
    low, high = axes.containers[0].lines[1]
    np.testing.assert_allclose((low.get_ydata(), high.get_ydata()), [[0.0, 0.5], [0.3, 0.7]])


def test_calibration(drawn, tmp_path):
    plots.plot_calibration(tmp_path / "c.png", np.array([0.1, 0.9]), np.array([0.2, 0.7]), np.array([30.0, 4.0]))
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)
    assert lines(drawn[0])["measured"] == [[0.1, 0.2], [0.9, 0.7]]
    assert lines(drawn[0])["calibrated"] == [[0, 0], [1, 1]]
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["30", "4"]


def test_scores(drawn, tmp_path):
    plots.plot_scores(tmp_path / "s.png", {"virus": np.array([0.9, 0.2, 0.9, 0.6]), "plant": np.array([0.1])})
    assert (tmp_path / "s.png").read_bytes().startswith(PNG)
    found = lines(drawn[0])
    assert list(found) == ["virus", "plant"]
    assert found["virus"] == [[0.2, 1], [0.6, 0.75], [0.9, 0.5], [0.9, 0.25], [0.9, 0]]
    assert [line.get_color() for line in drawn[0].axes[0].lines] == ["black", "C0"]


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(VirnucproError, match=r"pip install 'virnucpro\[report\]'.*matplotlib>="):
        plots.new_figure()


# Names that matplotlib would read as formulas, warn of, refuse or leave out of a legend.
NAMES = {
    "a$b_$c": "a$b_$c",
    "$\\frac{1$": "$\\frac{1$",
    r"\$x\alpha": r"\$x\alpha",
    "bell\x07esc\x1b[31m": r"bell\x07esc\x1b[31m",
    "new\nline\ttab": r"new\nline\ttab",
    "na\udcefve\udcff": r"na\xefve\xff",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\u05e9\u05dc\u05d5\u05dd": "\u05e9\u05dc\u05d5\u05dd",
    "\u75c5\u6bd2 \U0001f9a0": "\u75c5\u6bd2 \U0001f9a0",
    "_begins": " _begins",
    "x" * 5000: "x" * 60 + "…",
    "": "",
}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_names_are_drawn_as_they_are(drawn, tmp_path, name, suffix):
    plots.plot_scores(tmp_path / f"s.{suffix}", {"virus": np.array([0.9]), name: np.array([0.1])})
    assert (tmp_path / f"s.{suffix}").stat().st_size > 1000
    shown = drawn[-1].axes[0].get_legend().get_texts()
    assert [text.get_text() for text in shown] == ["virus", NAMES[name]][: 1 + bool(name)]
    assert not any(text.get_parse_math() or text.get_usetex() for text in shown)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_tracks_name_their_record_as_it_is(tmp_path, drawn, name):
    scores = np.array([0.2, np.nan, 0.9])
    record = Record(name, b"ACGTG" * 200)
    track = Track(record, [0, 400, 700, 1000], scores, np.array([0.1, 0.75, 0.9]), [Region(400, 1000, 2, 0.8)])
    draw_figure(tmp_path / "t.svg", record_view(track, list(Numbering().regions(track))))
    axes = drawn[-1].axes[0]
    assert axes.get_xlabel() == f"{NAMES[name]} (kb)"
    assert not axes.xaxis.label.get_parse_math()
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0.2, 0.55, 0.85]] * 2
    assert "region_1" in [text.get_text() for text in axes.texts]


def test_the_lines_of_a_long_record_are_means_of_neighbours():
    n = 10_000
    scores = np.where(np.arange(n) % 3 == 0, np.nan, np.arange(n) / n)
    track = Track(Record("long", b"A" * 250 * n), list(range(0, 250 * n + 1, 250)), scores, np.arange(n) / n, [])
    lines = record_view(track, []).lines
    assert len(lines.places) == len(lines.scores) == len(lines.posteriors) == 3334
    np.testing.assert_allclose(lines.places[:-1], 375 + 750 * np.arange(3333))
    np.testing.assert_allclose(lines.scores[:-1], (3 * np.arange(3333) + 1.5) / n)
    assert np.isnan(lines.scores[-1])  # one window, without a score


def test_a_users_settings_make_no_formulas(drawn, tmp_path):
    import matplotlib

    changed = {"text.usetex": True, "axes.formatter.use_mathtext": True}
    with matplotlib.rc_context(changed):
        plots.plot_scores(tmp_path / "s.png", {"a$b$": np.array([0.9])})
        assert {name: matplotlib.rcParams[name] for name in changed} == changed
    assert (tmp_path / "s.png").read_bytes().startswith(PNG)
    assert "$" not in "".join(tick.get_text() for tick in drawn[-1].axes[0].get_xticklabels())


def test_a_figure_that_fails_is_a_warning_and_leaves_no_file(tmp_path, caplog):
    (tmp_path / "roc.png").write_text("of an earlier run")
    with plots.optional_figure(tmp_path / "roc.png"):
        raise ValueError("first line\nsecond\x1b line")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "roc.png was not drawn (ValueError: first line); the tables are complete" in caplog.text
    assert not list(tmp_path.iterdir())
    with plots.optional_figure(tmp_path / "nothing" / "roc.png"):  # no such directory
        plots.plot_roc(tmp_path / "nothing" / "roc.png", {"a": (np.array([0.0, 1.0]), np.array([0.0, 1.0]))})
    assert "nothing/roc.png was not drawn (OutputError" in caplog.text
    with pytest.raises(StoppedError), plots.optional_figure(tmp_path / "roc.png"):
        raise StoppedError("stopped by SIGTERM", 75)


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


DRAW = """
import logging, pathlib, sys, numpy
logging.basicConfig(format="%(message)s")
from virnucpro.report import plots
folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
print(plots.can_draw("png", asked=True))
with plots.optional_figure(folder / "s.png"):
    plots.plot_scores(folder / "s.png", {"\u75c5$x": numpy.array([0.9])})
"""


@pytest.mark.parametrize(
    ("backend", "kept"),
    [
        ("module://matplotlib_inline.backend_inline", None), ("nonsense", None), ("", None), ("qtagg", "qtagg"),
        ("svg", "svg"),
    ],
)  # fmt: skip
def test_figures_need_no_backend(tmp_path, backend, kept):
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extras report and dev")
    code = f"""import os; os.chdir({str(tmp_path)!r})
{DRAW}
import matplotlib
assert os.environ["MPLBACKEND"] == {backend!r}
assert "matplotlib.pyplot" not in sys.modules
print(matplotlib.get_backend(auto_select=False))"""
    assert python(code, MPLBACKEND=backend) == (0, f"True\n{kept}\n", "")
    assert (tmp_path / "s.png").read_bytes().startswith(PNG)


BROKEN = {
    "import": ({"__init__.py": "raise RuntimeError('built for\\nanother numpy')"}, "RuntimeError: built for"),
    "binary": ({"__init__.py": "", "figure.py": "from matplotlib import _path"}, "ImportError: cannot import name"),
    "syntax": ({"__init__.py": "def f(:"}, "SyntaxError"),
    "other": ({"__init__.py": "import kiwisolver_that_is_gone"}, "ModuleNotFoundError: No module named 'kiwi"),
    "drawing": (
        {
            "__init__.py": "import contextlib; rcParams = {}; rc_context = contextlib.nullcontext",
            "figure.py": "class Figure:\n    def __init__(self, **keywords):\n        raise OSError('no font')",
        },
        "OSError: no font",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_matplotlib_is_a_warning(tmp_path, fault):
    files, words = BROKEN[fault]
    (tmp_path / "matplotlib").mkdir()
    for name, text in files.items():
        (tmp_path / "matplotlib" / name).write_text(text)
    status, out, err = python(
        f"import os, sys; sys.path.insert(0, {str(tmp_path)!r}); os.chdir({str(tmp_path)!r})\n{DRAW}"
    )
    assert (status, out) == (0, "False\n"), err
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert lines[0].startswith("no figures: matplotlib cannot ")
    assert words in lines[0]
    assert lines[1].startswith("s.png was not drawn (")
    assert not list(tmp_path.glob("*.png"))


def test_the_module_does_not_load_matplotlib():
    code = "import sys, virnucpro.report.plots; assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
