"""A run that is killed, however often and wherever, ends with the same bytes."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from virnucpro.run.directory import RunDirectory


@pytest.fixture(scope="module")
def killed(lab):
    """The directory of a run that was killed when it had done a part of its units."""
    directory = lab.folder / "killed"
    for begin in ([], *[["--restart"]] * 9):  # where the test itself had to wait, the run may be faster than the kill
        process = lab.start(directory, *begin)
        lab.wait_for(lambda: len(lab.units_of(directory)) >= 10, process)
        process.kill()
        process.communicate()
        if process.returncode:
            break
    assert process.returncode == -signal.SIGKILL
    assert 10 <= len(lab.units_of(directory)) < lab.n_units
    assert json.loads((directory / "run.json").read_text())["status"] == "running"
    assert not any((directory / name).exists() for name in lab.expected)
    return directory


@pytest.fixture
def half(killed, tmp_path):
    """A copy of it."""
    return shutil.copytree(killed, tmp_path / "out")


def test_twenty_kills_change_nothing(lab, tmp_path):
    moments = random.Random(20)
    output, done = tmp_path / "out", []
    for turn in range(20):
        begun = len(done)
        process = lab.start_on_part(output, "--resume", share=(turn + 1) / 22)  # 3 units more
        wanted = begun + moments.randrange(3)
        lab.wait_for(lambda n=wanted: (output / ".lock").exists() and len(lab.units_of(output)) >= n, process)
        time.sleep(moments.uniform(0, 0.03))
        lab.kill(process)
        assert lab.units_of(output)[:begun] == done  # what was done stays
        done = lab.units_of(output)
    assert 0 < len(done) < lab.n_units
    unbroken = tmp_path / "unbroken"
    for directory in (unbroken, output):
        code, err = lab.ended(lab.start_on_part(directory, "--resume", "--sample", "soil", share=1))
        assert code == 0, err
    assert f"{len(done)} of {lab.n_units} units were done before" in err
    assert lab.tables(output) == lab.expected
    assert lab.reports(output) == lab.reports(unbroken)
    assert {path.name for path in output.iterdir()} == {*lab.expected, *lab.reports(output), "run.json"}
    manifest, whole = (json.loads((directory / "run.json").read_text()) for directory in (output, unbroken))
    assert manifest["status"] == "complete"
    assert manifest["counts"] == whole["counts"]
    assert manifest["units"] == {"all": lab.n_units, "kept": len(done)}


# Runs the command line, and is killed just before the first event of this kind on a file whose name is like this.
KILLED_AT = """
import fnmatch, os, signal, sys

event, name, *arguments = sys.argv[1:]


def watch(happened, details):
    if happened == event and fnmatch.fnmatch(os.path.basename(str(details[0])), name):
        os.kill(os.getpid(), signal.SIGKILL)


from virnucpro.cli.main import main

