"""Plots are images with the lines they were given; without matplotlib the error names the extra."""

import subprocess
import sys

import numpy as np
import pytest

from virnucpro.errors import VirnucproError
from virnucpro.report import plots

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


def test_the_module_does_not_load_matplotlib():
    code = "import sys, virnucpro.report.plots; assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
