"""A run in shards, merged, has the bytes of a run in one piece; what is not all of one run is refused."""

import json
import shutil

import pytest
from support.files import run_json

N = 4


@pytest.fixture(scope="module")
def shards(lab):
    """Four shards of a run."""
    folders = [lab.folder / f"shard_{number}" for number in range(1, N + 1)]
    running = [lab.start(folder, "--shard", f"{i}/{N}") for i, folder in enumerate(folders, start=1)]
    for process in running:
        code, err = lab.ended(process)
        assert code == 0, err
    assert [len(lab.units_of(folder)) for folder in folders] == [19, 19, 19, 18]
    return folders


def merge(call, folders, output, *more):
    return call([str(argument) for argument in ("merge", *folders, "-o", output, *more)])


def test_merged_shards_are_the_run(lab, call, shards, tmp_path):
    output = tmp_path / "out"
    assert merge(call, [shards[i] for i in (2, 0, 3, 1)], output) == (
        0,
        f"virnucpro: 300 records of 4 shards; tables and report.html are in {output}\n",
    )
    assert lab.tables(output) == lab.expected
    whole, found = run_json(lab.folder / "unbroken"), run_json(output)
    assert {path.name for path in output.iterdir()} == {*lab.expected, *lab.reports(output), "run.json"}
    for entry in ("status", "fingerprint", "counts", "units", "model", "options"):
        assert found[entry] == whole[entry]
    assert all(len(lab.units_of(folder)) >= 18 for folder in shards)  # they stay
    assert call(lab.arguments(output, "--resume"))[1].endswith("is already complete\n")
    code, err = merge(call, shards, output)
    assert (code, "status is complete" in err) == (1, True)
    assert merge(call, shards, output, "--restart")[0] == 0
    assert lab.tables(output) == lab.expected


def test_shards_of_a_small_input_are_even(lab, call, tmp_path):
    arguments = [word for word in lab.arguments(tmp_path / "out") if word not in ("--unit-records", str(lab.unit))]
    records = []
    for number in range(1, 4):
        given = [*arguments, "--shard", f"{number}/3"]
        given[given.index("-o") + 1] = str(tmp_path / f"shard_{number}")
        assert call(given)[0] == 0
        records.append(run_json(tmp_path / f"shard_{number}")["counts"]["records"])
    assert sum(records) == 300
    assert max(records) - min(records) <= 32  # in one unit of the usual size they would be all in one shard
    assert merge(call, [tmp_path / f"shard_{number}" for number in (1, 2, 3)], tmp_path / "out")[0] == 0
    assert lab.tables(tmp_path / "out") == lab.expected
    assert call([*arguments, "--resume"])[1].endswith("is already complete\n")  # as if there had been no shards


def test_missing_doubled_and_strange_shards_are_refused(lab, call, shards, tmp_path):
    output = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    copy = shutil.copytree(shards[1], tmp_path / "copy")
    other = tmp_path / "other"
    assert call(lab.arguments(other, "--shard", f"4/{N}", "--min-score", 0.9))[0] == 0
    fewer = tmp_path / "fewer"
    assert call(lab.arguments(fewer, "--shard", "2/3"))[0] == 0
    for folders, message in (
        ([shards[0], shards[3]], "2 of 4 shards are missing: 2/4, 3/4"),
        ([*shards, copy], f"{shards[1]} and {copy} are both shard 2/4"),
        ([*shards[:3], other], "--min-score was 0.5 and is 0.9"),
        ([shards[0], fewer], "number of shards was 4 and is 3"),
        ([*shards, lab.folder / "unbroken"], "holds a whole run, not a shard"),
        ([*shards[:3], tmp_path / "empty"], "holds no run"),
    ):
        code, err = merge(call, folders, output)
        assert (code, message in err) == (2, True), err
        assert not output.exists()
    code, err = merge(call, shards, shards[0], "--restart")
    assert (code, "is a shard and would be replaced" in err) == (2, True)
    assert len(lab.units_of(shards[0])) == 19


def test_a_shard_that_is_not_whole_is_refused_and_goes_on(lab, call, shards, tmp_path):
    output, half = tmp_path / "out", shutil.copytree(shards[2], tmp_path / "half")
    state = run_json(half)
    (half / "run.json").write_text(json.dumps({**state, "status": "running"}))
    folders = [*shards[:2], half, shards[3]]
    code, err = merge(call, folders, output)
    assert (code, "is shard 3/4 and its status is running; run it again with --resume" in err) == (1, True)
    (half / "run.json").write_text(json.dumps(state))
    units = lab.units_of(half)
    units[1].unlink()
    shutil.copy(units[3], units[2])
    for message in ("unit_000006 cannot be read", "unit_000006 was damaged"):
        code, err = merge(call, folders, output)
        assert (code, message in err, "run it again with --resume" in err) == (1, True, True)
        assert list(output.iterdir()) == []
        shutil.copy(units[4], units[1])  # now it is there, and another unit's
    code, err = call(lab.arguments(half, "--resume", "--shard", f"3/{N}"))
    assert (code, "17 of 19 units were done before" in err) == (0, True)
    assert merge(call, folders, output)[0] == 0
    assert lab.tables(output) == lab.expected


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--shard", "0/4"], 2, "a shard must be I/N with I from 1 to N, such as 2/4, got '0/4'"),
        (["--shard", "5/4"], 2, "got '5/4'"),
        (["--shard", "half"], 2, "got 'half'"),
        (["--workers", 2], 2, "need --engine ray"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(lab, call, tmp_path, more, code, message):
    found, err = call(lab.arguments(tmp_path / "out", *more))
    assert (found, message in " ".join(err.replace("│", " ").split())) == (code, True), err


def test_another_shard_is_not_gone_on_with(lab, call, shards):
    code, err = call(lab.arguments(shards[0], "--resume", "--shard", f"2/{N}"))
    assert (code, "--shard was 1/4 and is 2/4" in err) == (2, True)
    code, err = call(lab.arguments(shards[0], "--resume"))
    assert (code, "--shard was 1/4 and is None" in err) == (2, True)
