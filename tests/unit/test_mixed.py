"""The hint that reads and contigs are in one run."""

import random

import pytest
from support.files import fasta

from virnucpro.seq.block import RecordBlock
from virnucpro.seq.mixed import mixture, watched_lengths
from virnucpro.seq.reader import SequenceFile
from virnucpro.types import Record

LENGTHS = random.Random(4)
READS = [150] * 300
TRIMMED = [LENGTHS.randrange(36, 151) for _ in range(300)]
CONTIGS = [LENGTHS.choice((250, 300, 420, 600, 900, 1500, 4000)) for _ in range(80)]
ASSEMBLY = [int(200 * LENGTHS.paretovariate(1)) for _ in range(300)]
GENOME = [50_000]


def written(folder, **files):
    """Write files of records of these lengths."""
    found = []
    for name, lengths in files.items():
        path = folder / f"{name}.fa"
        path.write_text(fasta([(f"r{i}", "A" * length) for i, length in enumerate(lengths)]))
        found.append(SequenceFile(path))
    return found


@pytest.mark.parametrize(("reads", "contigs"), [(READS, CONTIGS), (TRIMMED, ASSEMBLY), (READS, GENOME)])
def test_a_file_of_reads_and_one_of_contigs(tmp_path, reads, contigs):
    for files in ({"one": reads, "two": contigs}, {"two": contigs, "none": [], "one": reads}):
        hint = mixture(written(tmp_path, **files))
        assert f"{tmp_path}/one.fa has short reads and {tmp_path}/two.fa has contigs" in hint
        assert "\n" not in hint


def test_files_of_one_kind_give_no_hint(tmp_path):
    pieces = [500, 700, 900, 1100, 1300, 1500] * 2
    for files in (
        {"one": READS, "two": TRIMMED, "three": pieces},
        {"one": CONTIGS, "two": ASSEMBLY, "three": GENOME},
        {"one": READS},
    ):
        assert mixture(written(tmp_path, **files)) == ""
    (tmp_path / "bad.fa").write_text("no sequences")
    assert mixture([*written(tmp_path, one=READS), SequenceFile(tmp_path / "bad.fa"), SequenceFile("-")]) == ""


def hints(lengths: list[int]) -> list[str]:
    """Return what is said of one input with records of these lengths."""
    records = [Record(f"r{i}", b"A" * length, "-", i) for i, length in enumerate(lengths)]
    said: list[str] = []
    blocks = [RecordBlock.of(records[begin : begin + 64]) for begin in range(0, len(records), 64)]
    passed = list(watched_lengths(iter(blocks), said.append))
    assert passed == blocks
    return said


def test_reads_and_contigs_in_one_input():
    (hint,) = hints(READS + [n for n in CONTIGS if n >= 1000])
    assert "300 records of 150 nt and" in hint
    for lengths in (READS, TRIMMED, CONTIGS, ASSEMBLY, GENOME, READS + GENOME, [], [0] * 500 + CONTIGS):
        assert hints(lengths) == []
