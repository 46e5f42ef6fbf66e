"""The name of a sample: what is refused, and what a run without one is called."""

from pathlib import Path

import pytest
from support.report_pages import HOSTILE

from virnucpro.errors import ConfigError
from virnucpro.run.request import Request
from virnucpro.run.sample_name import MAX_LENGTH, check_sample, cleaned, default_sample


@pytest.mark.parametrize("name", ["s1", "patient 7, day 3", "é中", "a.b-c_d+e=f", "-x", "x" * MAX_LENGTH], ids=ascii)
def test_names_are_kept_as_given(name):
    assert check_sample(name) == name
    assert cleaned(name) == name
    assert Request(["reads.fq"], Path("out"), sample=name).sample_name == name


REFUSED = ["", " ", " a", "a ", ".", "..", "a/b", "a\\b", "a\tb", "a\nb", "\u202egnp", "\ufeff", "na\udcefve", "&amp;"]


@pytest.mark.parametrize("name", [*REFUSED, *HOSTILE[:7], "x" * (MAX_LENGTH + 1)], ids=ascii)
def test_names_that_are_paths_markup_or_cannot_be_shown_are_refused(name):
    with pytest.raises(ConfigError, match="sample must be a name of at most 80 characters") as raised:
        Request(["reads.fq"], Path("out"), sample=name)
    assert raised.value.fields == ("sample",)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.strip()], ids=range(len(HOSTILE)))
def test_a_file_of_any_name_gives_a_name_that_is_accepted(name):
    found = default_sample([f"/data/{name.replace('/', '')}.fq"], Path("/home/me/s1"))
    assert check_sample(found) == found


@pytest.mark.parametrize(
    ("inputs", "output", "name"),
    [
        (["/x/s1.fastq.gz"], "out", "s1"),
        (["a.b.fa.zst"], "out", "a.b"),
        (["S.FQ"], "out", "S"),
        (["s1_R1_001.fastq.gz"], "out", "s1"),
        (["s1.R1.fq"], "out", "s1"),
        (["s1_R2.fq"], "out", "s1_R2"),  # run apart from its mates, it does not get their name
        (["patient_1.fa"], "out", "patient_1"),  # the number may be that of the patient
        (["SRR12_1.fastq", "SRR12_2.fastq"], "out", "SRR12"),
        (["d/s1_R1.fq", "d/s1_R2.fq"], "out", "s1"),
        (["a.fq", "b.fq"], "/w/both", "both"),
        (["reads.fq"], "/w/s1", "s1"),
        (["/d/Sample.fa.gz"], "/w/s1", "s1"),
        (["contigs.fasta"], "/w/s1/out", "s1"),
        (["R1.fq.gz", "R2.fq.gz"], "/w/s1/results", "s1"),
        (["reads_1.fq", "reads_2.fq"], "/w/s1/virnucpro/out", "s1"),
        (["final.contigs.fa"], "/w/megahit_s1", "megahit_s1"),
        (["reads.fq"], "/w/samples/reads", "reads"),
        ([None], "/w/s1", "s1"),
        ([None, "s2.fq"], "/w/s1", "s1"),
        ([], "/w/s1", "s1"),
        (["reads.fq"], "/out", "out"),  # there is no better one
        ([None], "/", "virnucpro"),
        ([".fa"], "/w/s1", ".fa"),
        (["/x/a<b>.fq"], "out", "a_b_"),
    ],
    ids=str,
)
def test_the_name_of_a_run_without_one(inputs, output, name):
    assert default_sample(inputs, Path(output)) == name


def test_a_stream_has_the_name_of_the_directory(tmp_path):
    (tmp_path / "s1.fq").touch()
    assert Request([tmp_path / "s1.fq"], tmp_path / "soil" / "out").sample_name == "s1"
    for stream in ("-", "/dev/null"):
        assert Request([stream], tmp_path / "soil" / "out").sample_name == "soil"
