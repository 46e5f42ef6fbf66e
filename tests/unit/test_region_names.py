"""Names of regions in regions.fasta: those of geNomad, without what CheckV and DRAM-v refuse, each once."""

from contextlib import ExitStack

import numpy as np
import pytest

from virnucpro.pipeline.regions import Region
from virnucpro.run.scan import Numbering, ScanFiles, Track
from virnucpro.types import Record


def track(name, sequence=b"ACGTA" * 200, spans=((0, 250), (500, 1000)), index=0):
    bounds = list(range(0, len(sequence) + 1, 250))
    values = np.full(len(bounds) - 1, 0.9)
    return Track(Record(name, sequence, "x", index), bounds, values, values, [Region(*span, 1, 0.9) for span in spans])


def names(*tracks):
    numbering = Numbering()
    return [found.fasta_name for one in tracks for found in numbering.regions(one)]


def test_a_region_has_its_place_and_a_whole_record_its_id():
    assert names(track("chr_1.2"), track("ctg", spans=[(0, 1000)])) == [
        "chr_1.2|provirus_1_250", "chr_1.2|provirus_501_1000", "ctg",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a;b=c", "a_b_c"), ("gi|5|ref|NC_1.1|", "gi|5|ref|NC_1.1|"),
        ("a(b)/c\\d", "a_b__c_d"), ("na\udcefve", "na_ve"),
        ("病毒", "__"), ("a\x07\x1b[31m", "a___31m"), ("<b>&\"'`$", "_b______"), ("a:1-2+3@4~5", "a:1-2+3@4~5"),
        ("#,*?%!", "______"), ("", "record_8"),
    ],
)  # fmt: skip
def test_characters_that_other_tools_refuse_are_replaced(name, expected):
    assert names(track(name, spans=[(0, 1000)], index=7)) == [expected]
    assert names(track(name, spans=[(250, 1000)], index=7)) == [f"{expected}|provirus_251_1000"]


def test_no_name_is_used_twice():
    given = [track(name, spans=[(0, 1000)]) for name in ("a", "a_2", "a", "a", "a=", "a;")]
    assert names(*given) == ["a", "a_2", "a_3", "a_4", "a_", "a__2"]
    given = [track(name, spans=[(250, 500)]) for name in ("a", "a", "a_2")]
    assert names(*given) == ["a|provirus_251_500", "a_2|provirus_251_500", "a_2_2|provirus_251_500"]
    many = names(*(track("same", spans=[(0, 1000)]) for _ in range(3000)))
    assert len(set(many)) == 3000


def fasta(text):
    """Read FASTA in the plainest way: header to sequence."""
    entries = [entry.split("\n", 1) for entry in text.split(">")[1:]]
    return {header: sequence.replace("\n", "") for header, sequence in entries}


def test_sequences_are_those_of_the_places(tmp_path):
    rng = np.random.default_rng(0)
    sequence = rng.choice(list(b"ACGTNRYU"), 1000).astype(np.uint8).tobytes()
    masked = sequence[:100] + b"-.*X" + sequence[104:]
    with ExitStack() as stack:
        files = ScanFiles(stack, tmp_path)
        found = [one for name in ("a", "a", "b;=") for one in files.write(track(name, masked))]
    text = (tmp_path / "regions.fasta").read_text()
    assert max(map(len, text.splitlines())) == 60
    read = fasta(text)
    assert len(read) == len(found) == 6
    assert len({header.split()[0] for header in read}) == 6
    for one, (header, letters) in zip(found, read.items(), strict=True):
        assert header == f"{one.fasta_name} {one.region} {one.start + 1}-{one.end}/1000"
        assert not set(";=") & set(header)  # DRAM-v stops at these
        assert len(letters) == one.length
        assert letters.encode() == (sequence[:100] + b"NNNN" + sequence[104:])[one.start : one.end]
    rows = [line.split("\t") for line in (tmp_path / "regions.tsv").read_text().splitlines()[1:]]
    assert [row[-1] for row in rows] == [header.split()[0] for header in read]
    for name in (row[-1] for row in rows):
        place = name.partition("|provirus_")[2].split("_")
        assert read[next(header for header in read if header.split()[0] == name)]
        assert int(place[1]) - int(place[0]) + 1 in (250, 500)
