"""A file of FASTQ hits is there where the input was FASTQ, with hits or without, and nowhere else."""

import gzip
import json

import pytest

READS = "".join(f"@q{i}\n{'ACGGCTAAGCTTGCA' * 8}\n+\n{'I' * 120}\n" for i in range(12))
FASTA = "".join(f">f{i}\n{'ACGGCTAAGCTTGCA' * 8}\n" for i in range(12))
INPUTS = {
    "FASTQ": ([("a.fq", READS)], True),
    "FASTQ under another name": ([("a.fa", READS)], True),
    "FASTA": ([("a.fq", FASTA)], False),
    "mixed": ([("a.fa", FASTA), ("b.fq", READS)], True),
    "mixed, FASTQ first": ([("a.fq", READS), ("b.fa", FASTA)], True),
    "no reads": ([("a.fastq.gz", "")], True),
    "no reads, plain": ([("a.FQ", "")], True),
    "no reads beside FASTA": ([("a.fa", FASTA), ("b.fq", "")], True),
    "no records": ([("a.fa", "")], False),
}


def write(folder, files):
    paths = []
    for name, text in files:
        paths.append(folder / name)
        paths[-1].write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return paths


def hits(folder):
    return {path.name for path in folder.glob("viral*")}


@pytest.mark.parametrize("case", INPUTS)
def test_without_hits(lab, call, tmp_path, case):
    files, fastq = INPUTS[case]
    first, *others = write(tmp_path, files)
    output, more = tmp_path / "out", ["--min-score", 1]
    assert call(lab.arguments(output, *others, *more, source=first))[0] == 0
    expected = {"viral.fasta", "viral.fastq"} if fastq else {"viral.fasta"}
    assert hits(output) == expected
    assert all((output / name).read_bytes() == b"" for name in expected)
    assert json.loads((output / "run.json").read_text())["content"]["fastq"] is fastq
    code, err = call(lab.arguments(output, *others, *more, "--resume", source=first))
    assert (code, "is already complete" in err) == (0, True), err
    if fastq:  # it is a table like others: done again where it is lost
        (output / "viral.fastq").unlink()
        code, err = call(lab.arguments(output, *others, *more, "--resume", source=first))
        assert (code, "is already complete" in err, hits(output)) == (0, False, expected), err
    parts = [tmp_path / f"part_{shard}" for shard in (1, 2)]
    for shard, part in enumerate(parts, start=1):
        assert call(lab.arguments(part, *others, *more, "--shard", f"{shard}/2", source=first))[0] == 0
    assert call(["merge", *map(str, parts), "-o", str(tmp_path / "merged")])[0] == 0
    assert hits(tmp_path / "merged") == expected


@pytest.mark.parametrize(("one", "two", "fastq"), [(READS, READS, True), (FASTA, FASTA, False), ("", "", True)])
def test_pairs_without_hits(lab, call, tmp_path, one, two, fastq):
    first, second = write(tmp_path, [("1.fq", one), ("2.fq", two)])
    output = tmp_path / "out"
    assert call(lab.arguments(output, second, "--paired", "--min-score", 1, source=first))[0] == 0
    expected = {"viral_1.fasta", "viral_2.fasta", *(["viral_1.fastq", "viral_2.fastq"] if fastq else [])}
    assert hits(output) == expected
    assert all((output / name).read_bytes() == b"" for name in expected)


def test_what_an_earlier_run_left_goes(lab, call, tmp_path):
    (reads,), output = write(tmp_path, [("a.fq", READS)]), tmp_path / "out"
    assert call(lab.arguments(output, "--min-score", 0, source=reads))[0] == 0
    assert (output / "viral.fastq").read_text() == READS
    assert call(lab.arguments(output, "--restart"))[0] == 0  # FASTA
    assert hits(output) == {"viral.fasta"}
