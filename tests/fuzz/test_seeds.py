"""The fuzz target runs its own seeds, so that it still fits the code it is aimed at."""

import runpy
from pathlib import Path

TARGET = runpy.run_path(str(Path(__file__).with_name("fuzz_reader.py")))


def test_every_seed_runs() -> None:
    seeds = TARGET["seeds"]()
    assert len(set(seeds)) == len(seeds) == 44
    for seed in seeds:
        TARGET["run_one"](seed)
