"""virnucpro.predict, embed and scan: what they give in memory is what the commands write to files."""

import csv
import gzip
import json
import subprocess
import sys
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.commands import run
from support.models import make_model, write_model

import virnucpro
from virnucpro import Options, Record
from virnucpro._optional import PANDAS
from virnucpro.api.bars import SilentCounter, shown
from virnucpro.api.data_frames import COLUMNS, require
from virnucpro.config import ComputeOptions
from virnucpro.errors import ConfigError, InputError, ModelError, OutputError, VirnucproError
from virnucpro.pipeline.embed import Embedder, EmbedSettings
from virnucpro.run.tables import PARQUET, RECORD_COLUMNS, TABLES
from virnucpro.types import Status

EXAMPLES = Path(__file__).parents[2] / "examples"
COMPUTE = {"device": "cpu", "precision": "fp32", "threads": 1}
FLAGS = ["--device", "cpu", "--precision", "fp32", "--threads", "1"]


@cache
def reads() -> tuple[Record, ...]:
    """Reads of which some are called and some are not, with a repeated id and qualities."""
    found = list(virnucpro.read_records(EXAMPLES / "reads.fastq.gz"))[:60:4]
    odd = [("short", b"ACGT"), ("empty", b""), ("low", b"A" * 200), ("n", found[0].sequence[:120] + b"N" * 60)]
    odd += [(found[0].id, found[1].sequence)]
    more = [Record(name, sequence, quality=b"I" * len(sequence)) for name, sequence in odd]
    return (*found, *more)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A folder with the reads as a file, and a run of the command on it."""
    folder = tmp_path_factory.mktemp("api")
    text = "".join(
        f"@{r.id} {r.description}".rstrip() + f"\n{r.sequence.decode().lower()}\n+\n{r.quality.decode()}\n"
        for r in reads()
    )
    (folder / "reads.fq").write_text(text)
    assert run("predict", folder / "reads.fq", "-o", folder / "out", "--parquet", *FLAGS) == 0
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def as_row(call: virnucpro.Call) -> dict[str, str]:
    """Return a call as its row of records.tsv."""

    def cell(value: object) -> str:
        return f"{value:.4f}" if isinstance(value, float) else "NA" if value in (None, "") else str(value)

    return {name: cell(getattr(call, name)) for name in RECORD_COLUMNS}


MADE = {
    "a file": lambda folder: folder / "reads.fq",
    "files": lambda folder: [str(folder / "reads.fq")],
    "records": lambda folder: reads(),
    "pairs of text": lambda folder: ((r.id, r.sequence.decode().lower()) for r in reads()),
    "pairs of bytes": lambda folder: [(r.id.encode(), r.sequence) for r in reads()],
    "objects": lambda folder: [SimpleNamespace(id=r.id, seq=r.sequence.replace(b"T", b"u")) for r in reads()],
}


@pytest.mark.parametrize("made", MADE)
def test_calls_are_those_of_the_command(done, made):
    calls = virnucpro.predict(MADE[made](done), **COMPUTE)
    expected = rows(done / "out" / "records.tsv")
    assert len({row["status"] for row in expected}) >= 4
    assert {"virus", "other", "NA"} == {row["prediction"] for row in expected}
    streamed = [as_row(call) for call in calls]
    assert streamed == [{**row, "fdr": "NA", "confidence": "NA", "sample_score": "NA"} for row in expected]
    calls = virnucpro.predict(MADE[made](done), **COMPUTE)
    prevalence = json.loads((done / "out" / "run.json").read_text())["prevalence"]
    assert calls.composition is not None
    assert round(calls.composition.prevalence, 6) == prevalence
    assert [as_row(call) for call in calls] == expected  # now with the false discovery rates
    assert [call.id for call in calls] == [row["seq_name"] for row in expected]  # and again


def test_what_is_written_is_what_the_command_writes(done, tmp_path):
    kept = virnucpro.predict(done / "reads.fq", **COMPUTE)
    assert kept.composition is not None
    made = {"kept": kept, "file": virnucpro.predict(done / "reads.fq", **COMPUTE)}
    made["memory"] = virnucpro.predict(iter(reads()), **COMPUTE)
    before = json.loads((done / "out" / "run.json").read_text())
    for name, calls in made.items():
        calls.write(tmp_path / name)
        for table in TABLES:
            assert (tmp_path / name / table).read_bytes() == (done / "out" / table).read_bytes(), (name, table)
        said = json.loads((tmp_path / name / "run.json").read_text())
        assert said["counts"] == before["counts"]
        assert said["content"] == before["content"]
        assert said["status"] == "complete"
        there = {path.name for path in (tmp_path / name).iterdir()}
        assert there == {path.name for path in (done / "out").iterdir()} - set(PARQUET.values())
    assert json.loads((tmp_path / "file" / "run.json").read_text())["fingerprint"] == before["fingerprint"]
    table = tmp_path / "file" / "records.tsv"
    changed = table.stat().st_mtime_ns
    assert run("predict", done / "reads.fq", "-o", tmp_path / "file", "--resume", *FLAGS) == 0
    assert table.stat().st_mtime_ns == changed  # the command finds its run complete


def test_a_directory_is_replaced_only_if_asked(done, tmp_path):
    calls = virnucpro.predict(reads()[:2], **COMPUTE)
    calls.write(tmp_path / "out")
    with pytest.raises(OutputError, match="overwrite=True"):
        virnucpro.predict(reads()[:1], **COMPUTE).write(tmp_path / "out")
    virnucpro.predict(reads()[:1], **COMPUTE).write(str(tmp_path / "out"), overwrite=True)
    assert len(rows(tmp_path / "out" / "records.tsv")) == 1
    with pytest.raises(ConfigError, match="not kept"):
        calls.to_arrow()
    with pytest.raises(ConfigError, match="is an input"):
        virnucpro.predict(tmp_path / "out" / "viral.fasta", **COMPUTE).write(tmp_path / "out", overwrite=True)


def test_an_empty_source(tmp_path):
    for source in ([], {}, iter(()), (pair for pair in ())):
        calls = virnucpro.predict(source, **COMPUTE)
        assert calls.composition is None
        assert list(calls) == []
        assert (calls.to_arrow().num_rows, calls.to_arrow().column_names) == (0, list(COLUMNS))
    calls.write(tmp_path / "out")
    assert (tmp_path / "out" / "records.tsv").read_text() == TABLES["records.tsv"]
    assert list(virnucpro.predict([], **COMPUTE)) == []


def test_the_first_calls_of_a_slow_stream_do_not_wait_for_the_last():
    go_on, seen = threading.Event(), []

    def slow():
        yield "a", "ATGGCTAAAGGTCTGCGTGAA" * 12
        yield "b", "ACGT"
        go_on.wait()
        yield "c", ""

    calls = virnucpro.predict(slow(), **COMPUTE)
    seen += [next(calls).id, next(calls).id]  # the stream waits for us
    go_on.set()
    assert [*seen, *(call.id for call in calls)] == ["a", "b", "c"]


def test_a_long_iterable_is_not_collected(tmp_path):
    model, n_alive, most = write_model(make_model(), tmp_path / "model"), 0, 0

    class Sequence(bytes):
        def __init__(self, *_: object) -> None:
            nonlocal n_alive, most
            n_alive += 1
            most = max(most, n_alive)

        def __del__(self) -> None:
            nonlocal n_alive
            n_alive -= 1

    n = 20_000
    pairs = ((str(number), Sequence(b"ACG")) for number in range(n))
    assert sum(1 for _ in virnucpro.predict(pairs, model=model, **COMPUTE)) == n
    assert most < n / 4


def test_an_error_comes_after_the_calls_before_it(tmp_path):
    calls = virnucpro.predict([("a", "ACGT"), ("b", "ACJ")], **COMPUTE)
    assert next(calls).status == Status.TOO_SHORT
    with pytest.raises(InputError, match=r"record 'b' \(number 2\): 'J' at position 3"):
        next(calls)
    with pytest.raises(InputError, match="record 'b'"):
        virnucpro.predict([("a", "ACGT"), ("b", "ACJ")], **COMPUTE).write(tmp_path / "out")
    assert not (tmp_path / "out" / "records.tsv").exists()


def test_tables_need_all_calls():
    calls = virnucpro.predict(reads()[:3], **COMPUTE)
    next(calls)
    for ask in (calls.to_arrow, lambda: calls.composition, lambda: calls.write("absent")):
        with pytest.raises(ConfigError, match="call predict again"):
            ask()
    assert len(list(calls)) == 2
    assert calls.composition is not None  # all were read
    with pytest.raises(ConfigError, match="call predict again"):
        calls.to_arrow()
    calls.close()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"device": "cat"}, None), ({"preset": "bold"}, "preset"), ({"prevalence": 2}, "prevalence"),
        ({"min_score": "x"}, "min_score"), ({"threads": 0}, "threads"), ({"precision": 5}, "precision"),
        ({"preset": "strict", "min_score": 0.5}, "preset"),
    ],
)  # fmt: skip
def test_errors_name_fields(options, field):
    with pytest.raises(ConfigError) as error:
        virnucpro.predict([], **options)
    if field:
        assert field in error.value.fields
    with pytest.raises(TypeError):
        virnucpro.predict([], "bundled")


def test_options_and_their_single_fields():
    options = Options(device="cpu", precision="fp32", threads=1, min_score=0.0)
    (call,) = virnucpro.predict(reads()[:1], options=options)
    assert (call.is_virus, call.prediction) == (True, "virus")
    (call,) = virnucpro.predict(reads()[:1], options=options, min_score=1.0)
    assert (call.is_virus, call.prediction) == (False, "other")
    with pytest.raises(ModelError):
        virnucpro.predict([], model="absent")


def test_arrow_tables_are_those_of_parquet(done):
    import pyarrow.parquet

    table = virnucpro.predict(done / "reads.fq", **COMPUTE).to_arrow()
    written = pyarrow.parquet.read_table(done / "out" / "records.parquet")
    assert table.drop_columns("log_ratio").schema.equals(written.schema)
    for name in written.column_names:
        values = table[name].to_pylist()
        if name in ("virus_score", "fdr", "sample_score"):
            values = [None if value is None else float(f"{value:.4f}") for value in values]
        assert values == written[name].to_pylist(), name
    calls = list(virnucpro.predict(reads(), **COMPUTE))
    assert table["log_ratio"].to_pylist() == [call.log_ratio for call in calls]
    assert table["virus_score"].to_pylist() == [call.virus_score for call in calls]


def test_ids_beyond_ascii_in_arrow():
    calls = virnucpro.predict([("å", "ACGT"), (b"\xff", "ACGT")], **COMPUTE)
    assert calls.to_arrow()["seq_name"].to_pylist() == ["å", "\\xff"]
    assert [call.id for call in calls] == ["å", "\udcff"]


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_data_frames(name):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    calls = virnucpro.predict(reads(), **COMPUTE)
    frame = getattr(calls, f"to_{name}")()
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["seq_name"]) == [call.id for call in calls]
    assert [value for value in frame["prediction"] if isinstance(value, str)] == [
        call.prediction for call in calls if call.prediction
    ]


def test_a_package_that_is_missing_is_named_with_its_extra():
    absent = type(PANDAS)("absent", "no_such_module", "1.0", "tables", "tests")
    with pytest.raises(VirnucproError, match=r"to_x\(\) needs absent, .*virnucpro\[tables\]"):
        require(absent, "to_x()")


def test_names_of_the_past():
    (call,) = virnucpro.predict({"a": "ATGGCTAAAGGTCTGCGTGAA" * 12}, options=Options(**COMPUTE))
    assert (call.id, call.seq_name, call.length, call.n_chunks, call.n_frames) == ("a", "a", 252, 1, 3)
    assert call.best_frame == "a_chunk_1F1"
    assert call.is_virus is (call.prediction == "virus")
    assert call.log_ratio is not None
    assert call.fdr is None


def test_embeddings_are_those_of_the_command(tmp_path):
    from safetensors.numpy import load_file

    proteins = [("p", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"), ("q", "MAHHHHHHVGTGSNDDDD-KSPD*"), ("r", "m")]
    path = tmp_path / "p.faa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in proteins))
    lengths = [33, 22, 1]
    for pooling, flags in (("mean", []), (None, ["--per-residue"])):
        assert run("embed", path, "-o", tmp_path / f"out{pooling}", "--layer", "2", *flags, *FLAGS) == 0
        written = load_file(tmp_path / f"out{pooling}" / "embeddings_00000.safetensors")["embeddings"]
        for source in (path, proteins, dict(proteins)):
            found = virnucpro.embed(source, layer=2, pooling=pooling, **COMPUTE)
            if pooling is None:
                assert [len(one) for one in found] == lengths
                found = np.concatenate(found)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, written)
    assert virnucpro.embed([], **COMPUTE).shape == (0, found.shape[1])
    assert virnucpro.embed([], pooling=None, **COMPUTE) == []


def test_embeddings_of_nucleotides():
    some = reads()[:3]
    found = virnucpro.embed([(read.id, read.sequence.lower()) for read in some], kind="nucleotide", **COMPUTE)
    settings = EmbedSettings(model="bundled", kind="nucleotide")
    np.testing.assert_array_equal(found, Embedder(settings, ComputeOptions(**COMPUTE)).embed(some))
    with pytest.raises(ConfigError, match=r"^pooling=None needs"):
        virnucpro.embed(some, kind="nucleotide", pooling=None, **COMPUTE)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"pooling": "max"}, ConfigError, "^pooling must be"), ({"kind": "rna"}, ConfigError, "^kind must be"),
        ({"layer": -1}, ConfigError, "^layer"), ({"layer": 99}, ConfigError, "^layer"),
        ({"max_length": 0}, ConfigError, "^max_length"), ({"model": "absent"}, ModelError, "absent"),
        ({"source": {"p": "MK", "q": ""}}, InputError, r"record 'q' \(number 2\) has no sequence"),
        ({"source": {"p": "ACGT" * 20}}, InputError, "nucleotides, expected proteins"),
    ],
)  # fmt: skip
def test_errors_of_embed(options, error, words):
    with pytest.raises(error, match=words):
        virnucpro.embed(**{"source": [], **options}, **COMPUTE)


def test_regions_are_those_of_the_command(tmp_path):
    text = gzip.decompress((EXAMPLES / "ecoli.fa.gz").read_bytes()).decode()
    sequences = ["".join(entry.splitlines()[1:]) for entry in (text + (EXAMPLES / "lambda.fa").read_text()).split(">")]
    genomes = {"one": "".join(sequences), "two": "".join(sequences[:3]), "three": "".join(sequences[::-1]).lower()}
    path = tmp_path / "g.fa"
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in genomes.items()))
    flags = ["--min-posterior", "0.3", "--min-length", "300", "--plots", "none"]
    assert run("scan", path, "-o", tmp_path / "out", *flags, *FLAGS) == 0
    expected = rows(tmp_path / "out" / "regions.tsv")
    assert len({row["seq_name"] for row in expected}) > 1
    for source in (path, genomes, iter(genomes.items())):
        found = virnucpro.scan(source, min_posterior=0.3, min_length=300, **COMPUTE)
        cells = [
            {name: f"{v:.4f}" if isinstance(v := getattr(one, name), float) else str(v) for name in expected[0]}
            for one in found
        ]
        assert cells == expected
    assert list(virnucpro.scan([], **COMPUTE)) == []
    for options, field in (({"step": 0}, "step"), ({"min_posterior": 2}, "min_posterior"), ({"neutral": "x"}, None)):
        with pytest.raises(ConfigError) as error:
            virnucpro.scan([], **options, **COMPUTE)
        assert field is None or field in error.value.fields


def test_progress_is_silent_off_a_terminal(capfd):
    with shown(None, None) as counter:
        assert isinstance(counter, SilentCounter)
        counter.advance(5)
    with shown(None, False) as counter:
        assert isinstance(counter, SilentCounter)
    with shown(None, True) as counter:
        assert not isinstance(counter, SilentCounter)  # plain lines
    assert capfd.readouterr() == ("", "")
    assert counter.records == 0


TERMINAL = """
import os, pty, sys
code = '''
import time, virnucpro.api.bars as bars
with bars.shown(None, {progress}) as counter:
    counter.advance(7)
    print("result")
    time.sleep({seconds})
'''
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-c", code])
text = b""
try:
    while more := os.read(fd, 4096):
        text += more
except OSError:
    pass
assert os.waitpid(pid, 0)[1] == 0, text
sys.stdout.buffer.write(text)
"""


@pytest.mark.parametrize(
    ("progress", "seconds", "is_shown"), [(None, 0, False), (None, 1.5, True), (True, 0.3, True), (False, 1.5, False)]
)
def test_progress_on_a_terminal(progress, seconds, is_shown):
    code = TERMINAL.format(progress=progress, seconds=seconds)
    environment = {"TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(EXAMPLES.parent), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "result" in ended.stdout
    assert ("7 records" in ended.stdout) is is_shown