sys.addaudithook(watch)
main(arguments)
"""


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("os.rename", ".run.json.*.tmp"),  # the first thing that a run writes, and the last that is kept of one before
        ("os.remove", "chunks.tsv"),
        ("os.rename", ".frames.tsv.*.tmp"),
        ("os.remove", "unit_000003"),
        ("os.rename", ".report.html.*.tmp"),
    ],
)
@pytest.mark.parametrize("restart", [False, True], ids=["new", "restart"])
def test_a_kill_at_any_step_leaves_a_run_to_resume(lab, call, tmp_path, event, name, restart):
    output = tmp_path / "out"
    if restart:
        shutil.copytree(lab.folder / "unbroken", output)
    command = [sys.executable, "-c", KILLED_AT, event, name, *lab.arguments(output, *["--restart"] * restart)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    code, err = call(lab.arguments(output, "--resume"))
    assert code == 0, err
    assert lab.tables(output) == lab.expected
    assert {path.name for path in output.iterdir()} == {*lab.expected, *lab.reports(output), "run.json"}


def test_units_that_are_done_are_not_done_again(lab, half, call, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in lab.units_of(half)}
    monkeypatch.setattr(RunDirectory, "remove_units", lambda self: None)
    assert call(lab.arguments(half, "--resume"))[0] == 0
    assert len(lab.units_of(half)) == lab.n_units
    assert {path: path.stat().st_mtime_ns for path in before} == before


def flip_a_byte(data: bytes) -> bytes:
    place = len(data) - 40
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES = {
    "flipped byte": flip_a_byte,
    "flipped count": lambda data: data.replace(b'"viral": ', b'"viral": 1', 1)[:2047] + b"\n" + data[2048:],
    "truncated": lambda data: data[:-7],
    "longer": lambda data: data + b"x",
    "header alone": lambda data: data[:2048],
    "empty": lambda data: b"",
    "foreign": lambda data: b"\x89PNG\r\n" * 999,
    "foreign JSON": lambda data: b"[1, 2]".ljust(2048),
    "deep JSON": lambda data: b"[" * 9999,
    "odd fields": lambda data: data.replace(b'"sections": [', b'"sections": ["x", ', 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_unit_is_done_again(lab, half, call, damage):
    path = lab.units_of(half)[3]
    damaged = DAMAGES[damage](path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    n = len(lab.units_of(half))
    code, err = call(lab.arguments(half, "--resume"))
    assert (code, lab.tables(half)) == (0, lab.expected)
    assert f"{n - 1} of {lab.n_units} units" in err


def test_another_unit_s_file_a_lost_one_and_leftovers_do_no_harm(lab, half, call):
    units = lab.units_of(half)
    shutil.copy(units[5], units[2])
    units[4].unlink()
    (half / "units" / "unit_000999").write_bytes(b"beyond the end")
    (half / "units" / ".unit_000003.node-17-0.tmp").write_bytes(b"cut")
    (half / "records.tsv").write_bytes(lab.expected["records.tsv"][:100])  # as if killed while merging
    (half / ".chunks.tsv.node-17-3.tmp").write_bytes(b"cut")
    code, err = call(lab.arguments(half, "--resume"))
    assert (code, lab.tables(half)) == (0, lab.expected)
    assert f"{len(units) - 2} of {lab.n_units} units" in err
    assert {path.name for path in half.iterdir()} == {*lab.expected, *lab.reports(half), "run.json"}


@pytest.mark.parametrize("more", [["-t", 2], ["--max-tokens", 300], ["-t", 2, "--max-tokens", 100000]], ids=str)
def test_threads_and_token_budget_change_nothing(lab, half, call, tmp_path, more):
    assert call(lab.arguments(half, "--resume", *more))[0] == 0
    assert lab.tables(half) == lab.expected
    assert call(lab.arguments(tmp_path / "whole", *more))[0] == 0
    assert lab.tables(tmp_path / "whole") == lab.expected
    assert lab.reports(half) == lab.reports(tmp_path / "whole")


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_the_size_of_units_changes_nothing(lab, call, tmp_path, size):
    assert call(lab.arguments(tmp_path / "out", "--unit-records", size))[0] == 0
    assert lab.tables(tmp_path / "out") == lab.expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--min-score", 0.75], "--min-score was 0.5 and is 0.75"),
        (["--min-length", 30], "--min-length was 20 and is 30"),
        (["--precision", "bf16"], "--precision was fp32 and is bf16"),
        (["--no-packing"], "--packing was True and is False"),
        (["--unit-records", 5], "--unit-records was 4 and is 5"),
    ],
    ids=str,
)
def test_a_changed_option_is_named(lab, half, call, more, message):
    code, err = call(lab.arguments(half, "--resume", *more))
    assert code == 2
    assert message in err
    assert err.count(" was ") == 1
    assert "use --restart" in err


def test_a_changed_input_is_named(lab, half, call, tmp_path):
    longer, other = tmp_path / "longer.fa", tmp_path / "other.fa"
    text = lab.input.read_text()
    longer.write_text(text + ">more\nACGT\n")
    other.write_text(text.replace("read_0 number 0", "read_0 number 1"))
    for path, message in ((longer, f"size of input 1 in bytes was {len(text)} and is {len(text) + 11}"), (other, "")):
        code, err = call(lab.arguments(half, "--resume", source=path))
        assert code == 2
        assert message in err
        assert "SHA-256 of the ends of input 1 was" in err


def test_an_input_that_changed_where_nobody_looked_is_done_again(lab, half, call):
    """The ends of a file may stay the same; the digest of each unit's records tells."""
    units = lab.units_of(half)
    state = json.loads((half / "run.json").read_text())
    records = lab.make_records(300)
    records[30] = ("changed", "ACGGCTAAGC" * 12)  # of unit 7
    path = half.parent / "changed.fa"
    path.write_text(lab.fasta(records))
    ends = ("size of input 1 in bytes", "SHA-256 of the ends of input 1")
    assert call(lab.arguments(half.parent / "fresh", source=path))[0] == 0
    fresh = json.loads((half.parent / "fresh" / "run.json").read_text())["fingerprint"]
    state["fingerprint"].update({name: fresh[name] for name in ends})
    (half / "run.json").write_text(json.dumps(state))
    code, err = call(lab.arguments(half, "--resume", source=path))
    assert code == 0
    assert f"{len(units) - 1} of {lab.n_units} units" in err
    assert lab.tables(half) == lab.tables(half.parent / "fresh") != lab.expected


