"""The command line: central runs through the installed entry point, their many variants through `main(argv)`.

Nothing here depends on what the bundled model thinks of a sequence.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.commands import Done, run_captured
from support.files import run_json, zstd

import virnucpro
from virnucpro.cli.main import main
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.locations import BUNDLED
from virnucpro.scores.calibration import probability

COMMAND = Path(sys.executable).with_name("virnucpro")
TABLES = {"records.tsv", "chunks.tsv", "frames.tsv", "viral.fasta"}
OUTPUTS = {*TABLES, "report.html", "virnucpro_mqc.json", "virnucpro_composition_mqc.json", "run.json"}
VERDICT = ["prediction", "virus_score", "best_frame", "status", "reason"]
RECORD_COLUMNS = [
    "seq_name", "length", "n_chunks", "n_frames", *VERDICT[:2], "fdr", "confidence", "sample_score", "host_class",
    *VERDICT[2:],
]  # fmt: skip
CHUNK_COLUMNS = ["chunk", "seq_name", "start", "end", "n_frames", *VERDICT]
FRAME_COLUMNS = ["frame", "chunk", "strand", "offset", "aa_length", "score_other", "score_virus", "weight"]


def dna(length: int, seed: object = 0) -> str:
    return "".join(random.Random(f"{seed} {length}").choices("ACGT", k=length))


def wrap(text: str, width: int = 70) -> str:
    return "\n".join(text[i : i + width] for i in range(0, len(text), width))


LONG, MEDIUM, SHORT = dna(1200), dna(300), dna(80)
# What a user may give: (header, sequence, status).
ENTRIES = [
    ("long a description; with=signs", LONG, "ok"),
    ("twice the first", MEDIUM, "ok"),
    ("empty", "", "empty"),
    ("lower", LONG[:400].lower(), "ok"),
    ("two_nt", "AC", "too_short"),
    ("below_the_minimum", SHORT[:74], "too_short"),
    ("all_n", "N" * 200, "too_ambiguous"),
    ("some_n", MEDIUM[:200] + "N" * 60 + MEDIUM[200:], "ok"),
    ("twice the second", SHORT, "ok"),
    ("rna", MEDIUM.replace("T", "U"), "ok"),
    ("dna", MEDIUM, "ok"),
    ("odd|name;x=1,é", MEDIUM[100:], "ok"),
]
FASTA = "".join(f">{header}\n{wrap(sequence)}\n" for header, sequence, _ in ENTRIES)
SMALL = f">a\n{MEDIUM}\n>b\n{SHORT}\n"


def clean_environment() -> dict[str, str]:
    """The environment without what makes programs think that they write to a terminal."""
    forced = {"FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "NO_COLOR"}
    return {name: value for name, value in os.environ.items() if name not in forced}


def command(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
    """Run the installed entry point."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], input=stdin, capture_output=True, env=clean_environment() | environment
    )
    return Done(done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode())


@pytest.fixture
def call(capfdbinary):
    """Run a command in this process."""

    return partial(run_captured, capfdbinary)


def table(path: Path) -> list[dict[str, str]]:
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))


def columns(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n", 1)[0].split("\t")


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Done]:
    """One run of `predict` on all entries through the entry point: its directory and what it said."""
    folder = tmp_path_factory.mktemp("run")
    done = command("predict", write(folder / "input.fa", FASTA), "-o", folder / "out")
    assert done.code == 0, done.err
    return folder / "out", done


def test_every_record_has_a_row_in_input_order(run):
    rows = table(run[0] / "records.tsv")
    assert columns(run[0] / "records.tsv") == RECORD_COLUMNS
    assert [row["seq_name"] for row in rows] == [header.split()[0] for header, _, _ in ENTRIES]
    assert [int(row["length"]) for row in rows] == [len(sequence) for _, sequence, _ in ENTRIES]
    assert [row["status"] for row in rows] == [status for _, _, status in ENTRIES]


def test_a_record_has_a_score_or_a_reason(run):
    calibration = ModelDescription.from_json(BUNDLED / "model.json").calibration
    assert calibration
    least = calibration.thresholds("balanced")
    for row in table(run[0] / "records.tsv"):
        if row["status"] == "ok":
            threshold = float(probability(least[min(int(row["length"]), len(least) - 1)], calibration.prevalence))
            if row["virus_score"] != f"{threshold:.4f}":  # whose decimals do not tell on which side it is
                assert row["prediction"] == ("virus" if float(row["virus_score"]) >= threshold else "other")
            assert row["reason"] in ("NA", "cut at 1 run of N")
            assert 0 <= float(row["fdr"]) <= 1
            assert len(row["virus_score"]) == 6  # four decimals
        else:
            assert {row[name] for name in ("prediction", "virus_score", "fdr", "best_frame")} == {"NA"}
    reasons = {row["seq_name"]: row["reason"] for row in table(run[0] / "records.tsv")}
    assert reasons["empty"] == "the record has no sequence"
    assert reasons["two_nt"] == "2 nt, needs 75"
    assert reasons["all_n"].startswith("100%")


def test_equal_sequences_have_equal_scores(run):
    rows = {row["seq_name"] + row["length"]: row for row in table(run[0] / "records.tsv")}
    twins = [rows[name] for name in ("twice300", "rna300", "dna300")]
    assert len({(row["virus_score"], row["n_frames"], row["best_frame"].split("_chunk_")[1]) for row in twins}) == 1


