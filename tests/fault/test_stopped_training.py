"""A training that is stopped says what `--resume` will do, by the checkpoint that there is."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.processes import wait_for

SETTINGS = """
[data]
directory = "data"
class_share = {{ virus = 0.5, bacteria = 0.5 }}
[model]
name = "tiny"
protein_layers = 1
protein_width = 16
protein_heads = 2
nucleotide_layers = 1
nucleotide_width = 16
nucleotide_heads = 2
hidden_dim = 8
[fit]
steps = 100000
batch = 2
warmup = 1
workers = 0
evaluate_every = {every}
windows_per_class = 2
"""


def begin(folder: Path, every: int) -> subprocess.Popen:
    """Start a training that would take hours."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (folder / "data" / split).mkdir(parents=True)
        for name in ("virus", "bacteria"):
            (folder / "data" / split / f"{name}.fna").write_text(f">{name}\n{''.join(rng.choice(list('ACGT'), 900))}\n")
    (folder / "settings.toml").write_text(SETTINGS.format(every=every))
    program = Path(sys.executable).with_name("virnucpro")
    command = [program, "train", folder / "settings.toml", "-o", folder / "model", "--device", "cpu"]
    with (folder / "said").open("w") as said:
        return subprocess.Popen(command, stderr=said)


@pytest.mark.parametrize(
    ("every", "file", "words", "advice"),
    [
        (
            100_000, "said", "model and checkpoint are written at each evaluation, every 100,000 steps",
            r"there is no checkpoint yet, the first is that of step 100,000; run it again with --resume to start over",
        ),
        (
            5, "model/checkpoint/state.json", "step",
            r"run it again with --resume to continue from the checkpoint of step \d*[05] of 100,000",
        ),
    ],
    ids=["before a checkpoint", "after one"],
)  # fmt: skip
def test_what_a_resumed_training_would_do(tmp_path, every, file, words, advice):
    process = begin(tmp_path, every)
    wait_for(lambda: (tmp_path / file).is_file() and words in (tmp_path / file).read_text(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    last = (tmp_path / "said").read_text().splitlines()[-1]
    assert re.fullmatch(f"virnucpro: error: stopped by SIGTERM; {advice}", last), last
