"""docs/formats.md has the columns of every table that the commands write, with their types and in their order."""

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs.pages import ROOT

from virnucpro.types import Status

EXAMPLES = ROOT / "examples"
TYPES = {"text": str, "integer": int, "number": float}
PARQUET = {"text": "string", "integer": "int64", "number": "double"}

Table = list[dict[str, str]]


def tables(markdown: str) -> dict[str, Table]:
    """Return the first table below each heading, by the heading."""
    found = {}
    for part in re.split(r"^#+ ", markdown, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        lines = [line.strip("| ") for line in text.splitlines() if line.startswith("|")]
        if lines:
            rows = [[cell.strip().strip("`") for cell in re.split(r" ?\| ?", line)] for line in lines]
            found[heading] = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    return found


DOCUMENTED = tables((ROOT / "docs" / "formats.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(shell, tmp_path_factory) -> Path:
    """What the commands write of the examples, a directory for each."""
    made = tmp_path_factory.mktemp("written")
    data = made / "data" / "val"
    data.mkdir(parents=True)
    (data / "virus.fna").write_bytes((EXAMPLES / "lambda.fa").read_bytes())
    (data / "bacteria.fna.gz").write_bytes((EXAMPLES / "ecoli.fa.gz").read_bytes())
    (made / "proteins.faa").write_text(">p\nMKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ\n")
    odd = made / "odd.fa"
    odd.write_text((EXAMPLES / "lambda.fa").read_text() + ">empty\n>short\nACGT\n>simple\n" + "AC" * 100 + "\n")
    program = shutil.which("virnucpro", path=shell["PATH"])
    for command in (
        ("predict", odd, "-o", made / "predict", "--parquet"),
        ("scan", EXAMPLES / "lambda.fa", "-o", made / "scan", "--plots", "none"),
        ("embed", made / "proteins.faa", "-o", made / "embed"),
        ("sample", made / "data", "--virus", 20, "--host", 20, "-o", made / "sample"),
        ("predict", made / "sample" / "windows.fa", "-o", made / "calls"),
        ("evaluate", made / "calls" / "records.tsv", "--truth", made / "sample" / "truth.tsv",
         "-o", made / "evaluate", "--no-plots", "--replicates", 2),
    ):  # fmt: skip
        subprocess.run(["virnucpro", "-q", *map(str, command)], env=shell, check=True, executable=program)
    return made


def test_every_table_has_a_section(written: Path) -> None:
    assert {path.name for path in written.glob("*/*.tsv")} == {name for name in DOCUMENTED if name.endswith(".tsv")}
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^###? (.*)", text, re.MULTILINE))
    for path in (*written.glob("predict/*"), *written.glob("scan/*")):
        assert path.name in headings or path.suffix == ".parquet", f"{path.name} has no section"


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if name.endswith(".tsv")])
def test_columns_and_their_types(name: str, written: Path) -> None:
    (path,) = (path for path in written.glob(f"*/{name}") if path.parent.name != "calls")
    with path.open(newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    assert header == [row["column"] for row in DOCUMENTED[name]]
    assert rows
    for column, described in enumerate(DOCUMENTED[name]):
        values = [row[column] for row in rows if row[column] != "NA"]
        assert values, f"no row of {name} has a {described['column']}"
        for value in values:
            TYPES[described["type"]](value)
        if described["type"] == "number":
            assert any("." in value for value in values)


@pytest.mark.parametrize("name", ["records", "chunks", "frames"])
def test_parquet_has_the_same_columns(name: str, written: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (the extra parquet)")
    schema = parquet.read_schema(written / "predict" / f"{name}.parquet")
    expected = {row["column"]: PARQUET[row["type"]] for row in DOCUMENTED[f"{name}.tsv"]}
    assert {field.name: str(field.type) for field in schema} == expected


def leaves(values: dict[str, Any], whole: set[str], prefix: str = "") -> Iterator[str]:
    """Yield the keys of nested objects, with dots between; of those in `whole` the key alone."""
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict) and name not in whole:
            yield from leaves(value, whole, f"{name}.")
        else:
            yield name


def test_keys_of_run_json(written: Path) -> None:
    described_keys = {row["key"]: row for row in DOCUMENTED["run.json"]}
    whole = {key for key, row in described_keys.items() if row["type"] == "object"}
    present = set(leaves(json.loads((written / "predict" / "run.json").read_text()), whole))
    assert present == {key for key, row in described_keys.items() if not row["what"].startswith("only with")}


def test_columns_of_a_summary(written: Path, shell) -> None:
    program = shutil.which("virnucpro", path=shell["PATH"])
    command = [program, "-q", "summary", written / "predict", written / "calls", "-o", written / "samples.html"]
    subprocess.run(list(map(str, command)), env=shell, check=True)
    head, *rows = (line.split("\t") for line in (written / "samples.tsv").read_text().splitlines())
    *described, hosts = DOCUMENTED["virnucpro summary"]
    assert head[: len(described)] == [row["column"] for row in described]
    assert hosts["column"] == "host_CLASS"
    assert all(name.startswith("host_") for name in head[len(described) :])
    assert head[len(described) :]
    types = [row["type"] for row in described] + [hosts["type"]] * (len(head) - len(described))
    for kind, *cells in zip(types, *rows, strict=True):
        values = [TYPES[kind](cell) for cell in cells if cell != "NA"]
        assert values


def test_every_status_is_there() -> None:
    assert [row["status"] for row in DOCUMENTED["status"]] == [str(status) for status in Status]


def test_bed_and_gff3(written: Path) -> None:
    lines = (written / "scan" / "regions.tsv").read_text().splitlines()
    regions = list(csv.DictReader(lines, delimiter="\t"))
    bed = [line.split("\t") for line in (written / "scan" / "regions.bed").read_text().splitlines()]
    gff = [line.split("\t") for line in (written / "scan" / "regions.gff3").read_text().splitlines() if line[0] != "#"]
    assert regions
    for region, in_bed, in_gff in zip(regions, bed, gff, strict=True):
        name, start, end = region["seq_name"], region["start"], region["end"]
        assert in_bed[:4] == [name, start, end, region["region"]]
        assert abs(int(in_bed[4]) - 1000 * float(region["posterior"])) <= 0.6
        assert in_bed[5:] == ["."]
        assert in_gff[:5] == [name, "virnucpro", "prophage", str(int(start) + 1), end]
        assert in_gff[5:8] == [region["posterior"], ".", "."]
        assert [part.partition("=")[0] for part in in_gff[8].split(";")] == ["ID", "Name", "mean_virus_score"]
