"""Blocks of input files: the same records, borders and errors as one record at a time."""

import gzip
import io
import os
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from reading import block_units, caught, object_units

from virnucpro.errors import ConfigError, InputError
from virnucpro.run.units import iter_units
from virnucpro.seq import entry_table, read_pairs, read_records
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.blocks import cut_blocks, iter_blocks
from virnucpro.seq.entry import LONG_BYTES
from virnucpro.seq.pairs import watched_blocks
from virnucpro.seq.reader import SequenceFile
from virnucpro.seq.source import Source
from virnucpro.seq.strings import Strings, gather, interleave, spread
from virnucpro.types import Record

ANY_LETTER = b"ACGTURYSWKMBDHVNX-.*acgtn"


def reads(number: int, fastq: bool, end: bytes = b"\n", seed: int = 5, mark: str = "") -> bytes:
    """Return random records of 0 to 200 nt; FASTA in lines of 60."""
    draw = random.Random(seed)
    text = []
    for index in range(number):
        sequence = bytes(draw.choices(ANY_LETTER, k=draw.randrange(200)))
        header = f"r{index}{mark} length={len(sequence)}".encode()
        if fastq:
            lines = [b"@" + header, sequence, b"+", bytes(draw.choices(range(33, 127), k=len(sequence)))]
        else:
            lines = [b">" + header, *(sequence[i : i + 60] for i in range(0, len(sequence), 60))]
        text.append(end.join([*lines, b""]))
    return b"".join(text)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


formats = pytest.mark.parametrize("fastq", [False, True], ids=["fasta", "fastq"])


@formats
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \t \t\r\n"], ids=["lf", "crlf", "blanks"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
def test_blocks_say_what_records_say(tmp_path, fastq, end, compress):
    path = write(tmp_path / "reads", compress(reads(3000, fastq, end)))
    found, error = block_units([path])
    assert (found, error) == object_units([path])
    assert ([len(unit) for unit in found], error) == ([1024, 1024, 952], "")


@formats
@pytest.mark.parametrize(("n_records", "n_bases"), [(1, 99), (7, 10**9), (10**9, 5000), (100, 9000), (3, 1)])
def test_blocks_are_cut_as_units_are(tmp_path, fastq, n_records, n_bases):
    paths = [write(tmp_path / name, reads(400, fastq, seed=len(name))) for name in ("a", "bc")]
    found = block_units(paths, False, n_records, n_bases)
    assert found == object_units(paths, False, n_records, n_bases)
    assert sum(map(len, found[0])) == 800


@formats
def test_a_cut_does_not_depend_on_the_parts_that_are_cut(tmp_path, fastq):
    records = list(read_records(write(tmp_path / "reads", reads(300, fastq))))
    units = [list(unit.records.records()) for unit in iter_units(records, 20, 2500)]
    for size in (1, 2, 19, 20, 21, 300):
        parts = [RecordBlock.of(records[i : i + size]) for i in range(0, 300, size)]
        blocks = list(cut_blocks(parts, 20, 2500))
        assert [list(block.records()) for block in blocks] == units
        assert [block.first for block in blocks] == [unit[0].index for unit in units]


