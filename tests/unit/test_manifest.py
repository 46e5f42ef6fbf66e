"""run.json: what is written is read back, and what no run of ours wrote is found out."""

import json
from collections import Counter
from dataclasses import asdict, replace

import pytest

from virnucpro.config import Options
from virnucpro.run.input_files import FileRecords
from virnucpro.run.manifest import (
    COMPLETE,
    EmbedOutcome,
    Manifest,
    PredictOutcome,
    RunnerReport,
    UnitCounts,
    WorkerCounts,
    read_manifest,
    write_manifest,
)
from virnucpro.run.provenance import InputFile, are_untouched
from virnucpro.run.sample_report import FileReport, SampleReport
from virnucpro.run.setup import CallingModel, EmbedSetup, ModelFiles, PredictSetup
from virnucpro.run.tally import EmbedTally, Tally
from virnucpro.run.units import Content

INPUTS = (InputFile("reads.fq", 12, "ab" * 32, 5, 6, 7), InputFile("-"))
CONTENT = Content(3, "cd" * 32, True, (FileRecords("a/x.fq", 2), FileRecords("na\udcefve.fq", 1)))
WORKERS = RunnerReport({"batches_halved_for_memory": 1}, (WorkerCounts("node-1", 2, 3, 4, 5.5, 6.5),))
PREDICT = Manifest(
    COMPLETE,
    {"--paired": True, "--legacy-output": False, "--shard": "1/2"},
    command=("virnucpro", "predict"),
    inputs=INPUTS,
    setup=PredictSetup(
        CallingModel("tiny", "/models/tiny", {"a": "12"}, {"from": "x"}, 500, "34"),
        Options(device="cuda:1", min_length=75, min_score=0.5),
        {"nucleotide": "sdpa", "protein": "sdpa"},
        {"cpus": 2, "gpu": None},
        {"python": "3.11.7"},
        CallingModel("small", "/models/small", {"b": "56"}, None, 500, "78"),
    ),
    content=CONTENT,
    outcome=PredictOutcome(
        Tally(Counter(ok=2, empty=1), 1, 2, 4, 300, 1, 0, 5),
        1,
        0.25,
        SampleReport({"bacteria": 0.75, "fungi": 0.25}, [0.0, 0.5], "sample"),
        UnitCounts(2, 1),
        WORKERS,
        {"load": 0.5},
        (FileReport("a/x.fq", 0.5, {"bacteria": 1.0}, [0.25, 0.75]), FileReport("na\udcefve.fq")),
    ),
    shards=("part_1", "part_2"),
    sample="gut 7",
)
EMBED = Manifest(
    COMPLETE,
    {"layer": None},
    inputs=INPUTS,
    setup=EmbedSetup("protein", None, True, 1022, "fp32", "cpu", True, "sdpa", 320, ModelFiles("esm", "/models/esm")),
    content=CONTENT,
    outcome=EmbedOutcome(EmbedTally(7, 3), UnitCounts(2, 0), 16, 5, RunnerReport({})),
)


@pytest.mark.parametrize("manifest", [PREDICT, EMBED, Manifest("running", {})], ids=["predict", "embed", "begun"])
def test_what_is_written_is_read(tmp_path, manifest):
    write_manifest(tmp_path / "run.json", manifest)
    found = read_manifest(tmp_path / "run.json")
    assert replace(found, inputs=found.inputs or None) == manifest
    assert dict(found.damaged) == {}


def test_names_of_the_fingerprint():
    assert (PREDICT.shard, PREDICT.in_pairs, PREDICT.legacy) == ("1/2", True, False)
    assert EMBED.shard is None
    for fingerprint in ({"--paired": 1}, {}):
        with pytest.raises(ValueError, match="--paired"):
            _ = Manifest("running", fingerprint).in_pairs
    with pytest.raises(ValueError, match="--shard"):
        _ = Manifest("running", {"--shard": 3}).shard


PARTS = {
    "inputs": ("inputs", [5, [{"path": 5}], [{"bytes": 1}]]),
    "model": ("setup", [None, {"name": 5}, {"directory": "x"}]),
    "options": ("setup", [{"device": 5}, {"min_score": 2}, {"min_length": True}]),
    "content": ("content", [5, {"records": True, "sha256": "x"}, {"records": 1}]),
    "counts": ("outcome", [5, {}, {"status": {"ok": "many"}}]),
    "units": ("outcome", [None, {"all": True, "kept": 0}, {"all": -1, "kept": 0}]),
    "seconds": ("outcome", [{"load": "x"}]),
    "recovered": ("outcome", [[], {"x": 0.5}]),
    "shards": ("shards", [5, [5]]),
}


@pytest.mark.parametrize("key", PARTS)
def test_a_damaged_part_costs_no_other(tmp_path, key):
    part, values = PARTS[key]
    for value in values:
        (tmp_path / "run.json").write_text(json.dumps({**PREDICT.to_json(), key: value}))
        found = read_manifest(tmp_path / "run.json")
        assert getattr(found, part) is None, value
        assert len(found.damaged) == 1
        assert replace(found, **{part: getattr(PREDICT, part)}, damaged={}) == PREDICT


def test_fields_of_a_later_version_are_left_and_those_with_a_default_may_be_missing(tmp_path):
    values = json.loads(json.dumps(PREDICT.to_json()))
    values["new"] = values["model"]["new"] = values["inputs"][0]["new"] = 1
    del values["hardware"], values["options"]["packing"], values["inputs"][0]["inode"]
    (tmp_path / "run.json").write_text(json.dumps(values))
    found = read_manifest(tmp_path / "run.json")
    assert dict(found.damaged) == {}
    assert found.setup == replace(PREDICT.setup, hardware={})
    assert found.inputs[0] == replace(INPUTS[0], inode=None)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "[" * 99_999, "{}", '{"status": 5, "fingerprint": {}}', '{"status": "running"}', "\x00", '{"a": NaN'],
    ids=["empty", "list", "deep", "object", "status", "no fingerprint", "binary", "cut"],
)
def test_a_foreign_file_is_an_error(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError):
        read_manifest(tmp_path / "run.json")
    with pytest.raises(OSError, match="No such file"):
        read_manifest(tmp_path / "none.json")


def test_an_input_is_known_again_until_it_is_written_to(tmp_path, caplog):
    path = tmp_path / "in.fa"
    path.write_text(">a\nACGT\n")
    before = InputFile.describe(str(path))
    assert asdict(before)["bytes"] == 8
    assert before.after_reading() == InputFile.describe(str(path)) == before
    assert are_untouched([before], [before])
    assert not are_untouched(None, [before])
    assert not are_untouched([before, before], [before])
    path.write_text(">a\nACGG\n")
    assert not are_untouched([before], [InputFile.describe(str(path))])
    after = before.after_reading()
    assert f"{path} changed while it was read" in caplog.text
    assert (after.inode, after.sha256_of_ends) == (None, before.sha256_of_ends)
    assert not are_untouched([after], [after])
    assert InputFile.describe("-").after_reading() == InputFile("-")
