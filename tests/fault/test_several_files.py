"""Runs of several input files: the column `file`, estimates for each file, and the same bytes whatever happens."""

import csv
import json
import os
import shutil
from pathlib import Path
from threading import Thread

import pytest
from support.files import contents, fasta, run_json
from support.hosts import HOSTS, write_hosts_model
from support.lab import make_records

from virnucpro import read_records
from virnucpro.run.directory import RunDirectory

NAMES = ["one/soil.fa", "two/soil.fa", "empty.fa", "late.fa"]  # with the name that each has in the tables
SIZES = (21, 33, 0, 46)  # records, so that units of 4 have borders of files inside


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[Path]:
    folder, records = tmp_path_factory.mktemp("files"), make_records(100, seed=9)
    paths = [folder / name for name in NAMES]
    first = 0
    for path, size in zip(paths, SIZES, strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(fasta(records[first : first + size]))
        first += size
    (folder / "whole.fa").write_text(fasta(records))
    return paths


@pytest.fixture(scope="module", params=["scores of a network", "several hosts"])
def model(request, lab, tmp_path_factory, inputs) -> Path:
    if request.param != "several hosts":
        return lab.model
    return write_hosts_model(tmp_path_factory.mktemp("hosts") / "model", read_records([str(one) for one in inputs]))


@pytest.fixture(scope="module")
def arguments(model, inputs):
    """Make the command line of a run in a directory."""

    def make(output: object, *more: object, sources=inputs) -> list[str]:
        given = [
            "predict",
            *sources,
            "-o",
            output,
            "--model",
            model,
            "-t",
            1,
            "--unit-records",
            4,
            "--precision",
            "fp32",
        ]
        return [str(word) for word in (*given, "--sample", "all", *more)]

    return make


@pytest.fixture(scope="module")
def unbroken(arguments, tmp_path_factory) -> Path:
    from support.commands import run

    output = tmp_path_factory.mktemp("unbroken") / "out"
    assert run(*arguments(output)) == 0
    return output


def everything(directory: Path) -> dict[str, bytes]:
    """Return all files but run.json, which holds timings, and report.html, which shows the command."""
    return contents(directory, "run.json", "report.html")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_column_has_the_file_of_each_record(arguments, call, unbroken, inputs, tmp_path):
    """Without the column, the tables are those of one input with the same records."""
    lines = (unbroken / "records.tsv").read_text().splitlines()
    expected = [name for name, size in zip(NAMES, SIZES, strict=True) for _ in range(size)]
    assert [line.rpartition("\t")[2] for line in lines] == ["file", *expected]
    assert call(arguments(tmp_path / "one", sources=[inputs[2].parent / "whole.fa"]))[0] == 0
    one = (tmp_path / "one" / "records.tsv").read_text().splitlines()
    assert [line.rpartition("\t")[0] for line in lines] == one
    for name in ("chunks.tsv", "frames.tsv", "viral.fasta"):
        assert (tmp_path / "one" / name).read_bytes() == (unbroken / name).read_bytes()
    manifest = run_json(tmp_path / "one")
    assert (manifest["content"]["files"], "files" in manifest) == ([], False)


def test_run_json_has_each_file(unbroken, model):
    manifest = run_json(unbroken)
    counted = [NAMES[0], NAMES[1], NAMES[3], NAMES[2]]  # the one without records last
    assert manifest["content"]["files"] == [{"file": n, "records": SIZES[NAMES.index(n)]} for n in counted]
    estimates = {one["file"]: one for one in manifest["files"]}
    assert set(estimates) == set(NAMES)
    assert estimates["empty.fa"] == {"file": "empty.fa", "prevalence": None, "hosts": None, "interval": None}
    if manifest["composition"] is None:
        assert all(one["prevalence"] is None for one in estimates.values())


def test_the_estimate_of_a_file_is_that_of_its_own_run(arguments, call, unbroken, inputs, tmp_path):
    estimates = {one["file"]: one for one in run_json(unbroken)["files"]}
    for name, path in zip(NAMES, inputs, strict=True):
        out = tmp_path / path.parent.name / path.stem
        assert call(arguments(out, sources=[path]))[0] == 0
        alone = run_json(out)
        assert estimates[name]["prevalence"] == alone["prevalence"]
        if alone["composition"]:
            assert estimates[name]["hosts"] == alone["composition"]["hosts"]
            assert estimates[name]["interval"] == alone["composition"]["interval"]
            assert set(estimates[name]["hosts"]) == set(HOSTS)


def test_multiqc_and_the_report_have_each_file(unbroken):
    calls = json.loads((unbroken / "virnucpro_mqc.json").read_text())["data"]
    shares = json.loads((unbroken / "virnucpro_composition_mqc.json").read_text())["data"]
    names = ["all", *(f"all {name.replace('/', '_').replace('.', '_')}" for name in NAMES)]
    assert list(calls) == list(shares)
    assert set(calls) == set(names)
    found = rows(unbroken / "records.tsv")
    page = (unbroken / "report.html").read_text()
    for name, row in zip(NAMES, names[1:], strict=True):
        own = [one for one in found if one["file"] == name]
        virus = [one for one in own if one["prediction"] == "virus"]
        assert calls[row]["virus"] == shares[row]["virus"] == len(virus)
        assert shares[row]["records"] == sum(calls[row].values()) == len(own)
        if "expected_false" in shares[row]:
            false = sum(1 - float(one["sample_score"]) for one in virus)
            assert abs(shares[row]["expected_false"] - false) < 0.01
        assert f"<bdi>{name}</bdi>" in page
    for key in ("virus", "other"):
        whole = sum(n for name, n in calls["all"].items() if name.startswith(key))  # of virus, by confidence
        assert sum(calls[name].get(key, 0) for name in names[1:]) == whole


def test_a_resumed_run_has_the_same_bytes(arguments, call, unbroken, tmp_path, monkeypatch):
    with monkeypatch.context() as kept:
        kept.setattr(RunDirectory, "remove_units", lambda self: None)
        assert call(arguments(tmp_path / "out"))[0] == 0
    units = sorted((tmp_path / "out" / "units").glob("unit_*"))
    for unit in units[1::2]:
        unit.unlink()
    for name in everything(unbroken):
        (tmp_path / "out" / name).unlink()
    code, err = call(arguments(tmp_path / "out", "--resume"))
    assert (code, f"{len(units[::2])} of {len(units)} units were done before" in err) == (0, True)
    assert everything(tmp_path / "out") == everything(unbroken)
    assert call(arguments(tmp_path / "out", "--resume"))[1].endswith("is already complete\n")


@pytest.mark.parametrize(
    "more", [["-t", 2], ["--max-tokens", 300], ["--unit-records", 1], ["--unit-records", 500]], ids=str
)
def test_threads_token_budget_and_units_change_nothing(arguments, call, unbroken, tmp_path, more):
    assert call(arguments(tmp_path / "out", *more))[0] == 0
    assert everything(tmp_path / "out") == everything(unbroken)


def test_merged_shards_have_the_same_bytes(arguments, call, unbroken, tmp_path):
    shards = [tmp_path / f"shard_{number}" for number in (1, 2, 3)]
    for number, shard in enumerate(shards, start=1):
        assert call(arguments(shard, "--shard", f"{number}/3"))[0] == 0
    assert call(["merge", *map(str, shards), "-o", str(tmp_path / "out")])[0] == 0
    assert everything(tmp_path / "out") == everything(unbroken)
    merged, whole = run_json(tmp_path / "out"), run_json(unbroken)
    for key in ("sample", "files", "content", "composition", "prevalence"):
        assert merged[key] == whole[key]


def test_ray_gives_the_same_bytes(arguments, call, unbroken, tmp_path):
    pytest.importorskip("ray", reason="needs Ray (the extra ray)")
    code, err = call(arguments(tmp_path / "out", "--engine", "ray", "--workers", 1))
    assert code == 0, err
    assert everything(tmp_path / "out") == everything(unbroken)


def test_the_library_writes_the_same_bytes(arguments, model, inputs, unbroken, tmp_path):
    import virnucpro

    calls = virnucpro.predict([str(one) for one in inputs], model=str(model), device="cpu", threads=1, progress=False)
    calls.write(tmp_path / "out", sample="all")
    found, expected = everything(tmp_path / "out"), everything(unbroken)
    precise = run_json(tmp_path / "out")["options"]["precision"] == "fp32"  # else the last digits may differ
    assert found.keys() == expected.keys()
    assert [row["file"] for row in rows(tmp_path / "out" / "records.tsv")] == [
        row["file"] for row in rows(unbroken / "records.tsv")
    ]
    assert not precise or found == expected


def test_arrow_and_parquet_have_the_column(arguments, call, model, inputs, unbroken, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (the extra parquet)")
    import virnucpro

    assert call(arguments(tmp_path / "out", "--parquet"))[0] == 0
    expected = [row["file"] for row in rows(unbroken / "records.tsv")]
    written = parquet.read_table(tmp_path / "out" / "records.parquet")
    assert (written.column_names[-1], written["file"].to_pylist()) == ("file", expected)
    paths = [str(one) for one in inputs]
    calls = virnucpro.predict(paths, model=str(model), device="cpu", threads=1, progress=False).to_arrow()
    assert (calls.column_names, calls["file"].to_pylist()) == ([*written.column_names, "log_ratio"], expected)
    one = virnucpro.predict(paths[:1], model=str(model), device="cpu", threads=1, progress=False).to_arrow()
    assert "file" not in one.column_names


def test_rows_on_stdout_have_the_column(arguments, unbroken, capfdbinary):
    from support.commands import run_captured

    given = [word for word in arguments("-") if word not in ("--sample", "all")]
    done = run_captured(capfdbinary, *given)
    assert done.code == 0, done.err
    found = [line.split("\t") for line in done.out.splitlines()]
    expected = [line.split("\t") for line in (unbroken / "records.tsv").read_text().splitlines()]
    assert [(row[0], row[-1]) for row in found] == [(row[0], row[-1]) for row in expected]
    assert {len(row) for row in found} == {len(expected[0])}


def test_other_borders_between_files_are_another_input(arguments, call, tmp_path):
    """Of pipes, nothing but the number of records of each tells the inputs apart."""
    records = make_records(12, seed=3)

    def run(cut: int, *more: object) -> tuple[int, str]:
        writers, pipes = [], [tmp_path / f"{cut}_{name}" for name in "ab"]
        for pipe, part in zip(pipes, (records[:cut], records[cut:]), strict=True):
            os.mkfifo(pipe)
            writers.append(Thread(target=pipe.write_text, args=(fasta(part),)))
            writers[-1].start()
        code, err = call(arguments(tmp_path / "out", *more, sources=pipes))
        for writer in writers:
            writer.join()
        return code, err

    assert run(5)[0] == 0
    before = contents(tmp_path / "out")
    code, err = run(7, "--resume")
    assert (code, "records of each input was [5, 7] and is [7, 5]" in err) == (2, True), err
    assert contents(tmp_path / "out") == before


def test_a_run_without_records_has_the_column(arguments, call, tmp_path):
    paths = [tmp_path / name for name in ("a.fa", "b.fa")]
    for path in paths:
        path.touch()
    assert call(arguments(tmp_path / "out", sources=paths))[0] == 0
    (head,) = (tmp_path / "out" / "records.tsv").read_text().splitlines()
    assert head.endswith("\treason\tfile")


def test_a_complete_run_gets_another_name(arguments, call, unbroken, tmp_path):
    out = Path(shutil.copytree(unbroken, tmp_path / "out"))
    code, err = call(arguments(out, "--resume", "--sample", "another name"))
    assert (code, err.endswith("is already complete\n")) == (0, True)
    assert run_json(out)["sample"] == "another name"
    assert "Viral sequences in another name" in (out / "report.html").read_text()
    assert "another name" in json.loads((out / "virnucpro_mqc.json").read_text())["data"]
    for name in ("records.tsv", "chunks.tsv", "viral.fasta"):
        assert (out / name).read_bytes() == (unbroken / name).read_bytes()
