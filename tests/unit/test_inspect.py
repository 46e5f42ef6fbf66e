"""Inspection: every fault and every kind of oddity, and ids that repeat."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from virnucpro.errors import InputError, MissingInputError
from virnucpro.seq.inspect import Inspection
from virnucpro.seq.reader import SequenceFile
from virnucpro.seq.screen import Limits

LIMITS = Limits(min_length=4, chunk_length=8)


def inspected(folder: Path, data: bytes, ids: set[int] | None = None) -> tuple[Inspection, list[str]]:
    """Return the inspection of a file, and the messages of its faults without the file's name."""
    path = folder / "input"
    path.write_bytes(data)
    inspection = Inspection(SequenceFile(path), LIMITS, set() if ids is None else ids)
    return inspection, [str(fault).removeprefix(f"{path}: ").split(";")[0] for fault in inspection.faults()]


def test_all_faults_of_a_fasta_file(tmp_path: Path) -> None:
    data = b">a\nAC!GT\nAC?\n>b\nACGT\n>c\rd\n>e\nMKL\n@f\nAC\n+\nII\n>g\nACGT\n@"
    inspection, faults = inspected(tmp_path, data)
    assert faults == [
        "line 1: record 'a': '!' at position 3 of its sequence",
        "line 6: record 'c': a CR in its header",
        "line 7: record 'e': 'L' at position 3 of its sequence",
        "line 13: record 'g': '@' at position 5 of its sequence",
    ]
    assert (inspection.records, inspection.bases, inspection.errors) == (1, 4, 4)
    assert inspection.summary() == f"{tmp_path}/input: FASTA, plain; records: 1; nt: 4; errors: 4; warnings: 0"


