"""docs/architecture.md stays short and names files, functions and folders that exist."""

import re
from collections.abc import Iterator

import pytest
from docs.pages import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "virnucpro"


def named_files(text: str) -> Iterator[str]:
    """Yield the files that a page names; in a list in one cell of a table, the folder of the first is that of all."""
    for cell in re.split(r"\||\n|: ", text):
        folder = ""
        for name in re.findall(r"[\w./-]+\.(?:py|html|md|toml)\b", cell):
            folder = name.rpartition("/")[0] or folder
            yield name if "/" in name else f"{folder}/{name}" if folder and cell.lstrip().startswith("`") else name


def exists(name: str) -> bool:
    made_by_runs = name in ("report.html",)
    return made_by_runs or any((folder / name).is_file() for folder in (PACKAGE, ROOT, ROOT / "docs"))


def test_the_page_is_short() -> None:
    assert len(PAGE.splitlines()) <= 80


def test_files_are_found() -> None:
    text = "| `seq/reader.py`, `pairs.py` | x | `config.py` | y |\nin `run/run.py` --> report.html\n"
    assert list(named_files(text)) == ["seq/reader.py", "seq/pairs.py", "config.py", "run/run.py", "report.html"]


@pytest.mark.parametrize("name", sorted(set(named_files(PAGE))))
def test_every_file_exists(name: str) -> None:
    assert exists(name), f"docs/architecture.md names {name}"


def test_every_folder_is_named() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders
    assert {folder for folder in folders if f"`{folder}/" not in PAGE} == set()


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("run/run.py", ["run"]),
        ("run/tables.py", ["RECORD_COLUMNS"]),
        ("run/rows.py", ["record_rows", "UnitTables"]),
        ("run/task.py", ["units_at_a_time", "describe_predictor"]),
        ("config.py", ["ComputeOptions", "CallOptions"]),
        ("seq/blocks.py", ["iter_blocks"]),
        ("seq/block.py", ["RecordBlock"]),
        ("seq/chunk_table.py", ["cut_chunks", "ChunkTable"]),
        ("seq/frame_table.py", ["find_frames", "FrameTable"]),
        ("pipeline/frame_tokens.py", ["FrameTokens", "FrameScores"]),
        ("pipeline/calls.py", ["CallTable"]),
        ("models/packed_attention.py", ["BACKENDS"]),
    ],
)
def test_names_are_where_the_page_says(file: str, names: list[str]) -> None:
    source = (PACKAGE / file).read_text(encoding="utf-8")
    for name in names:
        assert name in PAGE
        assert re.search(rf"^ *(?:def |class )?{name}\b", source, re.MULTILINE), f"{file} has no {name}"