FAULTS = {
    "foreign letter": b"@bad\nAC!GT\n+\nIIIII\n",
    "foreign quality": b"@bad\nACGT\n+\nII I\n",
    "lengths": b"@bad\nACGT\n+\nIII\n",
    "CR in the header": b"@b\rad\nACGT\n+\nIIII\n",
    "no plus": b"@bad\nACGT\nIIII\n",
    "no mark": b"bad\nACGT\n+\nIIII\n",
    "FASTA": b">bad\nACGT\n",
    "blank line": b"\n",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("before", [0, 1, 1023, 1024, 2500])
def test_records_before_a_fault_come_before_the_error(tmp_path, fault, before):
    path = write(tmp_path / "reads", reads(before, True) + fault + reads(30, True))
    found, error = block_units([path])
    assert (found, error) == object_units([path])
    if fault == b"\n":
        assert (sum(map(len, found)), error) == (before + 30, "")
    else:
        assert sum(map(len, found)) == before
        assert error.startswith(f"InputError: {path}: line {4 * before + 1}: ")


def test_a_fault_within_fasta(tmp_path):
    path = write(tmp_path / "reads", reads(2500, False) + b">bad\nACGT\nA GT\n" + reads(9, False))
    found, error = block_units([path])
    assert (found, error) == object_units([path])
    assert "record 'bad': ' ' at position 6 of its sequence" in error
    assert sum(map(len, found)) == 2500


def test_a_cut_file_gives_the_records_before_its_end(tmp_path):
    whole = gzip.compress(reads(20_000, True), 1)
    path = write(tmp_path / "reads", whole[: len(whole) // 2])
    found, error = block_units([path])
    assert (found, error) == object_units([path])
    number = sum(map(len, found)) - 1
    assert f"(after line {4 * number + 1}, record 'r{number}')" in error


@formats
@pytest.mark.parametrize("length", [LONG_BYTES // 2, LONG_BYTES + 1, 3 * LONG_BYTES])
def test_long_records_among_short_ones(tmp_path, fastq, length):
    sequence = os.urandom(length // 2).hex().translate(str.maketrans("0123456789abcdef", "ACGTacgtNNACGTAC")).encode()
    long = b"@l\n%b\n+\n%b\n" % (sequence, b"I" * len(sequence)) if fastq else b">l\n%b\n%b \r\n" % (sequence, sequence)
    path = write(tmp_path / "reads", (reads(50, fastq) + long) * 3 + reads(50, fastq) + long[:-1])
    found, error = block_units([path])
    assert (found, error) == object_units([path])
    assert sum(map(len, found)) == 204


@pytest.mark.parametrize("sizes", [[1], [3, 50, 1], [1000], [70_000]], ids=str)
@formats
def test_how_a_stream_is_read_changes_nothing(sizes, fastq):
    class Slow(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._data, self._turn = data, 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            self._turn += 1
            part = self._data[: min(len(buffer), sizes[self._turn % len(sizes)])]
            buffer[: len(part)], self._data = part, self._data[len(part) :]
            return len(part)

    data = reads(200, fastq) + (b"@x\nAC!\n+\nIII\n@y\nAC\n+\n\n" if fastq else b">x\nAC!\n>y\n") + reads(3, fastq)[:-2]
    parse = entry_table.fastq_tables if fastq else entry_table.fasta_tables

    def entries(raw: io.RawIOBase) -> list[tuple]:
        found = []
        for item in parse(io.BufferedReader(raw), 1, ANY_LETTER):
            found += list(item.entries()) if isinstance(item, entry_table.EntryTable) else [item]
        return found

    assert entries(Slow(data)) == entries(io.BytesIO(data))
    assert len(entries(Slow(data))) > 200


@formats
def test_a_block_of_a_slow_stream_comes_once_its_records_are_there(tmp_path, fastq):
    pipe, seen, in_time = tmp_path / "pipe", threading.Event(), []
    os.mkfifo(pipe)
    data = reads(5, fastq)
    third = data.index(b"@r2" if fastq else b">r2")

    def feed() -> None:
        with pipe.open("wb", buffering=0) as file:
            file.write(data[: third + 1])
            in_time.append(seen.wait(20))
            file.write(data[third + 1 :])

    writer = threading.Thread(target=feed)
    writer.start()
    source = Source([str(pipe)])
    blocks = iter_blocks(source, n_records=2)
    assert [record.id for record in next(blocks).records()] == ["r0", "r1"]
    assert (source.records, source.at_end, source.total()) == (2, False, None)
    seen.set()
    assert [len(block) for block in blocks] == [2, 1]
    writer.join()
    assert in_time == [True]
    assert source.total() == 5


def test_what_a_source_knows_while_blocks_are_read(tmp_path):
    path = write(tmp_path / "reads", reads(20_000, True))
    source = Source([str(path)])
    assert (source.total(), source.fastq) == (None, False)
    for block in iter_blocks(source, n_records=1024):
        if block.first == 10 * 1024:
            assert source.records == 11 * 1024
            assert source.total() == pytest.approx(20_000, rel=0.1)
    assert (source.total(), source.position, source.fastq) == (20_000, path.stat().st_size, True)


def test_stopping_early_closes_the_files(tmp_path):
    paths = [write(tmp_path / mate, gzip.compress(reads(5000, True))) for mate in "ab"]
    for paired in (False, True):
        blocks = iter_blocks(Source([str(path) for path in paths]), paired)
        next(blocks)
        blocks.close()  # an open file would be a ResourceWarning, and those are errors here


# Pairs

PAIR_MARKS = {
    "slash": ("/1", "/2"), "point": (".1", ".2"), "bar": ("_1", "_2"), "none": ("", ""), "second": ("", "/2"),
    "illumina": (" 1:N:0:A", " 2:Y:0:A"), "both": ("/1 1:N:0:A", "/2 2:N:0:A"), "spot": (" 1/1", " 1/2"),
}  # fmt: skip


def in_turn(one: bytes, two: bytes) -> bytes:
    """Return the records of two FASTQ files in turn."""
    lines = [data.splitlines(keepends=True) for data in (one, two)]
    return b"".join(b"".join(mate[i : i + 4]) for i in range(0, len(lines[0]), 4) for mate in lines)


@pytest.mark.parametrize("marks", PAIR_MARKS.values(), ids=PAIR_MARKS.keys())
def test_pairs_say_what_records_say(tmp_path, marks):
    one, two = (reads(2500, True, seed=seed, mark=mark) for seed, mark in enumerate(marks))
    paths = [write(tmp_path / "1", one), write(tmp_path / "2", gzip.compress(two))]
    found, error = block_units(paths, paired=True)
    assert (found, error) == object_units(paths, paired=True)
    assert ([len(unit) for unit in found], error) == ([1024, 1024, 452], "")
    both = [write(tmp_path / "both", in_turn(one, two))]
    assert block_units(both, paired=True, n_bases=999) == object_units(both, paired=True, n_bases=999)
    assert [record[0] for unit in block_units(both, paired=True)[0] for record in unit] == [
        record[0] for unit in found for record in unit
    ]


UNLIKE = [
    ("x", "y"), ("x/1", "x/1"), ("x/2", "x/1"), ("x 2:N:0:1", "x 1:N:0:1"), ("x 1:N:0:1", "x 1:N:0:1"), ("x", "X"),
    ("x.2", "x.1"), ("x_1", "x.2"), ("x.1", "y.2"), ("x.11", "x.12"), ("x1", "x2"), ("/1", "2"), ("", "x"), ("1", "2"),
    ("x", "x 1:N:"), ("x 2:Y:", "x"), (".1", "_2"),
]  # fmt: skip
ALIKE = [
    ("", ""), ("/1", "/2"), ("", "/2"), (".1", ".2"), ("_1", "_2"), ("/1", ""), ("x 2:N", "x 1:N"),
    ("x 3:N:", "x 1:Z:"), ("x 2:X:0", "x 12:N:"), ("a/1/1", "a/1/2"), ("x_1", "x_1"), ("x.1/1", "x.1/2"),
    ("\udcff_1", "\udcff_2"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), [*ALIKE, *UNLIKE])
@pytest.mark.parametrize("before", [0, 1500])
def test_names_of_mates(tmp_path, one, two, before):
    files = []
    for mate, name in ((1, one), (2, two)):
        header = name.encode(errors="surrogateescape")
        files.append(reads(before, True, mark=f"/{mate}") + b"@%b\nAC\n+\nII\n" % header + reads(9, True))
    paths = [write(tmp_path / f"{mate}", data) for mate, data in enumerate(files)]
    both = [write(tmp_path / "both", in_turn(*files))]
    for given in (paths, both):
        found, error = block_units(given, paired=True)
        assert (found, error) == object_units(given, paired=True)
        assert bool(error) == ((one, two) in UNLIKE)
        assert sum(map(len, found)) == (before if error else before + 10)


@pytest.mark.parametrize(("ones", "twos"), [(0, 1), (1, 0), (3000, 1100), (1100, 3000), (5, 5), (0, 0)])
@pytest.mark.parametrize("fault", [b"", b"@bad\nAC!\n+\nIII\n"], ids=["whole", "fault"])
def test_files_of_unlike_length(tmp_path, ones, twos, fault):
    one, two = reads(ones, True), reads(twos, True) + fault
    for number, (first, second) in enumerate(((one, two), (two, one))):
        paths = [write(tmp_path / f"{number}1", first), write(tmp_path / f"{number}2", second)]
        found, error = block_units(paths, paired=True)
        assert (found, error) == object_units(paths, paired=True)
        assert sum(map(len, found)) == min(ones, twos)
        assert bool(error) == (ones != twos or bool(fault))


def test_an_odd_number_of_interleaved_mates(tmp_path):
    path = write(tmp_path / "both", in_turn(reads(1500, True), reads(1500, True)) + b"@last\nAC\n+\nII\n")
    found, error = block_units([path], paired=True)
    assert (found, error) == object_units([path], paired=True)
    assert "ends within a pair: 'last', record 3001, has no mate" in error
    assert sum(map(len, found)) == 1500


def test_files_that_are_no_pair_and_pipes_that_are_named_twice(tmp_path):
    path = str(write(tmp_path / "reads", reads(3, True)))
    with pytest.raises(ConfigError, match="is given as both files of a pair"):
        next(iter_blocks(Source([path, path]), paired=True))
    with pytest.raises(InputError, match="is named twice"):
        next(iter_blocks(Source(["-", path, "-"])))
    assert list(iter_blocks(Source([]))) == []


@pytest.mark.parametrize("paired", [False, True])
def test_the_records_before_a_fault_can_be_left_out(tmp_path, paired):
    path = write(
        tmp_path / "reads", in_turn(reads(100, True, mark="/1"), reads(100, True, seed=6, mark="/2")) + b"@r\n"
    )
    for cut_short, numbers in ((True, [60, 60, 60, 20]), (False, [60, 60, 60])):
        n_records = 30 if paired else 60
        blocks, error = caught(iter_blocks(Source([str(path)]), paired, n_records, cut_short=cut_short))
        assert [block.mates * len(block) for block in blocks] == numbers
        assert error.startswith("InputError")


def test_a_stream_of_blocks_is_watched_as_it_passes(tmp_path):
    both = write(tmp_path / "both", in_turn(reads(300, True, mark="/1"), reads(300, True, seed=6, mark="/2")))
    for n_records in (1, 150, 1024):
        heard: list[str] = []
        blocks = list(watched_blocks(iter_blocks(Source([str(both)]), n_records=n_records), heard.append))
        assert sum(map(len, blocks)) == 600
        assert [hint.partition(";")[0] for hint in heard] == [f"{both} looks like interleaved pairs"]
    single = write(tmp_path / "single", reads(300, True))
    assert [len(block) for block in watched_blocks(iter_blocks(Source([str(single)])), heard.append)] == [300]
    assert len(heard) == 1


# Digests


def digests(*paths: Path, paired: bool = False) -> list[str]:
    return [block.digest for block in iter_blocks(Source([str(path) for path in paths]), paired, 1024, 1 << 20)]


def test_a_digest_does_not_depend_on_how_records_were_read(tmp_path):
    data = reads(2500, True)
    expected = digests(write(tmp_path / "1", data))
    assert len(set(expected)) == 3
    assert digests(write(tmp_path / "2", gzip.compress(data.replace(b"\n", b"\r\n")))) == expected
    assert digests(write(tmp_path / "3", data.replace(b"@r", b"\n@r", 1).replace(b"\n+\n", b"\n+x\n"))) == expected
    assert [unit.digest for unit in iter_units(read_records(tmp_path / "1"), 1024, 1 << 20)] == expected
    assert digests(write(tmp_path / "4", data[: data.index(b"@r1500 ")]))[:1] == expected[:1]
    mates = [write(tmp_path / f"m{mate}", reads(30, True, mark=f"/{mate}")) for mate in (1, 2)]
    both = write(tmp_path / "both", in_turn(*(mate.read_bytes() for mate in mates)))
    assert digests(*mates, paired=True) == digests(both, paired=True)
    assert digests(*mates, paired=True) == [unit.digest for unit in iter_units(read_pairs(both), 1024, 1 << 20)]
    assert digests(both) != digests(both, paired=True)


def test_no_two_inputs_run_together():
    alike = [
        [Record("ab", b"AC")],
        [Record("a", b"AC", description="b")],
        [Record("a", b"BAC")],
        [Record("ab", b"", quality=b"AC")],
        [Record("ab", b"A"), Record("", b"C")],
        [Record("a", b"A"), Record("b", b"C")],
        [Record("", b"AC"), Record("ab", b"")],
        [Record("", b"AC", description="ab")],
        [Record("ab", b"AC", quality=b"II")],
        [Record("ab", b"", mates=(Record("a", b"A"), Record("b", b"C")))],
    ]
    assert len({RecordBlock.of(records).digest for records in alike}) == len(alike)


# Strings


def test_all_ways_to_gather_give_the_same():
    draw = np.random.default_rng(3)
    data = draw.integers(0, 256, 500, np.uint8)
    for begins, lengths in (
        ([5, 90, 30], [7, 7, 7]), ([5, 30, 90], [7, 0, 400]), ([90, 5, 90], [3, 4, 9]), ([0, 4], [4, 496]), ([3], [0]),
        ([], []), ([0, 2], [3, 4]), ([500, 500], [0, 0]), ([0, 500], [500, 0]),
    ):  # fmt: skip
        first, sizes = np.array(begins, np.int64), np.array(lengths, np.int64)
        found = gather(data, first, sizes)
        assert found.data.tolist() == data[spread(first, sizes)].tolist()
        assert found.tolist() == [data[b : b + n].tobytes() for b, n in zip(begins, lengths, strict=True)]


def test_headers_are_divided_as_bytes_are():
    headers = [
        b"",
        b"a",
        b"a b",
        b" a",
        b"\t a  b c",
        b"a\x0bb",
        b"a\x1cb c",
        b"ab\x0c\x0c c",
        b"  ",
        b"x y z",
        b"\xff \xfe",
    ]
    headers = [header.rstrip() for header in headers]
    lines = np.arange(len(headers))
    table = entry_table.EntryTable(lines, *[Strings.of(headers)] * 4)
    names, descriptions = table.titles()
    expected = [[*header.split(None, 1), b"", b""][:2] for header in headers]
    assert interleave(*[Strings.of([b"ab", b"cd"])] * 2).tolist() == [b"ab", b"ab", b"cd", b"cd"]
    assert interleave(*[Strings.of([b"", b""])] * 2).tolist() == [b""] * 4
    assert interleave(*[Strings.of([])] * 2).tolist() == []
    assert [list(pair) for pair in zip(names, descriptions, strict=True)] == expected
    assert interleave(names, descriptions).tolist() == [part for pair in expected for part in pair]


def test_sequences_of_proteins_are_read_by_their_letters(tmp_path):
    path = write(tmp_path / "p.fa", b">a\nMKLe*\n>b\nMK1\n")
    file = SequenceFile(path, "protein")
    table, entry = file.tables()
    assert table.upper.tolist() == [b"MKLE*"]
    assert entry == (3, b"b", b"MK1", "", b"")
