"""Verdicts of every known tool, from tables in the columns that each writes, and the figures of agreement."""

import pytest

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.train.compare import compare, read_verdicts, summary

OURS = (
    "seq_name\tlength\tprediction\tvirus_score\tstatus\n"
    "a\t9\tvirus\t0.9000\tok\n"
    "b\t9\tother\t0.1\tok\n"
    "c\t9\tNA\tNA\tempty\n"
)
GENOMAD = "seq_name\tchromosome_score\tplasmid_score\tvirus_score\na\t0.1\t0.2\t0.7\nb\t0.5\t0.1\t0.4\n"
SUMMARY = "seq_name\tlength\tvirus_score\tn_hallmarks\ttaxonomy\na|provirus_1_9\t9\t0.9\t1\tViruses\n"
JAEGER = "contig_id\tprediction\tentropy\twindow_summary\na some text\tphage\t0.1\t1V\nb\tbacteria\t0.1\t1n\n"
DEEP = (
    "Sequence Name\tEukaryote\tEukaryoteVirus\tPlasmid\tProkaryote\tProkaryoteVirus\n"
    "a\t0.1\t0.2\t0\t0\t0.7\nb\t1\t0\t0\t0\t0\nc\t0\t0\t0\t0\t0\n"
)
VIRSORTER = (
    "seqname\tdsDNAphage\tmax_score\tmax_score_group\tlength\thallmark\n"
    "a||full\t0.9\t0.9\tdsDNAphage\t9\t1\n"
    "b||0_partial\t1\t1\tx\t9\t0\n"
)
KRAKEN = (
    "C\ta\t10760\t150\t10760:5\nU\tb\t0\t150\t0:5\nC\tc\tEscherichia coli (taxid 562)\t150\t562:5\nC\td\t10239\t9\t1\n"
)
REPORT = (
    " 10.00\t1\t1\tU\t0\tunclassified\n 90.00\t9\t0\tR\t1\troot\n 50.00\t5\t0\tD\t10239\t  Viruses\n"
    " 50.00\t5\t5\tS\t10760\t    Escherichia phage T7\n 40.00\t4\t4\tD\t2\t  Bacteria\n"
    " 40.00\t4\t4\tS\t562\t    Escherichia coli\n"
)


def written(folder, text, name="table.tsv"):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OURS, ("virnucpro", {"a": True, "b": False, "c": None}, False)),
        (GENOMAD, ("geNomad", {"a": True, "b": False}, False)),
        (SUMMARY, ("geNomad", {"a": True}, True)),
        (JAEGER, ("Jaeger", {"a": True, "b": False}, False)),
        (DEEP, ("DeepMicroClass", {"a": True, "b": False, "c": None}, False)),
        (VIRSORTER, ("VirSorter2", {"a": True, "b": True}, True)),
        (KRAKEN, ("Kraken2", {"a": True, "b": False, "c": False, "d": True}, False)),
    ],
    ids=["virnucpro", "geNomad", "geNomad summary", "Jaeger", "DeepMicroClass", "VirSorter2", "Kraken2"],
)
def test_the_verdicts_of_every_tool(tmp_path, text, expected):
    assert read_verdicts(written(tmp_path, text), written(tmp_path, REPORT, "report")) == expected


def test_agreement_and_who_calls_alone(tmp_path):
    mine = {"a": True, "b": True, "c": False, "d": False, "e": None}
    other = {"a": True, "c": True, "d": False}
    tools, calls = compare([("x", mine, False), ("x", other, False), ("lists", {"b": True}, True)])
    assert tools == ["x", "x#2", "lists"]
    assert calls["b"] == [True, None, True]
    assert calls["e"] == [None, None, False]
    lines = [line.split("\t") for line in summary(tools, calls)]
    assert lines[1:4] == [["x", "4", "2", "0"], ["x#2", "3", "2", "1"], ["lists", "5", "1", "0"]]
    # Of a, c, d: both 1, only the second 1, neither 1; agreement 2/3, by chance (1*2 + 2*1)/9.
    assert lines[6] == ["x", "x#2", "1", "0", "1", "1", "0.6667", "0.4000"]
    assert lines[8] == ["x#2", "lists", "0", "2", "0", "1", "0.3333", "0.0000"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--kraken-report"):
        read_verdicts(written(tmp_path, KRAKEN))
    with pytest.raises(InputError, match=r"is of no known tool: its columns are a, b"):
        read_verdicts(written(tmp_path, "a\tb\n1\t2\n"))
    with pytest.raises(InputError, match="the row of 'a' is not what geNomad writes"):
        read_verdicts(written(tmp_path, GENOMAD.replace("0.7", "x")))
    with pytest.raises(MissingInputError, match=r"[Nn]o such file"):
        read_verdicts(tmp_path / "nothing")