# What is wrong with a FASTQ record between whole ones, and the message about it.
BROKEN = {
    b"@bad\nACGTAC\n+\n": "record 'bad': 6 bases but ",  # as many as the next header has letters
    b"@bad\nACGTAC\n+\nIIIIIII\n": "record 'bad': 6 bases but 7 qualities",
    b"@bad\nACGTAC\n+\n@@@@@\n": "record 'bad': 6 bases but 5 qualities",
    b"@bad\nACGTAC\nIIIIII\n": "record 'bad': expected '+' on its third line, found 'I'",
    b"@bad\nACGTAC\n": "record 'bad': expected '+' on its third line, found '@'",
    b"@bad\nACG\nTAC\n+\nIII\nIII\n": "record 'bad': expected '+' on its third line, found 'T'",
    b"@bad\nAC!TAC\n+\nIIIIII\n": "record 'bad': '!' at position 3 of its sequence",
    b">bad\nACGTAC\n": "expected '@' to begin a record, found '>'",
    b"some text\nover two lines\n": "expected '@' to begin a record, found 's'",
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("times", [1, 2])
def test_all_faults_of_a_fastq_file(tmp_path: Path, broken: bytes, times: int) -> None:
    ok = b"@ok\nACGT\n+\n@+@+\n"
    inspection, faults = inspected(tmp_path, (ok + broken * times) * 3 + ok)
    n = broken.count(b"\n")
    firsts = [5 + (4 + times * n) * i for i in range(3)]
    if broken.startswith(b"@"):
        lines = [first + n * j for first in firsts for j in range(times)]
    else:  # text between two records is one fault, however long
        lines = firsts
    assert [fault.partition(": ")[0] for fault in faults] == [f"line {line}" for line in lines]
    assert all(fault.partition(": ")[2].startswith(BROKEN[broken]) for fault in faults)
    assert inspection.records == 4


def test_faults_of_a_whole_file(tmp_path: Path) -> None:
    for path, kind in ((tmp_path / "none", MissingInputError), (tmp_path, InputError)):
        inspection = Inspection(SequenceFile(path))
        [fault] = inspection.faults()
        assert type(fault) is kind
        assert (inspection.errors, inspection.remarks()) == (1, [])
        assert inspection.summary() == f"{path}: unknown, plain; records: 0; nt: 0; errors: 1; warnings: 0"


def test_remarks_name_the_first_record_and_count_the_others(tmp_path: Path) -> None:
    data = b">a\nACGT\n>b\nACGU-\n>a\nacg\n>\n\n>c\nUUAC\n>a\nNNNN\n>d\nNNNNNNNNACGTACGT\n"
    inspection, faults = inspected(tmp_path, data)
    assert faults == []
    assert [remark.removeprefix(f"{tmp_path}/input: ") for remark in inspection.remarks()] == [
        "line 3: record 'b' has U, which is read as T (2 such records)",
        "line 3: record 'b' has gaps, which are read as unknown bases",
        "line 3: record 'b' has N or other ambiguous letters (3 such records)",
        "line 5: record 'a' repeats an id (2 such records)",
        "line 5: record 'a' has lower-case letters, which are read as upper-case ones",
        "line 5: record 'a' will have no score, too_short: 3 nt, needs 4",
        "line 7: record '' has no id",
        "line 7: record '' will have no score, empty: the record has no sequence",
        "line 11: record 'a' will have no score, too_ambiguous: 100% of the letters are not A, C, G, T or U",
    ]
    assert inspection.summary().endswith(": FASTA, plain; records: 7; nt: 36; errors: 0; warnings: 9")


def test_a_file_without_records(tmp_path: Path) -> None:
    inspection, faults = inspected(tmp_path, b"\n")
    assert faults == []
    assert inspection.remarks() == [f"{tmp_path}/input: there is no record in it"]
    assert inspection.summary().endswith(": empty, plain; records: 0; nt: 0; errors: 0; warnings: 1")


def test_ids_are_compared_across_files_and_as_many_as_are_kept(tmp_path: Path, monkeypatch) -> None:
    ids: set[int] = set()
    inspected(tmp_path, b">a\nACGT\n>b\nACGT\n", ids)
    second, _ = inspected(tmp_path, b">b\nACGT\n>c\nACGT\n>c\nACGT\n", ids)
    assert any("line 1: record 'b' repeats an id (2 such records)" in remark for remark in second.remarks())
    monkeypatch.setattr("virnucpro.seq.inspect._MOST_IDS", 3)
    third, _ = inspected(tmp_path, b">d\nACGT\n>d\nACGT\n>c\nACGT\n", ids)
    assert any("line 5: record 'c' repeats an id" in r and "such" not in r for r in third.remarks())


LONG = 100_000_000
# The peak of a process, which rusage does not tell: there it begins with that of the process that started it.
PEAK = (
    "import pathlib, re, sys\nfrom virnucpro.cli.main import main\n"
    "try:\n    main(['check', sys.argv[1]])\n"
    "except SystemExit as end:\n"
    "    print(end.code, 1024 * int(re.search(r'VmHWM:\\s*(\\d+)', pathlib.Path('/proc/self/status').read_text())[1]))"
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak there")
@pytest.mark.parametrize("form", ["one line", "lines", "lower case", "only N", "fastq"])
def test_a_long_record_is_held_three_times_at_most(tmp_path: Path, form: str) -> None:
    block = bytes(random.Random(3).choices(b"ACGT", k=1_000_000))
    block = {"lower case": block.lower(), "only N": b"N" * len(block)}.get(form, block)
    if form == "lines":
        block = b"\n".join(block[i : i + 70] for i in range(0, len(block), 70)) + b"\n"
    path = tmp_path / "input"
    with path.open("wb") as file:
        file.write(b"@a\n" if form == "fastq" else b">a\n")
        for _ in range(LONG // 1_000_000):
            file.write(block)
        if form == "fastq":
            file.write(b"\n+\n")
            for _ in range(LONG // 1_000_000):
                file.write(b"I" * len(block))
        file.write(b"\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, env=environment, check=True)
    code, peak = done.stdout.split()[-2:]
    assert code == b"0"
    assert f"records: 1; nt: {LONG}; errors: 0".encode() in done.stdout
    assert int(peak) <= 3 * path.stat().st_size
