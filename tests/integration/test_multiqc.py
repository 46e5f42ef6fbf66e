"""The real MultiQC reads what a run leaves; it runs where it is installed, also in an environment of its own."""

import os
import shutil
import subprocess

import pytest
from support.run_directories import random_records, write_run

from virnucpro.report.write import write_report

# A path, since its many dependencies keep it out of the development environment.
MULTIQC = os.environ.get("MULTIQC") or shutil.which("multiqc")


@pytest.mark.skipif(MULTIQC is None, reason="needs multiqc: pip install multiqc, or set MULTIQC to its path")
def test_multiqc_shows_every_sample(tmp_path):
    for name, number in (("s1", 300), ("s2", 50)):
        directory = write_run(tmp_path / name, random_records(number))
        text = (directory / "run.json").read_text().replace("/data/reads.fq.gz", f"/data/{name}.fq.gz")
        (directory / "run.json").write_text(text)
        write_report(directory)
    done = subprocess.run([MULTIQC, ".", "-o", "out", "--no-ansi"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, *rows = (tmp_path / "out" / "multiqc_data" / "multiqc_virnucpro_calls.txt").read_text().splitlines()
    assert head.split("\t") == ["Sample", "virus", "other", "empty", "too_short"]
    counts = {row.split("\t")[0]: row.split("\t")[1:] for row in rows}
    assert {name: sum(map(float, cells)) for name, cells in counts.items()} == {"s1": 300, "s2": 50}
    assert "virnucpro_calls" in (tmp_path / "out" / "multiqc_report.html").read_text()
