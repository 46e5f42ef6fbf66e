"""Names of input files in the tables, and the column that has them."""

import io
import random
from itertools import pairwise

import numpy as np
import pytest
from support.report_pages import HOSTILE

from virnucpro.run.input_files import FileColumn, FileCounter, FileRecords, file_names, files_of, spans, with_file
from virnucpro.run.request import Request
from virnucpro.run.units import UnitEvidence
from virnucpro.seq.block import RecordBlock
from virnucpro.types import Record


def block(*sources: str) -> RecordBlock:
    """Return a block with a record from each of these files."""
    return RecordBlock.of([Record(f"r{i}", b"ACGT", source, i) for i, source in enumerate(sources)])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.fq", "b.fq"], ["a.fq", "b.fq"]),
        (["/d/a/x.fq", "/d/b/x.fq", "/d/b/y.fq"], ["a/x.fq", "b/x.fq", "y.fq"]),
        (["/d/1/a/x.fq", "/d/2/a/x.fq"], ["1/a/x.fq", "2/a/x.fq"]),
        (["/x.fq", "/d/x.fq"], ["/x.fq", "d/x.fq"]),
        (["/dev/fd/63", "/proc/self/fd/62", "-"], ["stream_1", "stream_2", "stdin"]),
        (["/d/stdin", "-"], ["d/stdin", "stdin"]),
        (["/d/x.fq", "/d/e/../x.fq"], ["/d/x.fq", "/d/x.fq"]),
        (["/d/a\tb\n.fq", "/d/\u202e.fq"], ["a\\tb\\n.fq", "\\u202e.fq"]),
        (["/d/na\udcefve.fq", "b"], ["na\udcefve.fq", "b"]),
    ],
    ids=ascii,
)
def test_names_tell_files_apart(paths, names):
    assert list(file_names(paths).values()) == names


def test_names_have_no_control_characters():
    paths = [f"/data/{i}/{name}" for i, name in enumerate(HOSTILE * 2)]
    names = list(file_names(paths).values())
    assert len(set(names)) == len(paths)
    assert not any(ord(char) < 32 or char == "\u202e" for name in names for char in name)


def test_only_several_inputs_have_a_column(tmp_path):
    names = [tmp_path / name for name in ("a.fq", "b.fq")]
    assert Request(names, tmp_path / "o").files == {str(name): name.name for name in names}
    assert Request(names[:1], tmp_path / "o").files == {}
    assert Request(names[:1], tmp_path / "o", interleaved=True).files == {}
    assert Request(names, tmp_path / "o", paired=True).files == {}


def test_records_are_counted_by_file_whatever_the_blocks():
    names = {"/a": "a", "/b": "b", "/c": "c", "/d": "d"}
    sources = ["/a"] * 3 + ["/b"] + ["/d"] * 4 + ["/a"] * 2
    expected = (("a", 3), ("b", 1), ("d", 4), ("a", 2), ("c", 0))
    for cuts in ([0, 10], [0, 2, 3, 9, 10], list(range(11))):
        counter = FileCounter(names)
        for begin, end in pairwise(cuts):
            counter.add(block(*sources[begin:end]))
        assert counter.files() == tuple(FileRecords(*one) for one in expected)
    assert spans(counter.files()) == {"a": [(0, 3), (8, 10)], "b": [(3, 4)], "d": [(4, 8)], "c": [(10, 10)]}
    assert files_of(block("/b", "/b", "/a"), names) == [FileRecords("b", 2), FileRecords("a", 1)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_each_row_gets_its_file(size):
    letters, written = random.Random(1), io.BytesIO()
    files = [FileRecords("a", 5), FileRecords("empty", 0), FileRecords("na\udcefve", 1), FileRecords("c d", 6)]
    rows = [f"r{i}\t{'x' * letters.randrange(9)}".encode() for i in range(12)]
    data = b"".join(row + b"\n" for row in rows)
    sink = FileColumn(written, files)
    for begin in range(0, len(data), size):
        sink.write(data[begin : begin + size])
    cells = [b"a"] * 5 + [b"na\xefve"] + [b"c d"] * 6
    assert written.getvalue() == b"".join(row + b"\t" + cell + b"\n" for row, cell in zip(rows, cells, strict=True))
    sink.write(b"more\n")  # the check of the whole table refuses it
    assert written.getvalue().endswith(b"\nmore\n")
    assert with_file("a\tb\n") == "a\tb\tfile\n"


class Drawn(UnitEvidence):
    """Evidence of units without files; it counts how many units are read."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__(lambda: range(len(sizes)), 0)
        self.sizes, self.reads = sizes, 0

    def _read(self, path):
        self.reads += 1
        return np.arange(sum(self.sizes[:path]), sum(self.sizes[: path + 1]))


def test_the_evidence_between_two_records_is_read_from_their_units_alone():
    sizes = [3, 1, 4, 0, 2, 5]
    evidence = Drawn(sizes)
    list(evidence.between(0, 1))
    for first in range(16):
        for last in range(first, 16):
            evidence.reads = 0
            found = [number for part in evidence.between(first, last) for number in part.tolist()]
            assert found == list(range(first, last))
            ends = np.cumsum(sizes)
            needed = [u for u, end in enumerate(ends) if end > first and end - sizes[u] < last and last > first]
            assert evidence.reads <= len(needed) + 1
