"""A run that is resumed or merged compares what it has read with what is given now."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.files import contents, run_json

NOTHING_LEFT = "is already complete\n"


def piped(lab, data, output, *more):
    """Run `predict -` on bytes."""
    process = lab.start(output, *more, source="-", stdin=subprocess.PIPE)
    _, err = process.communicate(data)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, err.decode()


def fastq(number=40, quality="I", length=150):
    """Return reads, all with one quality."""
    return "".join(f"@q{i}\n{('ACGGCTAAGCTTGCA' * 20)[i : i + length]}\n+\n{quality * length}\n" for i in range(number))


@pytest.fixture(scope="module")
def streamed(lab):
    """A complete run of a stream."""
    output = lab.folder / "streamed"
    assert piped(lab, lab.input.read_bytes(), output)[0] == 0
    return output


def variants(lab):
    """Return other inputs: one base changed in the middle, one record less, one more, two exchanged, none."""
    records = lab.make_records(300)
    header, sequence = records[151]
    changed = sequence[:40] + ("A" if sequence[40] != "A" else "C") + sequence[41:]
    assert len(sequence) > 40
    return {
        "a base": [*records[:151], (header, changed), *records[152:]],
        "shorter": records[:-1],
        "longer": [*records, ("more", "ACGT" * 30)],
        "exchanged": [*records[:149], records[151], *records[150:151], records[149], *records[152:]],
        "none": [],
    }


@pytest.mark.parametrize("other", ["a base", "shorter", "longer", "exchanged", "none"])
def test_a_complete_run_of_another_stream_is_not_taken_for_this_one(lab, streamed, tmp_path, other):
    output = shutil.copytree(streamed, tmp_path / "out")
    before = contents(output)
    code, err = piped(lab, lab.fasta(variants(lab)[other]).encode(), output, "--resume")
    assert (code, "complete" in err) == (2, False), err
    assert "SHA-256 of all records was" in err
    assert ("number of records was 300" in err) == (other in ("shorter", "longer", "none"))
    assert contents(output) == before


def test_a_complete_run_of_the_same_stream_is_complete(lab, streamed, tmp_path):
    output = shutil.copytree(streamed, tmp_path / "out")
    before = contents(output)
    code, err = piped(lab, lab.input.read_bytes(), output, "--resume")
    assert (code, err.endswith(NOTHING_LEFT)) == (0, True), err
    assert contents(output) == before


@pytest.fixture
def large(lab, tmp_path):
    """A file with a middle that no digest of its ends covers, and a complete run of it."""
    path, output = tmp_path / "large.fa", tmp_path / "large"
    text = lab.fasta([(f"r{i}", "") for i in range(30_000)])
    middle = lab.fasta([("middle", "ACGGCTAAGC" * 12)])
    path.write_text(text[: len(text) // 2].rpartition(">")[0] + middle + text[len(text) // 2 :].partition("\n")[2])
    assert path.stat().st_size > 3 << 16
    code, err = lab.ended(lab.start(output, "--unit-records", 10_000, source=path))
    assert code == 0, err
    return path, output, ["--unit-records", 10_000, "--resume"]


def test_a_file_that_changed_in_its_middle_is_noticed(lab, large, call):
    path, output, more = large
    before, status = contents(output), path.stat()
    text = path.read_text()
    path.write_text(text.replace("ACGGCTAAGC", "ACGGCTAAGT", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same inode, size, ends and time of modification
    code, err = call(lab.arguments(output, *more, source=path))
    assert (code, "SHA-256 of all records was" in err, "complete" in err) == (2, True, False), err
    path.write_text(text)  # as it was, but for its times
    code, err = call(lab.arguments(output, *more, source=path))
    assert (code, "reading the input, to compare it" in err, err.endswith(NOTHING_LEFT)) == (0, True, True), err
    assert contents(output) == before


def test_a_copy_is_read_and_an_untouched_file_is_not(lab, large, call, tmp_path):
    path, output, more = large
    code, err = call(lab.arguments(output, *more, source=path))
    assert (code, "reading the input" in err, err.endswith(NOTHING_LEFT)) == (0, False, True), err
    copy = shutil.copy2(path, tmp_path / "copy.fa")
    code, err = call(lab.arguments(output, *more, source=copy))
    assert (code, "reading the input" in err, err.endswith(NOTHING_LEFT)) == (0, True, True), err


def test_a_run_that_does_not_say_what_it_read_is_not_called_complete(lab, call, tmp_path):
    output = shutil.copytree(lab.folder / "unbroken", tmp_path / "out")
    for damage in (None, "x", {"records": True, "sha256": 5}):
        state = run_json(lab.folder / "unbroken")
        state["content"] = damage
        if damage is None:
            del state["content"]
        (output / "run.json").write_text(json.dumps(state))
        code, err = call(lab.arguments(output, "--resume"))
        assert (code, "run.json does not say which records it read" in err) == (2, True), err
        assert lab.tables(output) == lab.expected


def test_qualities_and_compression(lab, call, tmp_path):
    """Qualities are in viral.fastq, so other ones are another input; how a file is compressed is not."""
    path, output = tmp_path / "reads.fq", tmp_path / "out"
    every = ["--min-score", 0]
    path.write_text(fastq())
    assert call(lab.arguments(output, *every, source=path))[0] == 0
    assert (output / "viral.fastq").read_text() == fastq()
    assert run_json(output)["content"]["fastq"]
    stream = tmp_path / "stream"
    assert piped(lab, gzip.compress(fastq().encode()), stream, *every)[0] == 0
    assert run_json(stream)["content"] == run_json(output)["content"]
    for level, quality, code in ((9, "I", 0), (1, "I", 0), (9, "H", 2)):
        data = gzip.compress(fastq(quality=quality).encode(), level)
        found, err = piped(lab, data, stream, *every, "--resume")
        assert (found, err.endswith(NOTHING_LEFT)) == (code, code == 0), err


def test_pairs_are_compared(lab, tmp_path, call):
    for number in (1, 2):
        (tmp_path / f"{number}.fa").write_text(lab.fasta([(f"p{i}/{number}", "ACGGCTAAGC" * 9) for i in range(9)]))
    output = tmp_path / "out"
    command = lab.arguments(output, tmp_path / "2.fa", "--paired", source=tmp_path / "1.fa")
    assert call(command)[0] == 0
    text = (tmp_path / "2.fa").read_text()
    for changed, code in ((text, 0), (text.replace("ACGGCTAAGC", "ACGGCTAAGT"), 2)):
        (tmp_path / "2.fa").write_text(changed)
        state = run_json(output)
        state["fingerprint"]["SHA-256 of the ends of input 2"] = None  # as if only the middle of a long file differed
        state["fingerprint"].update(ends(lab, call, tmp_path, command))
        (output / "run.json").write_text(json.dumps(state))
        found, err = call([*command, "--resume"])
        assert (found, err.endswith(NOTHING_LEFT)) == (code, code == 0), err


def ends(lab, call, folder, command):
    """Return the digests of the ends of the files as they are now."""
    fresh = folder / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    assert call([str(fresh) if word == str(folder / "out") else word for word in command])[0] == 0
    return {name: value for name, value in run_json(fresh)["fingerprint"].items() if "ends" in name}


def test_an_input_that_changes_while_it_is_read_is_named_and_read_again(lab, tmp_path, call):
    """The second file is a pipe that stays open while the first, which was read, changes."""
    first, pipe, output = tmp_path / "first.fa", tmp_path / "pipe", tmp_path / "out"
    shutil.copy(lab.input, first)
    os.mkfifo(pipe)
    process = lab.start(output, pipe, source=first)
    with pipe.open("w") as end:
        lab.wait_for(lambda: len(lab.units_of(output)) > 20, process)
        first.write_text(first.read_text().replace("read_0", "READ_0"))
        end.write(">last\nACGT\n")
    code, err = lab.ended(process)
    assert (code, f"{first} changed while it was read" in err) == (0, True), err
    assert run_json(output)["inputs"][0]["inode"] is None
    assert (output / "records.tsv").read_bytes().startswith(lab.expected["records.tsv"][:60])


# Shards and merge.


def test_shards_of_two_streams_are_not_merged(lab, call, tmp_path):
    parts = [tmp_path / "1", tmp_path / "2"]
    other = lab.fasta(variants(lab)["a base"]).encode()
    for shard, (part, data) in enumerate(zip(parts, (lab.input.read_bytes(), other), strict=True), start=1):
        assert piped(lab, data, part, "--shard", f"{shard}/2")[0] == 0
    output = tmp_path / "out"
    code, err = call(["merge", *map(str, parts), "-o", str(output)])
    assert (code, "SHA-256 of all records was" in err, output.exists()) == (2, True, False), err
    before = contents(parts[1])
    code, err = piped(lab, lab.input.read_bytes(), parts[1], "--shard", "2/2", "--resume")
    assert (code, "the earlier run" in err) == (2, True), err
    assert contents(parts[1]) == before
    assert piped(lab, lab.input.read_bytes(), parts[1], "--shard", "2/2", "--restart")[0] == 0
    assert call(["merge", *map(str, parts), "-o", str(output)])[0] == 0
    assert lab.tables(output) == lab.expected


def test_units_that_are_not_of_the_input_are_not_merged(lab, call, tmp_path):
    """As where a unit of another run, whole and of the right number, was copied in."""
    part, strange, output = tmp_path / "part", tmp_path / "strange", tmp_path / "out"
    (tmp_path / "other.fa").write_text(lab.fasta(variants(lab)["a base"]))
    assert call(lab.arguments(part, "--shard", "1/1"))[0] == 0
    assert call(lab.arguments(strange, "--shard", "1/1", source=tmp_path / "other.fa"))[0] == 0
    shutil.copy(lab.units_of(strange)[37], lab.units_of(part)[37])
    code, err = call(["merge", str(part), "-o", str(output)])
    assert (code, "other records than the input that was read" in err) == (1, True), err
    assert list(output.iterdir()) == []
    state = run_json(part)
    del state["content"]
    (part / "run.json").write_text(json.dumps(state))
    code, err = call(["merge", str(part), "-o", str(output)])
    assert (code, "did not record what it read; run it again with --resume" in err) == (1, True), err
    assert call(lab.arguments(part, "--shard", "1/1", "--resume"))[0] == 0
    assert call(["merge", str(part), "-o", str(output)])[0] == 0
    assert lab.tables(output) == lab.expected


DAMAGES = {
    "cut": lambda text: text[: len(text) // 2],
    "no JSON": lambda text: "\x00\xff",
    "deep": lambda text: "[" * 99_999,
    "a list": lambda text: "[1]",
    "empty": lambda text: "",
}
ENTRIES = {
    "units": [None, [], {"all": "75", "kept": 0}, {"all": -1, "kept": 0}, {"all": True, "kept": 0}, {}],
    "counts": [None, {}, {"status": {"ok": "many"}}, 5],
    "seconds": [None, {"load": "x"}, []],
    "recovered": [None, "x"],
    "content": [None, 7, {"records": "x"}],
    "fingerprint": [
        None,
        [],
        {"--shard": 3},
        {"--shard": "1/1"},
        {"--shard": "one"},
        {"--shard": "1/1", "--paired": 1},
    ],
    "status": [None, 5, {"x": "y"}],
}


@pytest.fixture(scope="module")
def part(lab):
    output = lab.folder / "one_of_one"
    code, err = lab.ended(lab.start(output, "--shard", "1/1"))
    assert code == 0, err
    return output


@pytest.mark.parametrize("damage", [*DAMAGES, *ENTRIES])
def test_a_damaged_run_json_gives_one_line(lab, part, call, tmp_path, damage):
    folder = shutil.copytree(part, tmp_path / "part")
    text = (folder / "run.json").read_text()
    texts = [DAMAGES[damage](text)] if damage in DAMAGES else []
    for value in ENTRIES.get(damage, []):
        texts.append(json.dumps({**json.loads(text), damage: value}))
    for changed in texts:
        (folder / "run.json").write_bytes(changed.encode("latin-1"))
        code, err = call(["merge", str(folder), "-o", str(tmp_path / "out")])
        assert code in (1, 2), (changed[:200], err)
        assert (err.count("\n"), err.startswith("virnucpro: error: "), str(folder) in err) == (1, True, True), err
        assert not (tmp_path / "out").exists()


def test_a_run_json_that_tells_of_far_too_many_units_or_shards(lab, part, call, tmp_path):
    folder = shutil.copytree(part, tmp_path / "part")
    state = run_json(folder)
    state["units"]["all"] = 10**15
    (folder / "run.json").write_text(json.dumps(state))
    code, err = call(["merge", str(folder), "-o", str(tmp_path / "out")])
    assert (code, "unit_000075 cannot be read" in err) == (1, True), err
    state["fingerprint"]["--shard"] = f"1/{10**15}"
    (folder / "run.json").write_text(json.dumps(state))
    code, err = call(["merge", str(folder), "-o", str(tmp_path / "out")])
    assert (code, f"shards are missing: 2/{10**15}, " in err, len(err) < 2000) == (2, True, True), err


def test_paths_beyond_utf8_are_read_back(lab, tmp_path):
    """They stand in run.json as bytes: in the command, the inputs, the model's directory and the shards."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd_\xff\xe9"))
    odd.mkdir()
    path = Path(shutil.copy(lab.input, odd / "input.fa"))
    output = odd / "out"
    assert lab.ended(lab.start(output, source=path))[0] == 0
    assert b"odd_\xff\xe9" in (output / "run.json").read_bytes()
    code, err = lab.ended(lab.start(output, "--resume", source=path))
    assert (code, err.endswith(NOTHING_LEFT)) == (0, True), err
    code, err = lab.ended(lab.start(output, source=path))
    assert (code, "holds a run whose status is complete" in err) == (1, True), err
    assert lab.ended(lab.start(odd / "part", "--shard", "1/1", source=path))[0] == 0
    command = [Path(sys.executable).with_name("virnucpro"), "merge", odd / "part", "-o", odd / "merged"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert lab.tables(odd / "merged") == lab.expected
