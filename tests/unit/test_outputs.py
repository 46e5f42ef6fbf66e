"""The files that a run writes on request: names, compression, and that none appears before all are whole."""

import random

import pytest
from support.files import contents
from xopen import xopen

from virnucpro.errors import ConfigError, OutputError
from virnucpro.run.outputs import COMPRESSIONS, Outputs, every_name, find_output

EVERYTHING = Outputs(other=True, viral_ids=True, compress="zst")
NAMES = ["records.tsv", "viral.fasta", "viral_ids.txt"]


@pytest.mark.parametrize("outputs", [Outputs(), EVERYTHING, Outputs(other=True), Outputs(compress="gz")], ids=str)
def test_a_fingerprint_gives_back_what_was_asked(outputs):
    assert Outputs.of({"--paired": True, **outputs.named()}) == outputs
    assert Outputs().named() == {}


@pytest.mark.parametrize("name", ["--write-other", "--viral-ids", "--compress"])
def test_a_damaged_fingerprint_is_an_error(name):
    with pytest.raises(ValueError, match=f"{name}.* of the fingerprint is"):
        Outputs.of({name: 7})


def test_another_compression_is_refused():
    with pytest.raises(ConfigError, match="compress must be gz or zst, got 'bz2'"):
        Outputs(compress="bz2")


def test_names_of_files():
    names = ["records.tsv", "other_2.fastq", "viral_ids.txt", "prediction_results.txt"]
    written = [EVERYTHING.file_name(name) for name in names]
    assert written == ["records.tsv.zst", "other_2.fastq.zst", "viral_ids.txt", "prediction_results.txt"]
    assert [Outputs().file_name(name) for name in names] == names
    assert {*names, *written} < set(every_name())
    assert len(every_name()) == len(set(every_name()))


@pytest.mark.parametrize("compress", [None, *COMPRESSIONS])
def test_bytes_do_not_depend_on_how_they_are_written(tmp_path, compress):
    """Three megabytes, in one piece and in many."""
    draw = random.Random(1)
    text = "".join(draw.choices("ACGT\n", k=3 << 20)).encode()
    outputs, found = Outputs(compress=compress), []
    for folder, sizes in (("one", [len(text)]), ("many", [1, 7, 40_000, 9000, 1 << 20, 3, 700_000, 3 << 20])):
        (tmp_path / folder).mkdir()
        with outputs.written(tmp_path / folder, NAMES) as (files, complete):
            place = 0
            for size in sizes:
                for name in NAMES:
                    files[name].write(text[place : place + size])
                place += size
            complete()
        found.append(contents(tmp_path / folder))
    assert found[0] == found[1]
    assert set(found[0]) == set(map(outputs.file_name, NAMES))
    for name in NAMES:
        with xopen(find_output(tmp_path / "one", name), "rb") as file:
            assert file.read() == text


@pytest.mark.parametrize("compress", [None, *COMPRESSIONS])
def test_a_failure_leaves_nothing(tmp_path, compress):
    def fail():
        with Outputs(compress=compress).written(tmp_path, NAMES) as (files, _):
            files["records.tsv"].write(b"a\n")
            raise OSError("no room")

    with pytest.raises(OutputError, match="cannot be written: no room"):
        fail()
    assert contents(tmp_path) == {}


def test_a_plain_file_is_found_before_a_compressed_one(tmp_path):
    assert find_output(tmp_path, "records.tsv") == tmp_path / "records.tsv"
    for ending in (".zst", ".gz", ""):
        (tmp_path / f"records.tsv{ending}").touch()
        assert find_output(tmp_path, "records.tsv").name == f"records.tsv{ending}"
