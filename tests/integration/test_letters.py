"""N, other ambiguous letters and homopolymer ends make no virus, and lose none."""

import csv
import json
import os
import runpy
from pathlib import Path

import pytest

from virnucpro import Options, Predictor, load_model, read_records

ROOT = Path(__file__).parents[2]
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "letters.py"))
HARMFUL = ("random", "indels", "20 % N")
HARMLESS = [name for name in BENCHMARK["DAMAGES"] if not any(part in name for part in HARMFUL)]
# Of some 90 windows of either side. Letters filled by chance move a host across the threshold now and then; read as
# unknown, 5 % of N made virus of a third of them.
FEW = 4
# The share of viruses that are still found. Random bases in the same places, or the same letters cut out, lose as many.
FOUND = {"1 % N": 0.7, "1 % IUPAC": 0.7, "5 % N": 0.5, "5 % IUPAC": 0.5, "20 N": 0.5, "100 N": 0.1}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(load_model(), Options(device="cpu", precision="fp32"))


@pytest.fixture(scope="module")
def windows() -> dict[str, list[str]]:
    """Windows of 300 nt, every 100 nt, of E. coli and of phage lambda."""
    found: dict[str, list[str]] = {}
    for name, file in (("host", "ecoli.fa.gz"), ("virus", "lambda.fa")):
        texts = [record.sequence.decode() for record in read_records([ROOT / "examples" / file])]
        found[name] = [text[i : i + 300] for text in texts for i in range(0, len(text) - 299, 100)]
    return found


@pytest.fixture(scope="module")
def clean(predictor, windows) -> dict[str, int]:
    return {side: sum(map(bool, BENCHMARK["called"](predictor, windows[side], "none"))) for side in windows}


@pytest.mark.parametrize("name", HARMLESS)
def test_letters_and_ends_of_real_reads(predictor, windows, clean, name):
    host, virus = (BENCHMARK["called"](predictor, windows[side], name) for side in ("host", "virus"))
    assert None not in host + virus
    assert sum(host) <= 1.2 * clean["host"] + FEW
    least = next((share for damage, share in FOUND.items() if name.startswith(damage)), 0.9)
    assert sum(virus) >= least * clean["virus"]


@pytest.mark.slow
@pytest.mark.parametrize("name", HARMLESS)
def test_genomes_of_validation(predictor, name):
    data = os.environ.get("VIRNUCPRO_DATA")
    if not data:
        pytest.skip("no labelled genomes: set VIRNUCPRO_DATA to a directory with val/CLASS.fna files")
    sequences, classes = BENCHMARK["draw"](Path(data), "val", 300)
    before, after = (BENCHMARK["measure"](predictor, sequences, classes, damage) for damage in ("none", name))
    assert after["false_calls"] <= 1.2 * before["false_calls"]
    if name == "20 N in the middle":
        assert after["recall"] >= 0.9 * before["recall"]


def test_a_run_says_what_was_done_to_letters(call, tmp_path):
    gene = next(iter(read_records([ROOT / "examples" / "lambda.fa"]))).sequence.decode()[:300]
    records = {
        "clean": gene,
        "single": gene[:100] + "N" + gene[101:],
        "gap": gene[:120] + "N" * 60 + gene[120:],
        "tail": gene[:200] + "G" * 50,
        "only": "N" * 100,
    }
    fasta = tmp_path / "in.fa"
    fasta.write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    code, said = call(["predict", str(fasta), "-o", str(tmp_path / "out")])
    assert code == 0
    assert "N or other ambiguous letters in 3 of them; homopolymer ends trimmed from 1" in said
    with (tmp_path / "out" / "records.tsv").open() as table:
        rows = {row["seq_name"]: row for row in csv.DictReader(table, delimiter="\t")}
    assert {name: row["reason"] for name, row in rows.items() if row["status"] == "ok"} == {
        "clean": "NA",
        "single": "1 ambiguous letter filled or left out",
        "gap": "cut at 1 run of N",
        "tail": "50 nt of homopolymer trimmed",
    }
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    assert (counts["ambiguous"], counts["trimmed"]) == (3, 1)
    with (tmp_path / "out" / "chunks.tsv").open() as table:
        chunks = [
            (row["seq_name"], int(row["start"]), int(row["end"])) for row in csv.DictReader(table, delimiter="\t")
        ]
    assert [chunk for chunk in chunks if chunk[0] in ("gap", "tail")] == [
        ("gap", 0, 120),
        ("gap", 180, 360),
        ("tail", 0, 200),
    ]
