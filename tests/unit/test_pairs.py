"""Pairs from two files or one: names, order, every way in which they do not fit, and pairs given as single reads."""

import random
from pathlib import Path

import pytest

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.seq import read_pairs
from virnucpro.seq.inspect import Inspection
from virnucpro.seq.pairs import Head, heads_of, hints
from virnucpro.seq.reader import SequenceFile
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
        ("SRR1.7.1", "SRR1.7.2", "SRR1.7"),
        ("SRR1.7.1 7 length=4", "SRR1.7.2 7 length=4", "SRR1.7"),
        ("x_1", "x_2", "x"),
        ("SRR1.1", "SRR1.1", "SRR1.1"),
        ("x_1", "x_1", "x_1"),
        ("x 1/1", "x 2/2", "x"),
        ("x 7/1", "x 7/2", "x"),
        ("x/1 1:N:0:A", "x/2 2:N:0:A", "x"),
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
    [("x", "y"), ("x/1", "x/1"), ("x/2", "x/1"), ("x 2:N:0:1", "x 1:N:0:1"), ("x 1:N:0:1", "x 1:N:0:1"), ("x", "X"),
     ("x.2", "x.1"), ("x_1", "x.2"), ("x.1", "y.2"), ("SRR1.2", "SRR1.3"), ("x.11", "x.12"), ("x1", "x2")],
)  # fmt: skip
def test_names_that_do_not(files, first, second):
    with pytest.raises(InputError) as caught:
        list(read_pairs(*files(["same", first], ["same", second])))
    message = str(caught.value)
    assert "R1.fa and " in message
    assert f"do not match: pair 2 is {first!r} and {second!r}; sort both" in message


def test_pairs_are_numbered_and_in_order(files):
    pairs = list(read_pairs(*files(["a/1", "b/1", "c/1"], ["a/2", "b/2", "c/2"])))
    assert [(pair.id, pair.index, pair.length) for pair in pairs] == [("a", 0, 8), ("b", 1, 16), ("c", 2, 24)]


@pytest.mark.parametrize("swap", [False, True])
def test_one_file_ends_before_the_other(files, swap):
    one, two = files(["a", "b"], ["a", "b", "c"])
    long, short = (two, one)
    found = []
    with pytest.raises(InputError, match=f"{short} ends after 2 records, but {long} continues with 'c'; give the two"):
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


def interleaved(path: Path, *headers: str) -> list[Record]:
    return list(read_pairs(write(path / "both.fa", *headers)))


@pytest.mark.parametrize("marks", [("/1", "/2"), (".1", ".2"), ("_1", "_2"), ("", ""), (" 1:N:0:A", " 2:N:0:A")])
def test_interleaved_pairs(tmp_path, marks):
    one, two = marks
    pairs = interleaved(tmp_path, f"a{one}", f"a{two}", f"b{one}", f"b{two}")
    assert [(pair.id, pair.index, pair.length) for pair in pairs] == [("a", 0, 12), ("b", 1, 28)]
    assert [len(mate.sequence) for pair in pairs for mate in pair.mates] == [4, 8, 12, 16]


def test_interleaved_pairs_that_end_early_or_are_out_of_step(tmp_path):
    with pytest.raises(InputError, match=r"both\.fa ends within a pair: 'b/1', record 3, has no mate"):
        interleaved(tmp_path, "a/1", "a/2", "b/1")
    with pytest.raises(
        InputError, match=r"both\.fa does not hold interleaved pairs: records 3 and 4 are 'b/1' and 'c/1'"
    ):
        interleaved(tmp_path, "a/1", "a/2", "b/1", "c/1", "c/2")
    with pytest.raises(InputError, match="records 1 and 2 are 'a/2' and 'a/1'; each read 1 must be followed"):
        interleaved(tmp_path, "a/2", "a/1")
    with pytest.raises(InputError, match=r"records 3 and 4 are 'SRR1\.3' and 'SRR1\.4'"):
        interleaved(tmp_path, "SRR1.1", "SRR1.2", "SRR1.3", "SRR1.4")
    assert interleaved(tmp_path) == []


def fastq(path: Path, *headers: str) -> Path:
    letters = random.Random(str(path))
    reads = [(header, "".join(letters.choices("ACGT", k=50))) for header in headers]
    path.write_text("".join(f"@{header}\n{sequence}\n+\n{'I' * 50}\n" for header, sequence in reads))
    return path