def test_a_changed_model_is_named(lab, half, call, tmp_path):
    model = lab.write_model(lab.make_model(seed=1), tmp_path / "model")
    code, err = call(lab.arguments(half, "--resume", "--model", model))
    assert code == 2
    for name in ("nucleotide", "protein", "classifier"):
        assert f"SHA-256 of {name}.safetensors was" in err


def test_a_moved_input_is_the_same(lab, half, call, tmp_path):
    path = shutil.copy(lab.input, tmp_path / "elsewhere.fa")
    assert call(lab.arguments(half, "--resume", source=path))[0] == 0
    assert lab.tables(half) == lab.expected


def test_a_complete_run_is_left_alone(lab, call, tmp_path):
    output = shutil.copytree(lab.folder / "unbroken", tmp_path / "out")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()}
    code, err = call(lab.arguments(output, "--resume"))
    assert code == 0
    assert "is already complete" in err
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()} == before
    code, err = call(lab.arguments(output, "--resume", "--min-score", 0.9))
    assert code == 2
    reports = lab.reports(output)
    (output / "report.html").unlink()  # as if killed before it was written
    assert call(lab.arguments(output, "--resume"))[0] == 0
    assert lab.reports(output) == reports
    (output / "frames.tsv").unlink()
    assert call(lab.arguments(output, "--resume"))[0] == 0
    assert lab.tables(output) == lab.expected


def test_without_an_option_an_earlier_run_is_refused(lab, half, call):
    code, err = call(lab.arguments(half))
    assert code == 1
    assert "status is running" in err
    assert "--resume to continue it, --restart to replace it" in err
    assert call(lab.arguments(half, "--resume", "--restart"))[0] == 2
    assert call(lab.arguments(half, "--resume", "-o", "-"))[0] == 2


def test_resume_without_a_run(lab, call, tmp_path):
    assert call(lab.arguments(tmp_path / "new", "--resume"))[0] == 0
    assert lab.tables(tmp_path / "new") == lab.expected
    (tmp_path / "other").mkdir()
    for state in ('{"status": "complete"}', "[" * 99999):
        (tmp_path / "other" / "run.json").write_text(state)
        code, err = call(lab.arguments(tmp_path / "other", "--resume"))
        assert code == 1
        assert "no run to resume" in err


def test_restart_keeps_what_is_not_ours(lab, half, call):
    mine = [half / "mine.txt", half / "units" / "unit_notes.txt", half / "input.fa"]
    for path in mine:
        path.write_text(lab.input.read_text())
    (half / "units" / "unit_999999").mkdir()  # no run of ours makes one
    assert call(lab.arguments(half, "--restart", "--min-score", 0.9, source=half / "input.fa"))[0] == 0
    assert lab.tables(half)["viral.fasta"] != lab.expected["viral.fasta"]
    assert [path.read_text() for path in mine] == [lab.input.read_text()] * 3
    ours = {*lab.expected, *lab.reports(half), "run.json"}
    assert {path.name for path in half.iterdir()} == {*ours, "units", "mine.txt", "input.fa"}


def test_an_input_is_never_replaced_and_a_wrong_restart_removes_nothing(lab, call, tmp_path):
    output = shutil.copytree(lab.folder / "unbroken", tmp_path / "out")
    for source, code, message in (
        (output / "viral.fasta", 2, "is an input and would be replaced"),
        (tmp_path / "nothing.fa", 66, "no such file"),
    ):
        found, err = call(lab.arguments(output, "--restart", source=source))
        assert found == code
        assert message in err
        assert lab.tables(output) == lab.expected


def test_standard_input_given_again(lab, tmp_path):
    """The digests of the units tell that it is the same."""
    output, text = tmp_path / "out", lab.input.read_bytes()
    first = lab.start_on_part(output)
    lab.wait_for(lambda: len(lab.units_of(output)) > 20, first)
    lab.kill(first)
    again = lab.start(output, "--resume", source="-", stdin=subprocess.PIPE)
    _, err = again.communicate(text)
    assert again.returncode == 0, err
    assert int(err.decode().split("virnucpro: ")[1].split(" of ")[0]) > 20
    assert lab.tables(output) == lab.expected
