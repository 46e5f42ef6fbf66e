"""The scripts for batch systems in the pages run as their tasks would, with the variables that SLURM sets."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from docs.pages import Block, blocks_of

HOSTILE = ["plain", "two words", "it's", "$(touch canary)", "`touch canary`", "a;touch canary;", "-o", "--resume", "*"]


def block(page: str, *words: str) -> Block:
    (found,) = (block for block in blocks_of(page) if all(word in block.text for word in words))
    return found


def task(script: Block, folder: Path, shell: dict[str, str], number: int, count: int) -> str:
    """Run a task of an array as SLURM does; `count` is how many tasks were sent, which are not all of them."""
    variables = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": str(count)}
    done = subprocess.run(
        ["bash", "-c", script.text], cwd=folder, env=shell | variables, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def batch(shell, tmp_path):
    """The shell, with an `sbatch` that runs at once what it is to wrap, in sh as SLURM does."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "sbatch"
    program.write_text('#!/bin/bash\nwhile [ "$1" != --wrap ]; do shift; done\nexec sh -c "$2"\n')
    program.chmod(0o755)
    return shell | {"PATH": f"{programs}:{shell['PATH']}"}


def test_tasks_of_an_array_that_are_sent_again_go_on_and_are_merged(batch, tmp_path):
    """The units of a small input are so small that every task has some, also those sent again."""
    script = block("docs/scale.md", "#SBATCH --array", "--shard")
    last = int(script.text.split("--array=1-")[1].split()[0])
    folder = tmp_path / "work"
    folder.mkdir()
    text = "".join(f">r{i}\n{'ACGTTCATGAGGCTAAC' * 10}\n" for i in range(9000))
    (folder / "input.fa").write_text(text)
    short = Block(script.page, script.line, "sh", script.text.replace("reads.fastq.gz", "input.fa"), None)
    assert short.text != script.text
    again = {4, 1}
    for number in range(1, last + 1):
        if number not in again:
            task(short, folder, batch, number, last)
    for number in again:
        said = task(short, folder, batch, number, 1)  # sbatch --array=4
        assert f"shard {number}/{last} is in part_{number}" in said
        assert list((folder / f"part_{number}" / "units").iterdir())
    assert re.search(r"\b(\d+) of \1 units were done before", task(short, folder, batch, 4, 2))  # sbatch --array=4,7
    task(block("docs/scale.md", "sbatch --dependency", "virnucpro merge"), folder, batch, 0, 0)
    rows = (folder / "calls" / "records.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in rows[1:]] == [f"r{i}" for i in range(9000)]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_task_for_each_sample_takes_any_name(batch, tmp_path, name):
    script = block("docs/recipes.md", "#SBATCH --array", "samples.txt")
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(Path(__file__).parents[2] / "examples" / "reads.fastq.gz", folder / f"{name}.fastq.gz")
    (folder / "samples.txt").write_text(f"other.fastq.gz\n{name}.fastq.gz\n")
    task(script, folder, batch, 2, 1)
    assert (folder / "calls" / name / "records.tsv").exists(), shlex.quote(name)
    assert not list(tmp_path.rglob("canary"))
