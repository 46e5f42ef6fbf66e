"""Signals, locks, limits and permissions of the file system, and records that make the model fail."""

import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from virnucpro.cli.signals import stoppable
from virnucpro.errors import StoppedError


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
@pytest.mark.parametrize("waiting", [False, True], ids=["at work", "waiting for input"])
def test_a_signal_stops_a_run_that_goes_on_later(lab, call, tmp_path, number, code, waiting):
    output, text = tmp_path / "out", lab.input.read_bytes()
    process = lab.start_on_part(output, share=0.5 if waiting else 1)
    lab.wait_for(lambda: len(lab.units_of(output)) >= (30 if waiting else 5), process)
    begin = time.monotonic()
    process.send_signal(number)
    if waiting:
        found, err = process.wait(10), process.stderr.read().decode()
        process.stdin.close()
        process.stdout.close()
        process.stderr.close()
    else:
        found, err = lab.ended(process, 10)
    assert found == code, err
    assert time.monotonic() - begin < 10
    assert err.strip() == f"virnucpro: error: stopped by {number.name}; run it again with --resume to continue"
    assert {path.name for path in output.iterdir()} == {"run.json", "units"}
    assert not list((output / "units").glob(".*"))
    again = lab.start(output, "--resume", source="-", stdin=subprocess.PIPE)
    _, err = again.communicate(text)
    assert again.returncode == 0, err
    assert lab.tables(output) == lab.expected


def test_a_signal_stops_a_run_to_standard_output(lab):
    process = lab.start(Path("-"), source="-", stdin=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"seq_name")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert process.stderr.read() == b"virnucpro: error: stopped by SIGTERM; run it again\n"
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


@pytest.mark.parametrize("command", ["check -", "frames - --chunk-length 300 -o out"])
def test_a_signal_stops_any_command(tmp_path, command):
    words = [sys.executable, "-m", "virnucpro", *command.split()]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, cwd=tmp_path, **streams) as process:
        process.stdin.write(b">a\nACGT\n" * 100_000)  # more than pipes and buffers hold: it has begun to read
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75
        assert process.stderr.read() == b"virnucpro: error: stopped by SIGTERM; run it again\n"
        with suppress(BrokenPipeError):  # what is left nobody reads any more
            process.stdin.close()


# Runs the command line and gets SIGTERM within an import that goes on whatever error comes of it.
STOPPED_IN_AN_IMPORT = """
import os, signal, sys


def watch(event, details):
    if event == "import" and details[0] == "numpy.linalg":
        os.kill(os.getpid(), signal.SIGTERM)


from virnucpro.cli.main import main

sys.addaudithook(watch)
main(sys.argv[1:])
"""


def test_a_signal_within_an_import_is_heeded_after_it(lab, tmp_path):
    command = [sys.executable, "-c", STOPPED_IN_AN_IMPORT, *lab.arguments(tmp_path / "out", source="-")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)  # stdin stays open: it waits
    assert process.wait(60) == 75
    assert process.stderr.read() == b"virnucpro: error: stopped by SIGTERM; run it again with --resume to continue\n"
    process.stdin.close()
    process.stderr.close()


def test_an_error_that_compiled_code_makes_of_a_signal_is_taken_for_it():
    @stoppable()
    def run():
        try:
            signal.raise_signal(signal.SIGTERM)
        except StoppedError as error:
            raise ValueError("could not determine the shape") from error

    with pytest.raises(StoppedError, match="SIGTERM") as end:
        run()
    assert end.value.exit_code == 75


class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        self.goes_on.append(True)


def test_a_signal_is_heeded_after_an_end_of_an_object_whose_errors_are_only_printed():
    goes_on = Interrupted.goes_on = []

    @stoppable()
    def run():
        Interrupted()
        time.sleep(60)

    with pytest.raises(StoppedError, match="SIGTERM"):
        run()
    assert goes_on == [True]


def test_a_stop_that_other_code_drops_comes_again():
    dropped = []

    @stoppable()
    def run():
        try:
            signal.raise_signal(signal.SIGTERM)
        except StoppedError as error:
            dropped.append(error)
        time.sleep(60)

    with pytest.raises(StoppedError, match="SIGTERM"):
        run()
    assert len(dropped) == 1


def test_leaving_the_block_is_not_interrupted():
    steps = []

    @stoppable()
    def run():
        with suppress(KeyError):
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                time.sleep(1.2)
                steps.append("closed")

    with pytest.raises(StoppedError, match="SIGTERM") as end:
        run()
    assert steps == ["closed"]
    assert end.value.__context__ is None


