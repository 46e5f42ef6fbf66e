"""Pairs from two files: names, order, and every way in which two files do not fit."""

from pathlib import Path

import pytest

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.seq import read_pairs
from virnucpro.types import Record


def write(path: Path, *headers: str) -> Path:
    path.write_text("".join(f">{header}\n{'ACGT' * (n + 1)}\n" for n, header in enumerate(headers)))
    return path


@pytest.fixture
def files(tmp_path):
    """Write two files with these headers; return their paths."""

    def make(first: list[str], second: list[str]) -> tuple[Path, Path]:
        return write(tmp_path / "R1.fa", *first), write(tmp_path / "R2.fa", *second)

    return make


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("x/1", "x/2", "x"),
        ("x 1:N:0:ACGT", "x 2:N:0:ACGT", "x"),
        ("x 1:Y:0:1", "x 2:N:0:1", "x"),
        ("x", "x", "x"),
        ("x/1 left", "x/2 right", "x"),
        ("x", "x/2", "x"),
        ("a/1/1", "a/1/2", "a/1"),
        ("x 1 of 9", "x 2 of 8", "x"),
    ],
)
def test_names_that_agree(files, first, second, name):
    [pair] = read_pairs(*files([first], [second]))
    assert (pair.id, pair.sequence, pair.index) == (name, b"", 0)
    assert [f"{mate.id} {mate.description}".strip() for mate in pair.mates] == [first, second]
    assert pair.parts == pair.mates
    assert pair.length == 8


@pytest.mark.parametrize(
    ("first", "second"),
    [("x", "y"), ("x/1", "x/1"), ("x/2", "x/1"), ("x 2:N:0:1", "x 1:N:0:1"), ("x 1:N:0:1", "x 1:N:0:1"), ("x", "X")],
)
def test_names_that_do_not(files, first, second):
    with pytest.raises(InputError) as caught:
        list(read_pairs(*files(["same", first], ["same", second])))
    message = str(caught.value)
    assert "R1.fa and " in message
    assert f"are not in step: pair 2 is {first!r} and {second!r}; sort both alike" in message


def test_pairs_are_numbered_and_in_order(files):
    pairs = list(read_pairs(*files(["a/1", "b/1", "c/1"], ["a/2", "b/2", "c/2"])))
    assert [(pair.id, pair.index, pair.length) for pair in pairs] == [("a", 0, 8), ("b", 1, 16), ("c", 2, 24)]


@pytest.mark.parametrize("swap", [False, True])
def test_one_file_ends_before_the_other(files, swap):
    one, two = files(["a", "b"], ["a", "b", "c"])
    long, short = (two, one)
    found = []
    with pytest.raises(InputError, match=f"{short} ends after 2 records, but {long} goes on with 'c'; give the two"):
        found.extend(read_pairs(two, one) if swap else read_pairs(one, two))


def test_files_that_are_no_pair(files, tmp_path):
    one, _ = files(["a"], ["a"])
    with pytest.raises(ConfigError, match=r"R1\.fa is given as both files of a pair"):
        list(read_pairs(one, str(one)))
    with pytest.raises(MissingInputError, match="no such file"):
        list(read_pairs(one, tmp_path / "nothing.fa"))


def test_a_single_record_is_its_own_part():
    record = Record("a", b"ACG")
    assert record.parts == (record,)
    assert record.length == 3
