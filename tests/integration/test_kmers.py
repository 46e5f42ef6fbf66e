"""`virnucpro kmers`: a model with a filter of 9-mers, from directories of labelled genomes."""

import json
import random
import shutil
from pathlib import Path

import pytest
from support.files import contents

from virnucpro.pretrained.registry import load_model
from virnucpro.pretrained.verification import verify_model
from virnucpro.seq.frame_table import stop_free_runs
from virnucpro.seq.kmer_filter import kmer_codes
from virnucpro.seq.strings import Strings


def dna(seed: int, n: int = 400) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=n))


@pytest.fixture
def genomes(tmp_path: Path) -> tuple[Path, Path]:
    """A data directory and one of further sequence: viruses share dna(1), hosts share dna(2), mobile and erv dna(3)."""
    data, more = tmp_path / "data", tmp_path / "more"
    (data / "train").mkdir(parents=True)
    more.mkdir()
    (data / "train" / "virus.fna").write_text(f">v1\n{dna(1)}\n>v2\n{dna(10)}\n>v3\n{dna(1)}{dna(11)}\n")
    (data / "train" / "bacteria.fna").write_text(f">b1\n{dna(2)}\n>b2\n{dna(2)}\n")
    (data / "train" / "viroid.fna").write_text(f">o1\n{dna(1)}\n")
    (more / "mobile.fna").write_text(f">m1\n{dna(2)}\n>m2\n{dna(3)}\n>m3\n{dna(3)}\n")
    (more / "erv.fna").write_text(f">e1\n{dna(3)}\n>e2\n{dna(1)}\n")
    return data, more


def sides_of(model: Path, sequence: str) -> list[int]:
    """Return how many used 9-mers of a sequence a model's filter has on each side."""
    kmers = load_model(str(model)).kmers
    assert kmers is not None
    codes, _ = kmer_codes(stop_free_runs(Strings.of([sequence.encode()]), 20), kmers.layout.one_in)
    found = kmers.find(codes)
    assert len(codes) > 20
    return [int((found == side).sum()) for side in (0, 1)]


def test_a_filter_is_added_to_a_model(lab, call, genomes, tmp_path):
    data, more = genomes
    out = tmp_path / "with"
    code, err = call(["kmers", lab.model, "--data", data, "--extra", more, "-o", out, "--one-in", 1])
    assert code == 0, err
    assert "3 taxa of viruses, 5 of hosts" in err
    assert all(problem is None for _, problem in verify_model(str(out)))
    assert sides_of(out, dna(1))[1] == 0 < sides_of(out, dna(1))[0]
    assert sides_of(out, dna(2))[0] == 0 < sides_of(out, dna(2))[1]
    assert sides_of(out, dna(3)) == [0, 0]  # in two taxa of hosts; three are needed
    before, after = (json.loads((folder / "model.json").read_text()) for folder in (lab.model, out))
    assert before["kmers"] is None
    assert after["kmers"]["sides"] == ["virus", "host"]
    changed = {"kmers", "checksums"}
    assert {k: v for k, v in after.items() if k not in changed} == {k: v for k, v in before.items() if k not in changed}
    for name in ("nucleotide", "protein", "classifier"):
        assert (out / f"{name}.safetensors").read_bytes() == (lab.model / f"{name}.safetensors").read_bytes()


def test_options_choose_the_9_mers(lab, call, genomes, tmp_path):
    data, more = genomes
    args = ["--data", data, "--extra", more, "--one-in", 2, "--host-taxa", 2, "--exclude", "viroid"]
    code, err = call(["kmers", lab.model, *args, "-o", tmp_path / "with"])
    assert code == 0, err
    assert sides_of(tmp_path / "with", dna(3))[1] > 0
    assert sides_of(tmp_path / "with", dna(1)) == [0, 0]  # also in class erv
    assert load_model(str(tmp_path / "with")).kmers.layout.one_in == 2


def test_9_mers_of_neither_side_are_left_out(lab, call, genomes, tmp_path):
    data, more = genomes
    vectors = tmp_path / "vectors.fa"
    vectors.write_text(f">vector\n{dna(1)[:200]}\n")
    args = ["--data", data, "--extra", more, "--one-in", 1]
    for name, further in (("without", []), ("with", ["--neither", vectors])):
        code, err = call(["kmers", lab.model, *args, *further, "-o", tmp_path / name])
        assert code == 0, err
    assert sides_of(tmp_path / "without", dna(1)[:200])[0] > 20
    assert sides_of(tmp_path / "with", dna(1)[:200]) == [0, 0]
    assert sides_of(tmp_path / "with", dna(1)[200:])[0] > 20
    assert sides_of(tmp_path / "with", dna(2)) == sides_of(tmp_path / "without", dna(2))


def test_the_filter_is_the_same_each_time_and_replaces_an_earlier_one(lab, call, genomes, tmp_path):
    data, _ = genomes
    one, two = tmp_path / "one", tmp_path / "two"
    assert call(["kmers", lab.model, "--data", data, "--host-taxa", 2, "-o", one])[0] == 0
    assert call(["kmers", one, "--data", data, "--host-taxa", 2, "-o", two])[0] == 0
    assert contents(one) == contents(two)
    assert call(["kmers", lab.model, "--data", data, "-o", two])[0] != 0
    code, err = call(["kmers", lab.model, "--data", data, "--virus-taxa", 1, "--host-taxa", 2, "-o", two, "--restart"])
    assert code == 0, err
    assert contents(one) != contents(two)


def test_what_goes_wrong_leaves_the_model_as_it_was(lab, call, genomes, tmp_path):
    data, _ = genomes
    model = shutil.copytree(lab.model, tmp_path / "model")
    before = contents(model)
    code, err = call(["kmers", model, "--data", data, "-o", model, "--restart"])
    assert (code, "is an input and would be replaced" in err) == (2, True), err
    code, err = call(["kmers", model, "--data", data, "--host-taxa", 9, "--virus-taxa", 9, "-o", tmp_path / "other"])
    assert (code, "no 9-mer occurs in several taxa" in err) == (2, True), err
    assert contents(model) == before
    assert not (tmp_path / "other" / "model.json").exists()


def test_predict_with_a_filter_gives_the_calls_of_the_model_without(lab, call, genomes, tmp_path):
    """As long as the calibration does not use the sums; the filter itself must not disturb anything."""
    data, _ = genomes
    assert call(["kmers", lab.model, "--data", data, "--host-taxa", 2, "-o", tmp_path / "with"])[0] == 0
    tables = []
    for name, model in (("a", lab.model), ("b", tmp_path / "with")):
        small = ["-t", 1, "--precision", "fp32", "--device", "cpu"]
        assert call(["predict", lab.input, "-o", tmp_path / name, "--model", model, *small])[0] == 0
        tables.append((tmp_path / name / "records.tsv").read_bytes())
    assert tables[0] == tables[1]
