"""The programs of examples/ run, shortened."""

import re
import subprocess
import sys

import pytest
from docs.pages import ROOT

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


@pytest.mark.parametrize("name", ["finetune_esm2.py"])
def test_the_readme_of_the_examples_names_them(name: str) -> None:
    assert f"`{name}`" in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