def test_chunks_and_frames_add_up(run):
    records, chunks, frames = (table(run[0] / f"{name}.tsv") for name in ("records", "chunks", "frames"))
    assert columns(run[0] / "chunks.tsv") == CHUNK_COLUMNS
    assert columns(run[0] / "frames.tsv") == FRAME_COLUMNS
    assert sum(int(row["n_chunks"]) for row in records) == len(chunks)
    assert sum(int(row["n_frames"]) for row in records) == sum(int(row["n_frames"]) for row in chunks) == len(frames)
    expected: Counter[str] = Counter()
    for row in chunks:
        expected[row["chunk"]] += int(row["n_frames"])
    assert Counter(row["chunk"] for row in frames) == expected
    spans = [(int(row["start"]), int(row["end"])) for row in chunks if row["seq_name"] == "long"]
    assert spans == [(0, 500), (399, 899), (798, 1200)]
    for row in frames:
        assert float(row["score_other"]) + float(row["score_virus"]) == pytest.approx(1, abs=1e-3)
        assert row["strand"] in "+-"
        assert row["offset"] in "012"
    assert {row["best_frame"] for row in records} - {"NA"} <= {row["frame"] for row in frames}


def test_totals_of_the_run_add_up(run):
    records = table(run[0] / "records.tsv")
    manifest = json.loads((run[0] / "run.json").read_text())
    counts = manifest["counts"]
    assert counts["records"] == len(ENTRIES) == sum(counts["status"].values())
    assert {k: n for k, n in counts["status"].items() if n} == dict(Counter(row["status"] for row in records))
    assert counts["viral"] == sum(row["prediction"] == "virus" for row in records)
    assert counts["bases"] == sum(len(sequence) for _, sequence, _ in ENTRIES)
    assert counts["chunks"] == sum(int(row["n_chunks"]) for row in records)
    assert counts["frames"] == sum(int(row["n_frames"]) for row in records)
    assert counts["records_with_a_repeated_id"] == 1
    assert manifest["virnucpro"] == virnucpro.__version__
    assert manifest["inputs"][0]["bytes"] == len(FASTA.encode())
    files = {path.name for path in BUNDLED.iterdir()}
    assert set(manifest["model"]["checksums"]) == files - {"model.json"}
    assert manifest["options"]["device"] in ("cpu", "cuda:0")


def test_messages_go_to_stderr_and_warn_once_of_repeated_ids(run):
    done = run[1]
    assert done.out == ""
    assert done.err.count("1 record repeats an id") == 1
    assert f"virnucpro: {len(ENTRIES)} records" in done.err
    assert "1 empty" in done.err
    assert "2 too_short" in done.err
    assert "\x1b" not in done.err


def test_hits_keep_their_headers(call, tmp_path):
    path = write(tmp_path / "input.fa", FASTA)
    every = call("predict", path, "-o", tmp_path / "every", "--min-score", "0")
    none = call("predict", path, "-o", tmp_path / "none", "--min-score", "1")
    assert (every.code, none.code) == (0, 0)
    scored = [(header, sequence) for header, sequence, status in ENTRIES if status == "ok"]
    text = "".join(f">{header}\n{wrap(sequence.upper(), 60)}\n" for header, sequence in scored)
    assert (tmp_path / "every" / "viral.fasta").read_text(encoding="utf-8") == text
    assert {row["prediction"] for row in table(tmp_path / "every" / "records.tsv")} == {"virus", "NA"}
    assert (tmp_path / "none" / "viral.fasta").read_text() == ""
    assert {row["prediction"] for row in table(tmp_path / "none" / "records.tsv")} == {"other", "NA"}


def test_hits_of_fastq_keep_their_qualities(call, tmp_path):
    quality = "".join(chr(33 + i % 94) for i in range(len(MEDIUM)))  # any that there may be
    fastq = f"@q1 with words\n{MEDIUM.lower()}\n+q1\n{quality}\n@q2\n{SHORT[:40]}\n+\n{'I' * 40}\n"
    files = [write(tmp_path / "1.fa", SMALL), write(tmp_path / "2.fq.gz", gzip.compress(fastq.encode()))]
    assert call("predict", *files, "-o", tmp_path / "out", "--min-score", "0").code == 0
    assert (tmp_path / "out" / "viral.fastq").read_text() == f"@q1 with words\n{MEDIUM}\n+\n{quality}\n"
    assert (tmp_path / "out" / "viral.fasta").read_text().count(">") == 3
    assert call("predict", *files, "-o", tmp_path / "out", "--min-score", "1", "--restart").code == 0
    assert (tmp_path / "out" / "viral.fastq").read_bytes() == b""  # as a workflow may declare it
    done = call("predict", *files, "-o", tmp_path / "out", "--min-score", "1", "--resume")
    assert "is already complete" in done.err


def test_hits_are_those_of_the_table(call, tmp_path):
    rows = [(f"r{i}", dna(200, i)) for i in range(12)]
    path = write(tmp_path / "input.fa", "".join(f">{name}\n{sequence}\n" for name, sequence in rows))
    assert call("predict", path, "-o", tmp_path / "first").code == 0
    ordered = sorted(float(row["virus_score"]) for row in table(tmp_path / "first" / "records.tsv"))
    gap, n_below = max((high - low, i) for i, (low, high) in enumerate(pairwise(ordered), start=1))
    between = ordered[n_below] - gap / 2
    assert ordered[n_below - 1] < between < ordered[n_below]
    assert call("predict", path, "-o", tmp_path / "out", "--min-score", between).code == 0
    hits = [row["seq_name"] for row in table(tmp_path / "out" / "records.tsv") if row["prediction"] == "virus"]
    assert len(hits) == 12 - n_below
    written = (tmp_path / "out" / "viral.fasta").read_text()
    assert [line[1:] for line in written.splitlines() if line.startswith(">")] == hits
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["viral"] == len(hits)


