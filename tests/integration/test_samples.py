"""`--sample`, and the hint that reads and contigs are mixed, on the command line."""

import json
import re

import pytest
from support.files import fasta, run_json


@pytest.fixture
def files(lab, tmp_path):
    letters = "ACGTTGCAAC" * 400
    paths = {}
    for name, lengths in (("reads", [150] * 30), ("contigs", [500, 2500, 4000]), ("both", [150] * 120 + [2100] * 12)):
        paths[name] = tmp_path / f"{name}.fa"
        paths[name].write_text(fasta([(f"{name}_{i}", letters[i : i + n]) for i, n in enumerate(lengths)]))
    return paths


def test_a_sample_has_the_name_that_is_given(lab, call, files, tmp_path):
    out = tmp_path / "s 1" / "out"
    out.parent.mkdir()
    assert call(lab.arguments(out, source=files["reads"]))[0] == 0
    assert run_json(out)["sample"] == "s 1"
    for words in (["--sample", "gut 7"], ["--sample=-x"]):
        assert call(lab.arguments(out, "--restart", *words, source=files["reads"]))[0] == 0
        name = words[-1].removeprefix("--sample=")
        assert run_json(out)["sample"] == name
        assert f"<title>virnucpro: {name}</title>" in (out / "report.html").read_text()
        for file in ("virnucpro_mqc.json", "virnucpro_composition_mqc.json"):
            assert list(json.loads((out / file).read_text())["data"]) == [name]


def test_a_resumed_run_keeps_its_name(lab, call, files, tmp_path):
    """Also a stopped one, whose command is repeated without the name."""
    out = tmp_path / "out"
    assert call(lab.arguments(out, "--sample", "gut 7", source=files["reads"]))[0] == 0
    assert call(lab.arguments(out, "--resume", source=files["reads"]))[0] == 0
    assert run_json(out)["sample"] == "gut 7"
    (out / "run.json").write_text(json.dumps(run_json(out) | {"status": "running"}))
    assert call(lab.arguments(out, "--resume", source=files["reads"]))[0] == 0
    assert (run_json(out)["status"], run_json(out)["sample"]) == ("complete", "gut 7")


def test_merge_takes_a_name_too(lab, call, tmp_path):
    shards = [tmp_path / f"shard_{number}" for number in (1, 2)]
    for number, shard in enumerate(shards, start=1):
        assert call(lab.arguments(shard, "--shard", f"{number}/2"))[0] == 0
    for words, name in (([], "soil"), (["--sample", "lake"], "lake")):
        assert call(["merge", *map(str, shards), "-o", str(tmp_path / "out"), "--restart", *words])[0] == 0
        assert run_json(tmp_path / "out")["sample"] == name
    code, err = call(["merge", *map(str, shards), "-o", str(tmp_path / "other"), "--sample", "a/b"])
    assert (code, "--sample must be a name" in err) == (2, True)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\nb", "<b>", "x" * 81], ids=ascii)
def test_other_names_are_refused(lab, call, files, tmp_path, name):
    code, err = call(lab.arguments(tmp_path / "out", "--sample", name, source=files["reads"]))
    assert (code, "--sample must be a name of at most 80 characters" in err) == (2, True), err
    assert not (tmp_path / "out").exists()


def test_a_table_on_stdout_has_no_name(lab, call, files):
    code, err = call(lab.arguments("-", "--sample", "s1", source=files["reads"]))
    assert (code, "--sample needs an output directory" in err) == (2, True)


def test_reads_and_contigs_give_one_line_of_warning(lab, call, files, tmp_path):
    arguments = lab.arguments(tmp_path / "out", files["contigs"], source=files["reads"])
    (warning,) = re.findall("WARNING.*", call(arguments)[1])
    assert f"{files['reads']} has short reads and {files['contigs']} has contigs" in warning
    (warning,) = re.findall("WARNING.*", call(lab.arguments(tmp_path / "both", source=files["both"]))[1])
    assert "the input has 120 records of 150 nt and 12 of 2000 nt or more" in warning
    assert "WARNING" not in call(lab.arguments(tmp_path / "one", source=files["contigs"]))[1]
