"""What `check` accepts `predict` finishes, and what one refuses the other refuses with the same words."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration.test_input_zoo import ZOO, Specimen
from support.commands import run_captured
from support.models import make_model, write_model

LEAST = 20  # nt, of the small model
# Those that are regular files, or may be.
FILES = sorted(name for name, specimen in ZOO.items() if not (specimen.stdin or specimen.bound or "FIFO" in name))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(make_model(), tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def agree(model, tmp_path, capfdbinary):
    """Run both commands on a file; return their exit code after a comparison of all they say."""

    def compared(path: Path) -> int:
        output = tmp_path / "out"
        shutil.rmtree(output, ignore_errors=True)
        common = ("--model", model, "-t", 1, "--device", "cpu", "--precision", "fp32", "--unit-records", 512)
        predicted = run_captured(capfdbinary, "predict", path, "-o", output, *common)
        checked = run_captured(capfdbinary, "check", path, "--min-length", LEAST)
        code, err, said = predicted.code, predicted.err, checked.out
        assert code == checked.code, err + said
        if code:
            errors = [line for line in said.splitlines() if line.startswith("error: ")]
            assert [line for line in err.splitlines() if line.startswith("virnucpro: error: ")] == [
                f"virnucpro: {errors[0]}"
            ]
            assert not (output / "records.tsv").exists()
        else:
            rows = (output / "records.tsv").read_bytes().count(b"\n") - 1
            assert f"; records: {rows}; " in said
        return code

    return compared


def content(specimen: Specimen, folder: Path) -> bytes | None:
    """Return the bytes of a specimen that is one regular file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    paths = specimen.make(folder)
    return paths[0].read_bytes() if len(paths) == 1 and paths[0].is_file() else None


@pytest.mark.parametrize("name", FILES)
def test_both_are_of_one_opinion_about_the_zoo(agree, tmp_path, name):
    if (data := content(ZOO[name], tmp_path / "zoo")) is not None:
        path = tmp_path / "input"
        path.write_bytes(data)
        assert agree(path) == (65 if ZOO[name].rows is None else 0)


letters = random.Random(11)
LONG = "".join(letters.choices("ACGT", k=90)).encode()
names = st.sampled_from(
    [b"a", b"b x", b"a/1", b"", b"\xff\xc3\xa9", b"a\tb", b"\x1b[31m", b"$x^$", b"a\x0bb", b"x" * 3000]
)
sequences = st.sampled_from(
    [LONG, LONG, LONG.lower(), b"", b"ACGT", b"N" * 60, b"AC" * 30, LONG[:30] + b"RYK-.*Xu", b"MKL"]
)
qualities = st.one_of(st.just(b""), st.just(b""), st.binary(max_size=2))
records = st.lists(st.tuples(names, sequences, qualities), min_size=1, max_size=5)
edits = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3)), max_size=2)


def written(entries: list[tuple[bytes, bytes, bytes]], fastq: bool, end: bytes) -> bytes:
    lines: list[bytes] = []
    for name, sequence, odd in entries:
        if fastq:  # the odd bytes stand among the qualities
            quality = (odd + b"I" * len(sequence))[: len(sequence)]
            lines += [b"@" + name, sequence, b"+", quality]
        else:
            lines += [b">" + name, sequence]
    return end.join([*lines, b""])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records, st.booleans(), st.sampled_from([b"\n", b"\n", b"\r\n"]), edits)
def test_both_are_of_one_opinion_about_records(agree, tmp_path, entries, fastq, end, changes):
    data = written(entries, fastq, end)
    for place, size, new in changes:
        data = data[:place] + new + data[place + size :]
    path = tmp_path / "input"
    path.write_bytes(data)
    agree(path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.integers(0, 2**20), st.binary(min_size=1, max_size=3))
def test_both_are_of_one_opinion_about_a_zoo_that_is_changed(agree, tmp_path, name, place, new):
    if (data := content(ZOO[name], tmp_path / "zoo")) is not None and len(data) < 100_000:
        place %= len(data) + 1
        path = tmp_path / "input"
        path.write_bytes(data[:place] + new + data[place + len(new) :])
        agree(path)
