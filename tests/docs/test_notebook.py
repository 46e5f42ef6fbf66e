"""The cells of examples/notebook.py run, each that its optional package is there for, as a notebook runs them."""

import re
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest
from docs.pages import ROOT

NOTEBOOK = (ROOT / "examples" / "notebook.py").read_text()


@cache
def cells() -> dict[str, str]:
    """Return the code of each cell by its title."""
    parts = re.split(r"^# %% (.+)\n", NOTEBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def run_cells(last: str) -> dict[str, Any]:
    """Run the lines of the first cell that need no pandas, then the cell `last`; return the names they made."""
    names: dict[str, Any] = {}
    first, *_ = cells().values()
    exec(first.rpartition("frame = ")[0], names)
    exec(cells()[last], names)
    return names


@pytest.mark.parametrize("title", cells())
def test_cells_run(title: str, tmp_path, monkeypatch) -> None:
    for package in ("pandas", "polars"):
        if f"to_{package}" in cells()[title] and find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    made = run_cells(title)
    if "frame" in made:
        assert list(made["frame"]["seq_name"]) == ["repeat", "short"]
    if "table" in made:
        assert made["table"]["status"].to_pylist() == ["ok", "too_short"]
    if "rows" in made:
        assert [row[0] for row in made["rows"]] == ["repeat", "short"]
    if "calls" in made:
        assert 0 < made["prevalence"] < 1
        assert (tmp_path / "notebook-run" / "report.html").is_file()
    if "vectors" in made:
        assert made["vectors"].shape[0] == 2
    assert {"frame", "table", "rows", "calls", "vectors"} & set(made)


def test_strings_become_a_data_frame_in_three_lines() -> None:
    first, *_ = cells().values()
    assert len([line for line in first.splitlines() if line]) == 3
    assert ".to_pandas()" in first