def said(*paths: Path) -> list[str]:
    """Return the hints for these inputs, which are those of `predict` and of `check`."""
    files = [SequenceFile(path) for path in paths]
    found = list(hints(heads_of(files)))
    inspections = [Inspection(file) for file in files]
    assert all(not list(inspection.faults()) for inspection in inspections)
    assert list(hints([inspection.head for inspection in inspections])) == found
    return found


MARKS = {
    "slash": ("/1", "/2"), "point": (".1", ".2"), "bar": ("_1", "_2"), "none": ("", ""),
    "illumina": (" 1:N:0:A", " 2:Y:0:A"), "spot": (" 1/1", " 1/2"),
}  # fmt: skip


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS.keys())
@pytest.mark.parametrize("n", [2, 150, 500])
def test_pairs_that_are_given_as_single_reads_are_noticed(tmp_path, marks, n):
    ones, twos = ([f"SRR9.{i}{mark}" for i in range(1, n + 1)] for mark in marks)
    one, two = fastq(tmp_path / "R1.fq", *ones), fastq(tmp_path / "R2.fq", *twos)
    other = fastq(tmp_path / "other.fq", *(f"other{i}" for i in range(n)))
    expected = (
        f"{one} and {two} look like reads 1 and reads 2 of pairs; with `--paired {one} {two}` each pair gets one call"
    )
    assert [hint.partition(",")[0] for hint in said(one, two)] == [expected]
    assert [hint.partition(",")[0] for hint in said(one, other, two)] == [expected]
    if marks not in (("", ""), (" 1/1", " 1/2")):  # else either may be the first
        assert [hint.partition(",")[0] for hint in said(two, one)] == [expected]
    both = fastq(tmp_path / "both.fq", *(header for pair in zip(ones, twos, strict=True) for header in pair))
    [hint] = said(both)
    assert hint.startswith(f"{both} looks like interleaved pairs; with `--interleaved` each pair gets one call")
    assert said(one) == said(two) == said(one, other) == []


def test_single_reads_are_not_taken_for_pairs(tmp_path):
    run = [f"SRR1.{i}" for i in range(1, 301)]
    assert said(fastq(tmp_path / "run.fq", *run)) == []
    assert said(fastq(tmp_path / "two_reads.fq", "SRR1.1", "SRR1.2")) == []
    assert said(fastq(tmp_path / "one.fq", "SRR1.1"), fastq(tmp_path / "another.fq", "SRR1.2")) == []
    assert said(fastq(tmp_path / "x.fq", *run), fastq(tmp_path / "y.fq", *run[1:], "SRR1.301")) == []
    assert said(fastq(tmp_path / "x.fq", *run), fastq(tmp_path / "y.fq", *run[:100])) == []
    assert said(fastq(tmp_path / "odd.fq", "a/1", "a/2", "b/1")) == []
    assert said(fastq(tmp_path / "both_1.fq", "a/1", "b/1"), fastq(tmp_path / "also_1.fq", "a/1", "b/1")) == []
    assert said(write(tmp_path / "empty.fa"), write(tmp_path / "none.fa")) == []


def test_contigs_and_copies_are_not_taken_for_pairs(tmp_path):
    names = [f"contig_{i}" for i in range(1, 9)]
    first, second = write(tmp_path / "first.fa", *names), write(tmp_path / "second.fa", *names[::-1])
    assert said(first, second) == said(first, first) == []
    copy = fastq(tmp_path / "reads.fq", "a", "b", "c")
    other = tmp_path / "copy.fq"
    other.write_bytes(copy.read_bytes())
    assert said(copy, other) == []
    long = tmp_path / "long.fa"
    long.write_text(
        "".join(f">{name}\n{'ACGT' * 300}{name.count('1') * 'A'}\n" for name in ("a/1", "a/2", "b/1", "b/2"))
    )
    assert said(long) == []


def test_the_command_of_a_hint_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "run 1; rm -r"
    folder.mkdir()
    heads = [Head(), Head()]
    for mate, head in enumerate(heads, start=1):
        for number in range(20):
            head.add(Record(f"r{number}/{mate}", b"ACGT" * mate, f"{folder}/R{mate}.fq"))
    [hint] = hints(heads)
    assert f"`--paired '{folder}/R1.fq' '{folder}/R2.fq'`" in hint