FASTQ = "".join(f"@{name}\n{sequence}\n+\n{'I' * len(sequence)}\n" for name, sequence in (("a", MEDIUM), ("b", SHORT)))
FORMS = {
    "gz": gzip.compress(SMALL.encode()),
    "bz2": bz2.compress(SMALL.encode()),
    "xz": lzma.compress(SMALL.encode()),
    "zst": zstd(SMALL.encode()),
    "fastq": FASTQ.encode(),
    "fastq.gz": gzip.compress(FASTQ.encode()),
    "CRLF": SMALL.replace("\n", "\r\n").encode(),
    "lower case": SMALL.replace(MEDIUM, MEDIUM.lower()).encode(),
    "wrapped": f">a\n{wrap(MEDIUM, 7)}\n>b\n{SHORT}".encode(),
    "RNA": SMALL.replace("T", "U").encode(),
}


@pytest.fixture(scope="module")
def small_table(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("small")
    with pytest.raises(SystemExit) as end:
        main(["predict", str(write(folder / "input.fa", SMALL)), "-o", str(folder / "out")])
    assert not end.value.code
    return (folder / "out" / "records.tsv").read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_input_gives_the_same_table(call, tmp_path, small_table, form):
    done = call("predict", write(tmp_path / "input", FORMS[form]), "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "records.tsv").read_bytes() == small_table


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_is_in_the_closing_line(call, tmp_path, precision):
    path = write(tmp_path / "input.fa", SMALL)
    for output in (tmp_path / "out", "-"):
        done = call("predict", path, "-o", output, "--device", "cpu", "--precision", precision)
        assert re.search(rf"; \S+ s in {precision} on cpu\b", done.err), done.err


def test_standard_input_to_standard_output(small_table, tmp_path):
    done = command("predict", "-", "-o", "-", stdin=FORMS["zst"])
    assert done.code == 0, done.err
    rows, expected = (text.splitlines() for text in (done.out, small_table.decode()))
    # What follows from the sample would need all records before the first can be written.
    fdr = RECORD_COLUMNS.index("fdr")
    assert RECORD_COLUMNS[fdr + 1 : fdr + 3] == ["confidence", "sample_score"]
    assert rows[0] == expected[0]
    assert [row.split("\t") for row in rows[1:]] == [
        [*cells[:fdr], "NA", "NA", "NA", *cells[fdr + 3 :]] for cells in (row.split("\t") for row in expected[1:])
    ]
    assert "virnucpro: 2 records" in done.err


def test_two_runs_write_the_same_bytes(call, run, tmp_path):
    """The second run is in another process, with other hash seeds."""
    arguments = ("--sample", run_json(run[0])["sample"])
    assert call("predict", run[0].parent / "input.fa", "-o", tmp_path / "out", *arguments).code == 0
    for name in {
        *TABLES,
        "virnucpro_mqc.json",
        "virnucpro_composition_mqc.json",
    }:  # run.json has timings, report.html the command, which is pytest's here
        assert (tmp_path / "out" / name).read_bytes() == (run[0] / name).read_bytes(), name


def test_json_lines_for_programs(call, tmp_path):
    path = write(tmp_path / "input.fa", SMALL)
    done = call("--json-log", "predict", path, "-o", tmp_path / "out")
    (said,) = [json.loads(line) for line in done.err.splitlines()]
    assert (said["event"], said["records"], said["not_called"]) == ("summary", 2, {})
    assert re.search(r"; \S+ s in (bf16|fp32) on cpu; tables and ", said["message"])
    assert said["virus"] + said["other"] == 2
    done = call("--json-log", "predict", path, "-o", tmp_path / "out")
    (said,) = [json.loads(line) for line in done.err.splitlines()]
    assert (done.code, said["level"], said["exit_code"]) == (1, "error", 1)


def test_a_dry_run_measures_and_writes_nothing(call, tmp_path):
    text = "".join(f">r{i}\n{LONG[i : i + 150]}\n" for i in range(60))
    done = call("predict", write(tmp_path / "input.fa", text + ">s\nACGT\n"), "-o", tmp_path / "out", "--dry-run")
    assert (done.code, done.err) == (0, "")
    lines = dict(line.split(": ", 1) for line in done.out.splitlines())
    assert list(lines) == ["input", "speed", "time", "memory"]
    assert lines["input"] == "61 records (counted), 9,000 nt in records that are long enough"
    assert lines["time"].startswith("about ")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_nothing_to_score(call, tmp_path):
    done = call("predict", write(tmp_path / "input.fa", ">s\nACGT\n"), "-o", tmp_path / "out", "--dry-run")
    assert done.code == 0
    assert "1 record (counted), 0 nt in records" in done.out


def test_parquet_and_explain_of_a_run(call, tmp_path):
    pytest.importorskip("pyarrow")
    path = write(tmp_path / "input.fa", SMALL)
    assert call("predict", path, "-o", tmp_path / "out", "--parquet").code == 0
    assert {file.name for file in (tmp_path / "out").glob("*.parquet")} == {
        "records.parquet",
        "chunks.parquet",
        "frames.parquet",
    }
    explained = call("explain", tmp_path / "out", "a").out
    assert explained.startswith("a: record 1 of the run, 300 nt\n")
    best = table(tmp_path / "out" / "records.tsv")[0]["best_frame"]
    assert f"frame {best[-2:]}:" in next(line for line in explained.splitlines() if "<- best" in line)
    assert call("explain", tmp_path / "out", "nobody").code == 65
    twice = call("compare", *[tmp_path / "out" / "records.tsv"] * 2, "-o", tmp_path / "all.tsv")
    assert twice.out.splitlines()[-1].split("\t")[:2] == ["virnucpro", "virnucpro#2"]
    assert columns(tmp_path / "all.tsv") == ["seq_name", "virnucpro", "virnucpro#2", "n_virus"]
    (tmp_path / "others.tsv").write_text("seq_name\tprediction\tvirus_score\tstatus\nelse\tvirus\t0.9\tok\n")
    apart = call("compare", tmp_path / "out" / "records.tsv", tmp_path / "others.tsv")
    assert "no sequence is in two tables" in apart.err
    assert call("predict", path, "-o", tmp_path / "out", "--restart").code == 0
    assert not list((tmp_path / "out").glob("*.parquet"))  # of an earlier run


def test_a_report_is_made_again(call, run, tmp_path):
    copy = Path(shutil.copytree(run[0], tmp_path / "copy"))
    (copy / "report.html").unlink()
    done = call("report", copy)
    assert (done.code, done.err) == (0, f"virnucpro: open {copy / 'report.html'} in a browser\n")
    assert (copy / "report.html").read_bytes() == (run[0] / "report.html").read_bytes()
    assert call("report", tmp_path).code == 66


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell):
    done = command(_VIRNUCPRO_COMPLETE=f"source_{shell}")
    assert done.code == 0
    assert "virnucpro" in done.out
    words = {"COMP_WORDS": "virnucpro rep", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "virnucpro rep"}
    done = command(_VIRNUCPRO_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args", **words)
    assert "report" in done.out


def test_several_files_are_one_stream(call, tmp_path):
    files = [write(tmp_path / "1.fa", f">a\n{MEDIUM}\n"), write(tmp_path / "2.fa", ""), write(tmp_path / "3.fq", FASTQ)]
    assert call("-q", "predict", *files, "-o", tmp_path / "out").err == ""
    assert [row["seq_name"] for row in table(tmp_path / "out" / "records.tsv")] == ["a", "a", "b"]


@pytest.mark.parametrize("data", [b"", b"\n\n", gzip.compress(b"")], ids=["empty", "blank", "gz"])
def test_an_empty_file_gives_tables_of_headers(call, tmp_path, data):
    done = call("predict", write(tmp_path / "input", data), "-o", tmp_path / "out")
    assert (done.code, done.out) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == OUTPUTS
    for name, names in (("records", RECORD_COLUMNS), ("chunks", CHUNK_COLUMNS), ("frames", FRAME_COLUMNS)):
        assert (tmp_path / "out" / f"{name}.tsv").read_text() == "\t".join(names) + "\n"
    assert (tmp_path / "out" / "viral.fasta").read_bytes() == b""
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["records"] == 0


def test_a_name_that_is_not_text_comes_back_byte_for_byte(call, tmp_path):
    path = write(tmp_path / "input.fa", b">na\xefve x\xff\n" + MEDIUM.encode() + b"\n")
    assert call("predict", path, "-o", tmp_path / "out", "--min-score", "0").code == 0
    assert (tmp_path / "out" / "records.tsv").read_bytes().split(b"\n")[1].startswith(b"na\xefve\t300\t")
    assert (tmp_path / "out" / "viral.fasta").read_bytes().startswith(b">na\xefve x\xff\n")


def test_packed_and_padded_scores_agree(call, run, tmp_path):
    assert call("predict", run[0].parent / "input.fa", "-o", tmp_path / "out", "--no-packing").code == 0
    for packed, padded in zip(table(run[0] / "records.tsv"), table(tmp_path / "out" / "records.tsv"), strict=True):
        if packed["virus_score"] != "NA":
            # Float32 rounding, and a last decimal in the table that it may turn.
            assert float(padded["virus_score"]) == pytest.approx(float(packed["virus_score"]), abs=1e-3)
        for name in ("seq_name", "length", "n_chunks", "n_frames", "status", "reason"):
            assert padded[name] == packed[name]


def test_the_shortest_record_can_be_chosen(call, tmp_path):
    path = write(tmp_path / "input.fa", SMALL + ">c\nAC\n>d\nGCC\n")
    for minimum, expected in ((81, ["ok", "too_short"] + ["too_short"] * 2), (1, ["ok", "ok", "too_short", "ok"])):
        out = tmp_path / str(minimum)
        assert call("predict", path, "-o", out, "--min-length", minimum).code == 0
        assert [row["status"] for row in table(out / "records.tsv")] == expected
        assert table(out / "records.tsv")[2]["reason"] == f"2 nt, needs {max(minimum, 3)}"


@pytest.fixture
def model(tmp_path) -> Path:
    """A copy of the bundled model, to be damaged."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "model"))


def change_a_byte(folder: Path) -> None:
    data = bytearray((folder / "protein.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "protein.safetensors").write_bytes(data)


def change_json(folder: Path, **values: object) -> None:
    described = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(described | values))


DAMAGES = {
    "byte": (change_a_byte, ["protein.safetensors is damaged", "SHA-256"]),
    "missing weights": (lambda m: (m / "classifier.safetensors").unlink(), ["lacks classifier.safetensors"]),
    "missing description": (lambda m: (m / "model.json").unlink(), ["there is no model"]),
    "other format": (lambda m: change_json(m, format=2), ["model.json has format 2", "reads format 1"]),
    "not JSON": (lambda m: (m / "model.json").write_text("{"), ["model.json cannot be read"]),
    "unknown field": (lambda m: change_json(m, colour="red"), ["model.json is not a complete model", "colour"]),
    "lost checksum": (
        lambda m: change_json(m, checksums={"reference.safetensors": "0" * 64}),
        ["nucleotide.safetensors is damaged", "None"],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused(call, tmp_path, model, damage):
    change, messages = DAMAGES[damage]
    change(model)
    done = call("predict", write(tmp_path / "input.fa", SMALL), "-o", tmp_path / "out", "--model", model)
    assert done.code == 1
    assert done.err.startswith("virnucpro: error: ")
    assert all(message in done.err for message in messages), done.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_whole_copy_of_a_model_is_used(call, tmp_path, model, small_table):
    path = write(tmp_path / "input.fa", SMALL)
    assert call("predict", path, "-o", tmp_path / "out", "--model", model).code == 0
    assert (tmp_path / "out" / "records.tsv").read_bytes() == small_table
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model"]["directory"] == str(model)


BAD_MIDDLE = f">a\n{MEDIUM}\n>b\nAC!GT\n>c\n{MEDIUM}\n"
FAULTS = {
    "missing file": (SMALL, ["nothing.fa"], 66, "nothing.fa: no such file"),
    "bad device": (SMALL, ["--device", "tpu"], 2, "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
    "absent device": (SMALL, ["--device", "cuda:99"], 2, "there is no device cuda:99"),
    "bad attention": (SMALL, ["--attention", "x"], 2, "attention must be auto or one of"),
    "bad precision": (SMALL, ["--precision", "fp4"], 2, "precision must be"),
    "fp8 on a CPU": (SMALL, ["--precision", "fp8", "--device", "cpu"], 2, "compute capability 8.9"),
    "bad character": (BAD_MIDDLE, [], 65, "line 3: record 'b': '!' at position 3"),
    "other format": ("LOCUS x\n", [], 65, "neither FASTA nor FASTQ"),
    "cut gz": (gzip.compress(SMALL.encode())[:-12], [], 65, "damaged or truncated gz"),
    "cut FASTQ": (FASTQ[:-20], [], 65, "80 bases but 61 qualities"),
    "no model": (SMALL, ["--model", "nothing"], 1, "there is no model 'nothing'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_fails_says_why_and_leaves_nothing(call, tmp_path, fault):
    data, arguments, code, message = FAULTS[fault]
    done = call("predict", write(tmp_path / "input", data), "-o", tmp_path / "out", *arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_fault_after_many_records_leaves_no_table(call, tmp_path):
    """The first slices are through the encoders and partly written when the bad record is read."""
    good = "".join(f">r{i}\n{MEDIUM[i % 9 : 90 + i % 9]}\n" for i in range(6000))
    done = command("predict", write(tmp_path / "input.fa", good + BAD_MIDDLE), "-o", tmp_path / "out")
    assert done.code == 65
    assert "line 12003: record 'b': '!' at position 3" in done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"run.json", "units"}  # but no table
    done = call("predict", tmp_path / "input.fa", "-o", "-")
    assert done.code == 65
    assert done.out.count("\n") > 1000  # a stream cannot be taken back, but the exit code tells
    assert done.out.endswith("\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["predict", "x.fa"],
        ["predict", "x.fa", "-o", "out", "--min-score", "2"],
        ["predict", "x.fa", "-o", "out", "--min-length", "0"],
        ["predict", "x.fa", "-o", "out", "--threads", "0"],
        ["predict", "x.fa", "-o", "out", "--threads", "100000"],
        ["predict", "x.fa", "-o", "out", "--colour", "red"],
        ["call", "x.fa"],
        ["embed", "x.fa", "-o", "out", "--max-tokens", "0"],
        ["models", "dance"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(call, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.code == 2
    assert "Usage" in done.err
    assert list(tmp_path.iterdir()) == []


def test_exit_codes_of_the_entry_point(tmp_path, model):
    """Commands that stop before torch is imported, where one gives the code."""
    change_a_byte(model)
    for code, name, arguments in (
        (1, "predict", [write(tmp_path / "input.fa", SMALL), "--model", model]),
        (2, "frames", [tmp_path / "input.fa", "--chunk-length", "2"]),
        (65, "frames", [write(tmp_path / "bad.fa", BAD_MIDDLE)]),
        (66, "frames", [tmp_path / "nothing.fa"]),
    ):
        done = command(name, *arguments, "-o", tmp_path / "out")
        assert (done.code, done.out) == (code, ""), done.err
        assert "Traceback" not in done.err
        assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_is_130_and_leaves_no_table(tmp_path):
    path = write(tmp_path / "input.fa", "".join(f">r{i}\n{dna(500, i)}\n" for i in range(8000)))
    arguments = [COMMAND, "predict", path, "-o", tmp_path / "out", "--unit-records", "8"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out" / "run.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"run it again with --resume" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"run.json", "units"}


def test_a_used_directory_is_refused_without_restart(call, tmp_path, small_table):
    path = write(tmp_path / "input.fa", SMALL)
    (tmp_path / "out").mkdir()
    mine, old = write(tmp_path / "out" / "mine.txt", "keep"), write(tmp_path / "out" / "records.tsv", "old")
    for arguments in (["predict"], ["frames"], ["embed"]):
        done = call(*arguments, path, "-o", tmp_path / "out")
        assert done.code == 1
        assert "is not empty; use --restart" in done.err
    assert old.read_text() == "old"
    assert call("predict", path, "-o", tmp_path / "out", "--restart").code == 0
    assert old.read_bytes() == small_table
    assert mine.read_text() == "keep"
    assert {p.name for p in (tmp_path / "out").iterdir()} == OUTPUTS | {"mine.txt"}


def test_an_output_that_cannot_be_made(call, tmp_path):
    done = call("predict", write(tmp_path / "input.fa", SMALL), "-o", tmp_path / "input.fa")
    assert done.code == 1
    assert "cannot be used" in done.err


def test_frames_writes_chunks_and_their_open_frames(call, tmp_path):
    path = write(tmp_path / "input.fa", f">a x\n{'GCC' * 20}\n>b\n{'TAATTAATTAA' * 5}\n>e\n")
    done = call("frames", path, "-o", tmp_path / "out", "--chunk-length", "40")
    assert done.code == 0
    assert "4 chunks, 12 stop-free frames" in done.err
    written = {name: (tmp_path / "out" / name).read_text() for name in ("chunks.fa", "frames.fna", "frames.faa")}
    chunks = written["chunks.fa"].split()
    assert chunks[:4] == [">a_chunk_1", ("GCC" * 20)[:40], ">a_chunk_2", ("GCC" * 20)[29:60]]
    names = [f">a_chunk_{n}{f}" for n in (1, 2) for f in ("F1", "F2", "F3", "R1", "R2", "R3")]
    assert written["frames.fna"].split()[0::2] == written["frames.faa"].split()[0::2] == names
    assert written["frames.faa"].split()[1] == "A" * 13
    assert written["frames.fna"].split()[1] == ("GCC" * 20)[:40]


@pytest.mark.parametrize("name", ["with_orfs", "fixed_500bp"])
def test_frames_are_the_published_ones(call, tmp_path, name):
    named = os.environ.get("VIRNUCPRO_GOLDEN")
    folder = (Path(named) if named else Path(__file__).parents[3] / "shared" / "golden") / name
    if not folder.is_dir():
        pytest.skip(f"no golden files: {folder} is not a folder; set VIRNUCPRO_GOLDEN")
    assert call("frames", folder / "input.fa", "-o", tmp_path / "out").code == 0
    golden = {"frames.fna": "identified_nucleotide.fa", "frames.faa": "identified_protein.faa"}
    for ours, theirs in golden.items():
        assert (tmp_path / "out" / ours).read_bytes() == (folder / theirs).read_bytes()
    unwrapped = (folder / "chunked500.fa").read_text().replace(">", "\n>").split("\n>")[1:]
    expected = [entry.split("\n", 1) for entry in unwrapped]
    found = (tmp_path / "out" / "chunks.fa").read_text().split()
    assert found == [part for name, text in expected for part in (f">{name}", text.replace("\n", ""))]


SHARD = "embeddings_00000.safetensors"
PROTEINS = [
    ("p1 x", "MKVLAAGIVGLLLAQWERTYCCDEFGH"),
    ("p2", "MK"),
    ("p1 again", "MSTNPKPQRKTKRNTNRRPQDVKFPGG" * 9),
    ("p3", "MK*"),
]


def test_embed_gives_one_row_a_sequence_in_order(call, tmp_path):
    path = write(tmp_path / "p.faa", "".join(f">{name}\n{sequence}\n" for name, sequence in PROTEINS))
    done = call("embed", path, "-o", tmp_path / "out", "--precision", "fp32")
    assert (done.code, done.out) == (0, "")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {SHARD, "ids.tsv", "run.json"}
    vectors = load_file(tmp_path / "out" / SHARD)["embeddings"]
    encoder = virnucpro.load_model().protein
    assert vectors.shape == (4, encoder.model.width)
    assert vectors.dtype == torch.float32
    assert vectors.isfinite().all()
    rows = table(tmp_path / "out" / "ids.tsv")
    assert [(r["row"], r["seq_name"], int(r["length"]), r["shard"], r["rows"]) for r in rows] == [
        (str(i), name.split()[0], len(sequence.rstrip("*")), SHARD, "1") for i, (name, sequence) in enumerate(PROTEINS)
    ]
    for row, (_, sequence) in zip(vectors, PROTEINS, strict=True):
        alone = AsyncInferenceRunner(encoder).embed([sequence.rstrip("*").encode()])[0]
        np.testing.assert_allclose(row, alone, atol=1e-5)  # float32 sums in batches of other shapes


def test_embed_nucleotides_nothing_and_what_has_no_vector(call, tmp_path):
    path = write(tmp_path / "input.fa", SMALL)
    assert call("embed", path, "-o", tmp_path / "dna", "--kind", "nucleotide").code == 0
    assert load_file(tmp_path / "dna" / SHARD)["embeddings"].shape[0] == 2
    nothing = call("-q", "embed", write(tmp_path / "none.fa", ""), "-o", tmp_path / "none")
    assert (nothing.code, nothing.err) == (0, "")
    assert {p.name for p in (tmp_path / "none").iterdir()} == {"ids.tsv", "run.json"}
    assert (tmp_path / "none" / "ids.tsv").read_text() == "seq_name\tlength\tshard\trow\trows\n"
    empty = call("embed", write(tmp_path / "empty.fa", ">a\nMK\n>b\n"), "-o", tmp_path / "empty")
    assert empty.code == 65
    assert "record 'b' has no sequence" in empty.err
    assert list((tmp_path / "empty").iterdir()) == []
    assert call("embed", path, "-o", tmp_path / "rna", "--kind", "rna").code == 2


def test_models_are_listed_and_shown(call):
    listed = call("models", "list").out.splitlines()
    assert listed[0] == "name\tmodel\tchunk_length\tmin_length\tdirectory"
    assert listed[1].split("\t")[0] == "bundled"
    shown = json.loads(call("models", "show").out)
    assert shown["name"] == listed[1].split("\t")[1]
    assert {"frame_rule", "chunk_length", "training", "metrics", "checksums", "licence"} <= set(shown)
    assert call("models", "show", "nothing").code == 1


def test_doctor_names_every_backend_and_why():
    done = command("doctor", COLUMNS="200", NO_COLOR="1")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    assert f"virnucpro {virnucpro.__version__}" in done.out
    rows = [line for line in done.out.splitlines() if "float32" in line and "cpu" in line]
    states = {(fields[4].strip(), fields[3].strip()): fields[5].strip() for fields in (row.split("│") for row in rows)}
    assert {name for name, _ in states} == {"triton", "torch-varlen", "flash-attn", "sdpa"}
    assert states["sdpa", "no"] == states["sdpa", "yes"] == "used"
    assert "CUDA" in states["torch-varlen", "no"] or "torch" in states["torch-varlen", "no"]
    assert all(state for state in states.values())
    assert "\\" not in done.out
    assert "model bundled: complete" in done.out


def test_messages_have_no_escape_codes_off_a_terminal_or_with_no_color():
    plain = command("predict", "--colour")
    assert plain.code == 2
    assert "\x1b" not in plain.err
    assert "\x1b" not in command("doctor").out
    colour = re.compile(r"\x1b\[[\d;]*3[0-7]m")
    assert colour.search(command("doctor", FORCE_COLOR="1").out)  # the check above can fail
    assert not colour.search(command("doctor", FORCE_COLOR="1", NO_COLOR="1").out)


SETTINGS = """
[data]
directory = "data"
class_share = { virus = 0.5, bacteria = 0.5 }
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
steps = 3
batch = 8
warmup = 1
workers = 0
evaluate_every = 2
windows_per_class = 3
"""


def test_train_sample_predict_evaluate(call, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for name in ("virus", "bacteria"):
            write(
                tmp_path / "data" / split / f"{name}.fna",
                "".join(f">{name}{i}\n{dna(900, (split, name, i))}\n" for i in range(3)),
            )
    trained = call("train", write(tmp_path / "tiny.toml", SETTINGS), "-o", tmp_path / "model")
    assert trained.code == 0, trained.err
    shown = json.loads(call("models", "show", tmp_path / "model").out)
    assert shown["name"] == "tiny"
    assert shown["training"]
    assert shown["metrics"]["val"]
    further = call("train", tmp_path / "tiny.toml", "--init", tmp_path / "model", "-o", tmp_path / "further")
    assert further.code == 0, further.err
    settings = json.loads(call("models", "show", tmp_path / "further").out)["training"]["settings"]
    assert settings["fit"]["init"] == str(tmp_path / "model")

    sample = ["sample", tmp_path / "data", "--length", 200, "--virus", 6, "--host", 4]
    assert call(*sample, "-o", tmp_path / "windows").code == 0
    truth = table(tmp_path / "windows" / "truth.tsv")
    assert Counter(row["class"] for row in truth) == {"virus": 6, "bacteria": 4}
    assert call(*sample, "-o", tmp_path / "again").code == 0
    for name in ("windows.fa", "truth.tsv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "windows" / name).read_bytes()

    calls = ["predict", tmp_path / "windows" / "windows.fa", "--model", tmp_path / "model", "-o", tmp_path / "calls"]
    assert call(*calls).code == 0
    rows = table(tmp_path / "calls" / "records.tsv")
    assert [row["seq_name"] for row in rows] == [row["seq_name"] for row in truth]
    evaluated = call("evaluate", tmp_path / "calls" / "records.tsv", "--truth", tmp_path / "windows" / "truth.tsv")
    assert evaluated.code == 0
    figures = json.loads(evaluated.out)
    assert (figures["n"], figures["n_unscored"]) == (10, 0)
    scores = {name: [float(r["virus_score"]) for r, t in zip(rows, truth, strict=True) if t["class"] == name]
              for name in ("virus", "bacteria")}  # fmt: skip
    wins = sum((v > b) + (v == b) / 2 for v in scores["virus"] for b in scores["bacteria"])
    assert figures["auroc"] == pytest.approx(wins / 24, abs=1e-4)
    assert figures["auroc_by_class"] == {"bacteria": figures["auroc"]}

    evaluate = ["evaluate", tmp_path / "calls" / "records.tsv", "--truth", tmp_path / "windows" / "truth.tsv"]
    written = call(*evaluate, "-o", tmp_path / "figures", "--no-plots", "--length-bins", "150,250", "--seed", 1)
    assert written.code == 0, written.err
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"evaluation.json", "evaluation.tsv"}
    assert {row["length"] for row in table(tmp_path / "figures" / "evaluation.tsv")} == {"all", "150-249"}
    assert json.loads(written.out)["bootstrap"] == {"unit": "taxon", "replicates": 200, "seed": 1, "level": 0.95}
    assert json.loads(written.out)["auroc"] == figures["auroc"]


def test_a_model_of_host_classes_is_trained_calibrated_and_used(call, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for name in ("virus", "bacteria", "plant"):
            write(
                tmp_path / "data" / split / f"{name}.fna",
                "".join(f">{name}{i}\n{dna(6000, (split, name, i))}\n" for i in range(2)),
            )
    (tmp_path / "more").mkdir()
    write(tmp_path / "more" / "mobile.fna", f">m\n{dna(400)}\n")
    write(tmp_path / "more" / "erv.fna", f">e\n{dna(400, 1)}\n")
    hosts = SETTINGS.replace("bacteria = 0.5 }", "bacteria = 0.2, plant = 0.2, mobile = 0.1 }")
    hosts = hosts.replace('name = "tiny"', 'name = "tiny"\nclasses = "hosts"')
    hosts = hosts.replace(
        "[model]", 'exclude = ["viroid", "erv"]\nextra_share = { plant = 0.0 }\nextra = "none"\n[model]'
    )
    trained = call(
        "train", write(tmp_path / "hosts.toml", hosts), "--extra", tmp_path / "more", "-o", tmp_path / "model"
    )
    assert trained.code == 0, trained.err
    assert json.loads(call("models", "show", tmp_path / "model").out)["classes"] == [
        "bacteria", "mobile", "plant", "virus",
    ]  # fmt: skip
    calibrated = call(
        "calibrate", tmp_path / "model", "--data", tmp_path / "data", "--windows", 20, "-o", tmp_path / "calibrated"
    )
    assert calibrated.code == 0, calibrated.err
    reads = write(tmp_path / "reads.fa", "".join(f">{i}\n{dna(n)}\n" for i, n in enumerate((90, 300, 1200, 5000))))
    done = call("predict", reads, "--model", tmp_path / "calibrated", "-o", tmp_path / "calls")
    assert done.code == 0, done.err
    assert [row["status"] for row in table(tmp_path / "calls" / "records.tsv")] == ["ok"] * 4
    frames = table(tmp_path / "calls" / "frames.tsv")
    assert all(float(row["score_other"]) + float(row["score_virus"]) == pytest.approx(1, abs=2e-4) for row in frames)
    none = call("train", tmp_path / "hosts.toml", "-o", tmp_path / "other")
    assert none.code == 66
    assert "none: no CLASS.fna files" in none.err


def test_evaluate_draws_plots_or_says_what_it_needs_for_them(call, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extras report and dev")
    truth = write(tmp_path / "truth.tsv", "seq_name\tclass\na\tvirus\nb\tplant\n")
    calls = write(tmp_path / "calls.tsv", "seq_name\tvirus_score\na\t0.7\nb\tNA\n")
    out = tmp_path / "figures"
    assert call("evaluate", calls, "--truth", truth, "-o", out).code == 0
    plots = {f"{name}.png" for name in ("roc", "precision_recall", "calibration", "scores")}  # no lengths are known
    assert {path.name for path in out.iterdir()} == {"evaluation.json", "evaluation.tsv", *plots}

    (out / "roc.png").unlink()
    (out / "roc.png").mkdir()  # this figure cannot be written; all else is
    (out / "evaluation.tsv").write_text("of the earlier run")
    done = call("evaluate", calls, "--truth", truth, "-o", out, "--restart")
    assert done.code == 0
    assert done.err.count("was not drawn (") == 1
    assert f"WARNING: {out}/roc.png was not drawn (OutputError" in done.err
    assert len(table(out / "evaluation.tsv")) > 5
    (out / "roc.png").rmdir()
    assert call("evaluate", calls, "--truth", truth, "-o", out, "--restart", "--no-plots").code == 0
    assert {path.name for path in out.iterdir()} == {"evaluation.json", "evaluation.tsv"}  # none of earlier calls

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = call("evaluate", calls, "--truth", truth, "-o", tmp_path / "other")
    assert done.code == 1
    assert "pip install 'virnucpro[report]'" in done.err
    assert not (tmp_path / "other").exists()
    assert call("evaluate", calls, "--truth", truth).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "nothing.toml", "-o", "out"], 66, "no such file"),
        (["train", "bad.toml", "-o", "out"], 2, "`virnucpro train --settings` prints all settings"),
        (["sample", "nothing", "-o", "out"], 66, "no CLASS.fna files"),
        (["evaluate", "calls.tsv", "--truth", "nothing.tsv"], 66, "no such file"),
        (["evaluate", "bad.toml", "--truth", "bad.toml"], 65, "has no column 'seq_name'"),
        (
            ["evaluate", "bad.toml", "--truth", "truth.tsv"],
            65,
            "its columns are [data]",
        ),
        (["evaluate", "bad.toml", "--truth", "truth.tsv", "--length-bins", "1,x"], 2, "must be whole numbers"),
        (["frames", "nothing.fa", "-o", "out"], 66, "no such file"),
    ],
)
def test_other_commands_say_what_is_wrong(call, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bad.toml", "[data]\n")
    write(tmp_path / "truth.tsv", "seq_name\tclass\na\tvirus\nb\tplant\n")
    done = call(*arguments)
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err
