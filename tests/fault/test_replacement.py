"""No command replaces an input, works where another does, or removes anything before its own files are whole."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.files import contents

from virnucpro.files import locked

PROGRAM = Path(sys.executable).with_name("virnucpro")
EXAMPLES = Path(__file__).parents[2] / "examples"


def dna(seed, length):
    return "".join(random.Random(seed).choices("ACGT", k=length))


@pytest.fixture
def made(tmp_path):
    """Inputs of all commands: records, tables of calls, a truth and labelled genomes."""
    (tmp_path / "in.fa").write_text("".join(f">r{i}\n{dna(i, 400)}\n" for i in range(5)))
    (tmp_path / "in.faa").write_text("".join(f">p{i}\nMKVLWAGTRE\n" for i in range(5)))
    columns = "seq_name\tlength\tn_chunks\tn_frames\tprediction\tvirus_score\tfdr\tbest_frame\tstatus\treason\n"
    for name in ("a.tsv", "b.tsv"):
        rows = (f"r{i}\t400\t1\t1\t{'virus' if i % 2 else 'other'}\t0.{i + 1}000\tNA\tNA\tok\tNA\n" for i in range(8))
        (tmp_path / name).write_text(columns + "".join(rows))
    truth = "".join(f"r{i}\t{'virus' if i % 2 else 'bacteria'}\n" for i in range(8))
    (tmp_path / "truth.tsv").write_text("seq_name\tclass\n" + truth)
    (tmp_path / "data" / "val").mkdir(parents=True)
    for name, seed in (("virus", 50), ("bacteria", 60)):
        text = "".join(f">{name}{i}\n{dna(seed + i, 900)}\n" for i in range(3))
        (tmp_path / "data" / "val" / f"{name}.fna").write_text(text)
    return tmp_path


def commands(made, lab, out):
    """Return the arguments of every command that writes a directory."""
    small = ["--model", lab.model, "-t", 1, "--precision", "fp32", "--device", "cpu"]
    return {
        "frames": ["frames", made / "in.fa", "-o", out],
        "scan": ["scan", made / "in.fa", "-o", out, "--plots", "none", *small],
        "embed": ["embed", made / "in.faa", "-o", out, *small],
        "evaluate": ["evaluate", made / "a.tsv", "--truth", made / "truth.tsv", "-o", out, "--no-plots"],
        "sample": ["sample", made / "data", "-o", out, "--virus", 3, "--host", 3, "--length", 90],
        "predict": ["predict", made / "in.fa", "-o", out, *small],
    }


COMMANDS = ("frames", "scan", "embed", "evaluate", "sample", "predict")
# An output of each command, and the input that it is made to be.
OUTPUTS = {
    "frames": [("chunks.fa", "in.fa"), ("frames.faa", "in.fa")],
    "scan": [("regions.bed", "in.fa"), ("regions.fasta", "in.fa"), ("record_00001.png", "in.fa")],
    "embed": [("ids.tsv", "in.faa"), ("embeddings_00007.safetensors", "in.faa"), ("run.json", "in.faa")],
    "evaluate": [("evaluation.tsv", "a.tsv"), ("evaluation.json", "truth.tsv"), ("roc.png", "a.tsv")],
    "sample": [("windows.fa", "data/val/virus.fna"), ("truth.tsv", "data/val/virus.fna")],
    "predict": [("viral.fasta", "in.fa"), (".records.tsv.node-17-0.tmp", "in.fa")],
}


@pytest.mark.parametrize("how", ["symlink", "hard link", "the file itself"])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_an_input_is_refused(lab, call, made, command, how):
    for name, given in OUTPUTS[command]:
        out = made / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        source, text = made / given, (made / given).read_bytes()
        arguments = commands(made, lab, out)[command]
        if how == "hard link":
            os.link(source, out / name)
        elif how == "symlink":
            (out / name).symlink_to(source)
        elif command == "sample":
            source.rename(out / name)
            source.symlink_to(out / name)
        else:
            shutil.copy(source, out / name)
            arguments = [out / name if argument == source else argument for argument in arguments]
        code, err = call([*arguments, "--restart"])
        assert (code, "is an input and would be replaced; choose another --output" in err) == (2, True), (name, err)
        assert (out / name).read_bytes() == text == source.read_bytes()
        if how == "the file itself" and command == "sample":
            source.unlink()
            (out / name).rename(source)


def test_compare_does_not_write_into_its_tables(call, made):
    text = (made / "a.tsv").read_bytes()
    (made / "link.tsv").symlink_to(made / "b.tsv")
    for output in ("a.tsv", "b.tsv", "link.tsv"):
        code, err = call(["compare", made / "a.tsv", made / "b.tsv", "-o", made / output])
        assert (code, "is an input and would be replaced" in err) == (2, True), err
    assert (made / "a.tsv").read_bytes() == (made / "b.tsv").read_bytes() == text
    assert call(["compare", made / "a.tsv", made / "b.tsv", "-o", made / "c.tsv"])[0] == 0


@pytest.mark.parametrize("command", ["predict", "compare", "evaluate", "check"])
def test_standard_output_that_goes_into_an_input_is_refused(lab, made, command):
    path = made / ("in.fa" if command in ("predict", "check") else "a.tsv")
    before = path.read_bytes()
    arguments = {
        "predict": ["predict", path, "-o", "-", "--model", lab.model],
        "compare": ["compare", path, made / "b.tsv"],
        "evaluate": ["evaluate", path, "--truth", made / "truth.tsv"],
        "check": ["check", path],
    }[command]
    with path.open("ab") as end:
        done = subprocess.run([PROGRAM, *map(str, arguments)], stdout=end, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, b"standard output goes into" in done.stderr) == (2, True), done.stderr
    assert path.read_bytes() == before


def test_standard_input_that_is_an_output_is_refused(made):
    out = made / "out"
    out.mkdir()
    shutil.copy(made / "in.fa", out / "chunks.fa")
    with (out / "chunks.fa").open() as source:
        command = [PROGRAM, "frames", "-", "-o", out, "--restart"]
        done = subprocess.run(command, stdin=source, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, b"standard input is an input and would be replaced" in done.stderr) == (2, True)
    assert (out / "chunks.fa").read_bytes() == (made / "in.fa").read_bytes()


def test_a_model_is_not_calibrated_in_place(lab, call, made):
    model = shutil.copytree(lab.model, made / "model")
    before = contents(model)
    code, err = call(["calibrate", model, "--data", made / "data", "-o", model, "--restart", "--device", "cpu"])
    assert (code, "is an input and would be replaced" in err) == (2, True), err
    assert contents(model) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_restart_that_fails_leaves_what_was_there(lab, call, made, command):
    out = made / "out"
    arguments = commands(made, lab, out)[command]
    assert call(arguments)[0] == 0
    (out / "mine.txt").write_text("mine")
    (out / "record_1.png").write_text("mine")
    before = contents(out)
    code, err = call(arguments)
    assert code == 1, err
    assert contents(out) == before
    # Broken input: sound at first, so that work begins, then not sequence data.
    for name, damage in (("in.fa", ">r\nAC!T\n"), ("in.faa", ">p\nMK!\n"), ("a.tsv", "r0\n")):
        with (made / name).open("a") as file:
            file.write(damage)
    (made / "data" / "val" / "virus.fna").write_text("no sequence")
    code, err = call([*arguments, "--restart"])
    assert code == 65, err
    assert contents(out) == before


@pytest.mark.parametrize("command", [*COMMANDS, "report", "merge"])
def test_two_commands_do_not_work_in_one_directory(lab, call, made, command):
    out = shutil.copytree(lab.folder / "unbroken", made / "out")
    before = contents(out)
    others = {"report": ["report", out], "merge": ["merge", made / "part", "-o", out]}
    if command == "merge":
        assert call(lab.arguments(made / "part", "--shard", "1/1"))[0] == 0
    arguments = {**commands(made, lab, out), **others}[command]
    with locked(out):
        code, err = call([*arguments, *(["--restart"] if command != "report" else [])])
    assert (code, f"another run works in {out}" in err) == (1, True), err
    assert contents(out) == before


def test_scan_leaves_no_figure_of_an_earlier_scan(lab, call, made):
    pytest.importorskip("matplotlib", reason="needs matplotlib (the extra report)")
    out = made / "out"
    small = ["--model", lab.model, "-t", 1, "--precision", "fp32", "--device", "cpu"]
    found = ["--min-posterior", 0.0001, "--min-length", 0, "--neutral", -40]
    scan = ["scan", made / "in.fa", "-o", out, *found, *small]
    out.mkdir()
    (out / "record_00009.png").write_text("mine")  # no scan has been here
    assert call([*scan, "--plots", "png", "--restart"])[0] == 0
    assert (out / "record_00009.png").read_text() == "mine"
    (out / "record_00009.png").unlink()
    figures = {f"record_{number:05d}.png" for number in range(1, 6)}
    tables = {"regions.tsv", "regions.bed", "regions.gff3", "regions.fasta", "scores.bedgraph", "report.html"}
    assert {path.name for path in out.iterdir()} == figures | tables
    mine = {"record_1.png", "record_00001.jpg", "my_record_00001.png", "record_00001.png.txt", "record_000001.svg"}
    for name in mine:
        (out / name).write_text("mine")
    (out / "record_00008.svg").mkdir()
    mine.add("record_00008.svg")
    assert call([*scan, "--plots", "svg", "--restart"])[0] == 0
    assert {path.name for path in out.iterdir()} == {name.replace("png", "svg") for name in figures} | tables | mine
    text = (made / "in.fa").read_text()
    (made / "in.fa").write_text(text[: text.index(">r2")])
    assert call([*scan, "--plots", "svg", "--restart"])[0] == 0
    assert {path.name for path in out.iterdir()} == {"record_00001.svg", "record_00002.svg"} | tables | mine
    assert call([*scan, "--plots", "none", "--restart"])[0] == 0
    assert {path.name for path in out.iterdir()} == tables | mine


def test_a_merge_that_fails_leaves_the_earlier_run(lab, call, made):
    part, out = made / "part", shutil.copytree(lab.folder / "unbroken", made / "out")
    assert call(lab.arguments(part, "--shard", "1/1", "--min-score", 0.9))[0] == 0
    lab.units_of(part)[40].unlink()
    before = contents(out)
    code, err = call(["merge", part, "-o", out, "--restart"])
    assert (code, "unit_000040 cannot be read" in err) == (1, True), err
    assert contents(out) == before


# Embeddings.


def test_embeddings_of_other_inputs_are_not_gone_on_with(lab, call, made):
    out = made / "out"
    arguments = commands(made, lab, out)["embed"]
    assert call(arguments)[0] == 0
    before = contents(out, "run.json")
    (made / "other.faa").write_text((made / "in.faa").read_text() + ">more\nMKV\n")
    for source, message in (
        ([made / "other.faa"], "size of input 1 in bytes was 75 and is 85"),
        ([made / "in.faa", made / "in.faa"], "number of inputs was 1 and is 2"),
    ):
        code, err = call(["embed", *source, *arguments[2:], "--resume"])
        assert (code, message in err) == (2, True), err
    assert contents(out, "run.json") == before
    code, err = call([*arguments, "--resume"])
    assert (code, "done before: 1 shard" in err) == (0, True), err
    state = json.loads((out / "run.json").read_text())
    del state["content"]  # as of an earlier version
    (out / "run.json").write_text(json.dumps(state))
    assert call([*arguments, "--resume"])[0] == 0


def test_embeddings_of_another_stream_are_not_gone_on_with(lab, made):
    out = made / "out"
    command = [PROGRAM, *map(str, ["embed", "-", *commands(made, lab, out)["embed"][2:]])]
    text = (made / "in.faa").read_bytes()

    def embed(data, *more):
        done = subprocess.run([*command, *more], input=data, capture_output=True, check=False)
        return done.returncode, done.stderr.decode()

    assert embed(text)[0] == 0
    before = contents(out, "run.json")
    code, err = embed(text.replace(b"MKV", b"MKI", 1), "--resume")
    assert (code, "embeddings_00000.safetensors was made from other records" in err) == (2, True), err
    assert contents(out, "run.json") == before
    code, err = embed(b"", "--resume")
    assert (code, "number of records was 5 and is 0" in err) == (2, True), err
    assert contents(out, "run.json") == before
    assert embed(text, "--resume")[0] == 0
