"""Pairs in one file through the command line: the tables are those of two files, and pairs given singly are noticed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("virnucpro")
TABLES = ("records.tsv", "chunks.tsv", "frames.tsv", "viral_1.fasta", "viral_2.fasta", "viral_1.fastq", "viral_2.fastq")


@pytest.fixture(scope="module")
def files(lab, tmp_path_factory) -> dict[str, Path]:
    """The same 30 pairs as two files and as one, in FASTQ with marks that `fastq-dump -I` writes."""
    folder = tmp_path_factory.mktemp("pairs")
    sequences = [sequence for _, sequence in lab.make_records(60)]
    reads = [
        f"@SRR1.{i // 2 + 1}.{i % 2 + 1} length={len(sequence)}\n{sequence}\n+\n{'I' * len(sequence)}\n"
        for i, sequence in enumerate(sequences)
    ]
    made = {"one": reads[::2], "two": reads[1::2], "both": reads, "odd": reads[:-1], "turned": [*reads[:8], *reads[9:]]}
    for name, lines in made.items():
        (folder / f"{name}.fq").write_text("".join(lines))
    return {name: folder / f"{name}.fq" for name in made}


@pytest.fixture
def predict(lab, call):
    """Run `predict` with the small model; return its exit code and what it said."""

    def run(*arguments: object) -> tuple[int, str]:
        common = ("--model", lab.model, "-t", 1, "--precision", "fp32", "--device", "cpu", "--unit-records", lab.unit)
        return call([str(argument) for argument in ("predict", *arguments, *common)])

    return run


@pytest.fixture
def expected(files, predict, tmp_path) -> dict[str, bytes]:
    assert predict("--paired", files["one"], files["two"], "-o", tmp_path / "paired")[0] == 0
    return {name: (tmp_path / "paired" / name).read_bytes() for name in TABLES}


def tables(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in TABLES}


def test_one_file_gives_what_two_files_give(files, predict, expected, tmp_path):
    code, err = predict("--interleaved", files["both"], "-o", tmp_path / "out")
    assert (code, "30 pairs: " in err, "WARNING" in err) == (0, True, False)
    assert tables(tmp_path / "out") == expected
    rows = expected["records.tsv"].decode().splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == [f"SRR1.{i}" for i in range(1, 31)]
    assert expected["viral_1.fastq"].startswith(b"@SRR1.")
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (manifest["fingerprint"]["--paired"], manifest["fingerprint"]["--interleaved"]) == (True, True)
    assert "pairs" in (tmp_path / "out" / "report.html").read_text()


def test_a_stream_of_pairs(lab, files, expected, tmp_path):
    for output in (tmp_path / "out", "-"):
        given = lab.arguments(output, "--interleaved", "--device", "cpu", source="-")
        with files["both"].open("rb") as stream:
            done = subprocess.run([COMMAND, *given], stdin=stream, capture_output=True, check=True)
        assert b"WARNING" not in done.stderr
        if output != "-":
            assert tables(output) == expected
        else:
            ours, theirs = (text.decode().splitlines() for text in (done.stdout, expected["records.tsv"]))
            assert [row.split("\t")[:6] for row in ours] == [row.split("\t")[:6] for row in theirs]


def test_shards_of_pairs_are_merged(files, predict, call, expected, tmp_path):
    parts = [tmp_path / f"part_{i}" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        assert predict("--interleaved", files["both"], "-o", part, "--shard", f"{i}/3")[0] == 0
    assert call(["merge", *map(str, parts), "-o", str(tmp_path / "merged")])[0] == 0
    assert tables(tmp_path / "merged") == expected
    assert json.loads((tmp_path / "merged" / "run.json").read_text())["fingerprint"]["--interleaved"] is True
    other = tmp_path / "other"
    assert predict("--paired", files["one"], files["two"], "-o", other, "--shard", "2/3")[0] == 0
    code, err = call(["merge", *map(str, (parts[0], other, parts[2])), "-o", str(tmp_path / "mixed")])
    assert (code, "are not shards of one run" in err, "--interleaved" in err) == (2, True, True)


def test_a_run_is_resumed_with_the_same_setting_only(files, predict, tmp_path):
    output = tmp_path / "out"
    assert predict("--interleaved", files["both"], "-o", output)[0] == 0
    code, err = predict(files["both"], "-o", output, "--resume")
    assert (code, "--interleaved was True and is None" in err, "--paired was True and is False" in err) == (
        2,
        True,
        True,
    )
    assert predict("--interleaved", files["both"], "-o", output, "--resume")[0] == 0


def test_a_dry_run_of_pairs(files, predict, capfd, tmp_path):
    for given in (("--interleaved", files["both"]), ("--paired", files["one"], files["two"])):
        assert predict(*given, "-o", tmp_path / "out", "--dry-run")[0] == 0
    assert not (tmp_path / "out").exists()
    code, err = predict("--paired", files["both"], "-o", tmp_path / "out", "--dry-run")
    assert (code, "use --interleaved" in err) == (2, True)


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("--interleaved", "odd"), 65, "ends within a pair: 'SRR1.30.1 length="),
        (("--interleaved", "turned"), 65, "does not hold interleaved pairs: records 9 and 10 are 'SRR1.5.2 length="),
        (("--interleaved", "one"), 65, "does not hold interleaved pairs: records 1 and 2 are 'SRR1.1.1 length="),
        (
            ("--interleaved", "one", "two"),
            2,
            "--interleaved takes one file, in which mates follow each other, got 2; for",
        ),
        (("--paired", "both"), 2, "got 1; if the mates follow each other in one file, use --interleaved"),
        (("--paired", "--interleaved", "both"), 2, "--paired and --interleaved exclude each other"),
        (("--paired", "both", "both"), 2, "or one file of interleaved pairs with --interleaved"),
    ],
)
def test_what_is_no_input_of_pairs(files, predict, tmp_path, given, code, words):
    found, err = predict(*(files.get(word, word) for word in given), "-o", tmp_path / "out")
    assert (found, words in err, err.count("\n")) == (code, True, 1), err
    assert not (tmp_path / "out" / "records.tsv").exists()


def test_pairs_given_as_single_reads_are_noticed(lab, files, predict, tmp_path):
    code, err = predict(files["one"], files["two"], "-o", tmp_path / "two")
    assert code == 0
    assert err.count("WARNING: ") == err.count(f"`--paired {files['one']} {files['two']}`") == 1
    code, err = predict(files["both"], "-o", tmp_path / "both")
    assert (code, err.count("WARNING: "), f"{files['both']} looks like interleaved pairs" in err) == (0, 1, True)
    assert "WARNING" not in predict(files["one"], "-o", tmp_path / "one")[1]
    with files["both"].open("rb") as stream:
        given = [COMMAND, *lab.arguments(tmp_path / "stream", source="-")]
        done = subprocess.run(given, stdin=stream, capture_output=True, check=True)
    assert done.stderr.count(b"- looks like interleaved pairs; with `--interleaved` ") == 1
