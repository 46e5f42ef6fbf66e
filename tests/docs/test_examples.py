"""The programs of examples/ run, shortened."""

import re
import subprocess
import sys

import pytest
from docs.pages import ROOT
from support.commands import run

import virnucpro


def test_fine_tuning_learns_the_toy_task(tmp_path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "finetune_esm2.py"), "--steps", "50", "--output", "tuned"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = (float(value) for value in re.findall(r"accuracy (\d\.\d+)", done.stdout))
    assert before < 0.75
    assert after > 0.85
    esm = virnucpro.ESM2.from_pretrained(tmp_path / "tuned", device="cpu", precision="fp32")
    bundled = virnucpro.ESM2.from_pretrained("bundled", device="cpu", precision="fp32")
    assert abs(esm.encode(["MKTAYIAKQR"]) - bundled.encode(["MKTAYIAKQR"])).max() > 1e-3


def test_the_demo_says_what_it_found_and_why(tmp_path) -> None:
    examples = ROOT / "examples"
    inputs = [examples / name for name in ("lambda.fa", "ecoli.fa.gz", "reads.fastq.gz")]
    assert run("predict", *inputs, "-o", tmp_path / "demo-output", "--device", "cpu", "-q") == 0
    command = [sys.executable, examples / "demo.py", "demo-output"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    records, reads = (re.findall(r"(\d+) of (\d+)", line) for line in lines[1:3])
    assert [total for _, total in records + reads] == ["12", "12", "20", "20"]
    table = (tmp_path / "demo-output" / "records.tsv").read_text().splitlines()
    assert sum(int(called) for called, _ in records + reads) == sum("\tvirus\t" in row for row in table)
    shown = [line.split() for line in lines[6:11]]
    assert {row[2] for row in shown} == {"virus", "other"}
    assert all(sum(line.split("\t")[0] == row[0] for line in table) == 1 for row in shown)
    point = next(
        p for p in virnucpro.load_model("bundled").description.calibration.presets["balanced"] if p.length == 150
    )
    assert f"which {point.recall:.0%} of viruses reach" in " ".join(lines[12:])


@pytest.mark.parametrize("name", ["finetune_esm2.py", "demo.py", "notebook.py"])
def test_the_readme_of_the_examples_names_them(name: str) -> None:
    assert f"`{name}`" in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