def test_handlers_are_put_back(lab, call, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert call(lab.arguments(tmp_path / "out"))[0] == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_two_runs_do_not_share_a_directory(lab, call, tmp_path):
    output = tmp_path / "out"
    first = lab.start_on_part(output)
    lab.wait_for(lambda: lab.units_of(output), first)
    for more in ([], ["--resume"], ["--restart"]):
        code, err = call(lab.arguments(output, *more))
        assert code == 1
        assert f"another run works in {output}" in err
        assert (output / ".lock").exists()
    text = lab.input.read_bytes()
    _, err = first.communicate(text[int(0.5 * len(text)) :])
    assert first.returncode == 0, err
    assert lab.tables(output) == lab.expected


@pytest.mark.parametrize("limit", [600, 9000], ids=["before a unit", "when merging"])
def test_a_full_disk(lab, call, tmp_path, limit):
    """RLIMIT_FSIZE stands for it: writing beyond it is an OSError, as on a full disk."""
    output = tmp_path / "out"
    assert max(map(len, lab.expected.values())) > 4 * 9000
    limited = lab.start(output, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    code, err = lab.ended(limited)
    assert code == 1
    assert "cannot be written: File too large; make room there" in err
    assert err.count("\n") == 1
    assert not any((output / name).exists() for name in lab.expected)
    assert not [path for path in output.rglob(".*") if path.is_file()]
    if limit > 600:
        assert "--resume" in err
        assert len(lab.units_of(output)) == lab.n_units
    assert call(lab.arguments(output, "--resume"))[0] == 0
    assert lab.tables(output) == lab.expected


def test_a_directory_whose_name_is_too_long(lab, call, tmp_path):
    code, err = call(lab.arguments(tmp_path / ("x" * 300)))
    assert code == 1
    assert err.endswith("cannot be used: File name too long; choose another --output\n")


def test_a_directory_that_may_not_be_written(lab, tmp_path, unprivileged):
    output = tmp_path / "out"
    output.mkdir(mode=0o500)
    code, err = lab.ended(lab.start(output, **unprivileged))
    assert code == 1
    assert err == f"virnucpro: error: {output} cannot be used: Permission denied; choose another --output\n"
    assert list(output.iterdir()) == []


@pytest.mark.parametrize("place", ["", "units"], ids=["the directory", "its units"])
def test_a_run_that_may_write_no_more_goes_on_later(lab, tmp_path, unprivileged, place):
    output, text = tmp_path / "out", lab.input.read_bytes()
    part = lab.start_on_part(output)
    lab.wait_for(lambda: len(lab.units_of(output)) >= 20, part)
    lab.kill(part)
    done = {path: path.read_bytes() for path in lab.units_of(output)}
    (output / place).chmod(0o500)
    barred = lab.start(output, "--resume", source="-", stdin=subprocess.PIPE, **unprivileged)
    _, err = barred.communicate(text)
    (output / place).chmod(0o700)
    assert barred.returncode == 1
    assert err.startswith(b"virnucpro: error: ")
    assert b"Permission denied" in err
    assert err.endswith(b"--resume\n")
    assert err.count(b"\n") == 1
    assert {path: path.read_bytes() for path in lab.units_of(output)} == done
    again = lab.start(output, "--resume", source="-", stdin=subprocess.PIPE)
    _, err = again.communicate(text)
    assert again.returncode == 0, err
    assert lab.tables(output) == lab.expected


def without_poison(sequence: str) -> str:
    """Return a sequence without GGT on either strand."""
    while "GGT" in sequence or "ACC" in sequence:
        sequence = sequence.replace("GGT", "GCT").replace("ACC", "AGC")
    return sequence


def test_a_record_that_makes_the_model_fail_costs_no_other_its_row(lab, call, tmp_path):
    """The embedding of GGT is NaN, so that only records with one get no number."""
    model = lab.make_model()
    healthy = lab.write_model(model, tmp_path / "healthy")
    with torch.no_grad():
        model.nucleotide.model.embedding.weight[model.nucleotide.tokenizer([b"GGT"])[0][1]] = float("nan")
    poisoned = lab.write_model(model, tmp_path / "poisoned")
    records = [(header, without_poison(sequence)) for header, sequence in lab.make_records(60)]
    bad = {7: "w7", 8: "w8", 31: "w31"}
    for place, name in bad.items():
        records[place] = (name, "GGT" * 40)
    path = tmp_path / "input.fa"
    path.write_text(lab.fasta(records))
    for name, directory in (("poisoned", poisoned), ("healthy", healthy)):
        code, err = call(
            lab.arguments(tmp_path / f"{name}_calls", "--model", directory, "--unit-records", 30, source=path),
        )
        assert code == 0, err
        assert err.count("the model failed on record") == (3 if name == "poisoned" else 0)
        assert ("3 failed" in err) == (name == "poisoned")
        names = {row.split(b"\t")[0] for row in lab.tables(tmp_path / f"{name}_calls")["records.tsv"].splitlines()}
        assert set(map(str.encode, bad.values())) <= names
    found, expected = (lab.tables(tmp_path / f"{name}_calls") for name in ("poisoned", "healthy"))
    rows = found["records.tsv"].decode().splitlines()[1:]
    for place, name in bad.items():
        assert rows[place].startswith(f"{name}\t120\t0\t0\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tfailed\t")
        assert "not finite" in rows[place]
    for table in lab.expected:  # all other rows are as they would have been
        lines = [line for line in expected[table].splitlines() if not line.startswith((b"w", b">w", b"GGTGGT"))]
        assert [line for line in found[table].splitlines() if not line.startswith(b"w")] == lines


def test_a_model_that_always_fails_stops_the_run(lab, call, tmp_path):
    model = lab.make_model()
    with torch.no_grad():
        model.protein.model.embedding.weight[:] = float("nan")
    code, err = call(
        lab.arguments(tmp_path / "out", "--model", lab.write_model(model, tmp_path / "model"), "--unit-records", 300)
    )
    assert code == 1
    assert "virnucpro: error: " in err
    assert "not finite" in err
    assert list((tmp_path / "out").iterdir()) == []
