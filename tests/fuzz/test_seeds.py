"""The fuzz targets run their own seeds, so that they still fit the code they are aimed at."""

import runpy
from pathlib import Path

import pytest

TARGET = runpy.run_path(str(Path(__file__).with_name("fuzz_reader.py")))


def test_every_seed_runs() -> None:
    seeds = TARGET["seeds"]()
    assert len(set(seeds)) == len(seeds) == 44
    for seed in seeds:
        TARGET["run_one"](seed)


@pytest.fixture
def commands():
    """The target of the commands, which puts a prepared one in place of the command line."""
    from virnucpro.cli import main

    app = main.app
    yield runpy.run_path(str(Path(__file__).with_name("fuzz_commands.py")))
    main.app = app


def test_every_command_runs_on_whole_and_on_broken_input(commands, tmp_path) -> None:
    bench = commands["Bench"](tmp_path)
    codes: dict[str, set[int]] = {}
    usual = {"compare": commands["TABLES"], "embed": commands["PROTEINS"]}
    for number, name in enumerate(commands["COMMANDS"]):
        for content in (*usual.get(name, commands["SEEDS"]), b"", b"\0"):
            found, code = bench.run_one(bytes([number, 0, 0, 0]) + content)
            codes.setdefault(found, set()).add(code)
    assert {name: {0} <= found and len(found) > 1 for name, found in codes.items()} == dict.fromkeys(codes, True)
    assert set(codes) == {"predict", "check", "scan", "compare", "frames", "embed"}
