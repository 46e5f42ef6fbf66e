"""The real MultiQC reads what a run leaves; it runs where it is installed, also in an environment of its own."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.run_directories import random_records, write_run

from virnucpro.report.write import write_report

# A path, since its many dependencies keep it out of the development environment.
MULTIQC = os.environ.get("MULTIQC") or shutil.which("multiqc")


pytestmark = pytest.mark.skipif(
    MULTIQC is None, reason="needs multiqc: pip install multiqc, or set MULTIQC to its path"
)


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Return a table that MultiQC writes, by sample."""
    head, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return {name: dict(zip(head[1:], cells, strict=True)) for name, *cells in rows}


def multiqc(folder: Path) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]], str]:
    """Run MultiQC; return what it read of calls and of compositions, and its page."""
    done = subprocess.run([MULTIQC, ".", "-o", "out", "--no-ansi"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = folder / "out" / "multiqc_data"
    tables = [read_table(data / f"multiqc_virnucpro_{name}.txt") for name in ("calls", "shares")]
    return *tables, (folder / "out" / "multiqc_report.html").read_text()


def test_multiqc_shows_every_sample(tmp_path):
    """The files have the same name; those of the samples tell the runs apart."""
    for name, number in (("s1", 300), ("s2", 50)):
        write_report(write_run(tmp_path / name / "out", random_records(number), fdr=0.1, sample=None))
    calls, shares, page = multiqc(tmp_path)
    assert list(calls["s1"]) == ["virus", "other", "empty", "too_short"]
    for name, number in (("s1", 300), ("s2", 50)):
        assert sum(float(cell) for cell in calls[name].values()) == number
        assert float(shares[name]["records"]) == number
        assert float(shares[name]["virus_share"]) == 12.5
        false = 0.1 * float(shares[name]["virus"])
        assert abs(float(shares[name]["expected_false"]) - false) < 0.01
    assert set(calls) == set(shares) == {"s1", "s2"}
    assert "virnucpro_calls" in page
    assert "virnucpro_shares" in page
    assert "Estimated composition" in page


def test_multiqc_shows_the_composition_and_every_file(tmp_path):
    """Files whose names MultiQC would shorten to the same keep their rows, and no name becomes markup."""
    files = ["a/reads.fastq.gz", "b/reads.fastq.gz", "reads.fa", "<img src=x onerror=alert(1)>.fq"]
    records = [(f"r{i}", 300, 0.9 if i % 3 else 0.1) for i in range(40)]
    columns = {"sample_score": ["0.8000"] * 40, "file": [files[i % 4] for i in range(40)]}
    directory = write_run(tmp_path / "run", records, fdr=0.1, columns=columns, sample="gut 7")
    manifest = json.loads((directory / "run.json").read_text())
    hosts = {"bacteria": 0.75, "<b>plant</b>": 0.25}
    manifest |= {
        "prevalence": 0.5, "composition": {"hosts": hosts, "interval": [0.25, 0.75], "source": "sample"},
        "files": [{"file": name, "prevalence": 0.2, "hosts": hosts, "interval": [0.0, 0.4]} for name in files],
    }  # fmt: skip
    (directory / "run.json").write_text(json.dumps(manifest))
    write_report(directory)
    calls, shares, page = multiqc(tmp_path)
    rows = ["gut 7", *(f"gut 7 {name}" for name in (
        "a_reads_fastq_gz", "b_reads_fastq_gz", "reads_fa", "img_src_x_onerror_alert_1_fq"
    ))]  # fmt: skip
    assert set(calls) == set(shares) == set(rows)
    whole = shares["gut 7"]
    assert [float(whole[f"virus_{name}"]) for name in ("share", "low", "high")] == [50, 25, 75]
    assert [float(whole[f"host_{name}"]) for name in ("bacteria", "b_plant_b")] == [37.5, 12.5]
    assert abs(float(whole["expected_false"]) - 0.2 * float(whole["virus"])) < 0.01
    for row in rows[1:]:
        assert float(shares[row]["records"]) == 10
        assert [float(shares[row][f"virus_{name}"]) for name in ("share", "low", "high")] == [20, 0, 40]
        assert float(shares[row]["host_bacteria"]) == 60
    assert "<img src=x onerror" not in page
    assert "<b>plant</b>" not in page
