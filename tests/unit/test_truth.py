"""Calls beside the truth: joined by name, figures by length and class, files, tables that are refused."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.evaluate.bootstrap import Bootstrap
from virnucpro.evaluate.metrics import MACRO, Sample
from virnucpro.evaluate.tool_calls import read_calls
from virnucpro.evaluate.truth import evaluate_tables

TRUTH = "seq_name\tclass\ttaxon\nv\tvirus\tx\nb\tbacteria\ty\n"
CALLS = 'seq_name\tlength\tvirus_score\nb\t9\t0.2\nv\t9\t0.7\n"extra\t9\t0.5\n'
GENOMAD = "seq_name\tvirus_score\tn_hallmarks\ttaxonomy\n"


def tables(folder: Path, truth: str = TRUTH, calls: str = CALLS) -> tuple[Path, Path]:
    (folder / "truth.tsv").write_text(truth, encoding="utf-8")
    (folder / "records.tsv").write_text(calls, encoding="utf-8")
    return folder / "truth.tsv", folder / "records.tsv"


def summary(folder: Path, **changes: str):
    found = evaluate_tables(*tables(folder, **changes)).summary()
    return found["n"], found["n_unscored"], found["auroc"]


def test_tables_are_joined_by_name(tmp_path):
    assert summary(tmp_path) == (2, 0, 1.0)
    assert summary(tmp_path, calls=CALLS.replace("0.7", "NA")) == (2, 1, 0.0)


def test_tables_may_be_compressed_and_names_need_not_be_text(tmp_path):
    truth, calls = tables(tmp_path)
    for path in (truth, calls):
        path.write_bytes(gzip.compress(path.read_bytes().replace(b"v\t", b"v\xe9\t")))
    assert evaluate_tables(truth, calls).summary()["auroc"] == 1.0


def test_who_lists_viruses_only_has_no_score_for_the_others(tmp_path):
    assert summary(tmp_path, calls=GENOMAD + "v\t0.8\t1\tViruses\n") == (2, 1, 1.0)
    with pytest.raises(InputError, match="no row for 2 sequences"):
        summary(tmp_path, calls=GENOMAD + "other\t0.8\t1\tViruses\n")


LENGTHS = {"v1": 100, "v2": 150, "v3": 299, "v4": 300, "b1": 149, "b2": 150, "f1": 200, "f2": 6000}
SCORES = {"v1": 0.9, "v2": 0.4, "v3": 0.8, "v4": 0.7, "b1": 0.1, "b2": 0.5, "f1": 0.3, "f2": 0.2}
NAMES = {"v": "virus", "b": "bacteria", "f": "fungi"}


@pytest.fixture
def evaluated(tmp_path):
    truth = "seq_name\tclass\tlength\n" + "".join(f"{n}\t{NAMES[n[0]]}\t{size}\n" for n, size in LENGTHS.items())
    calls = "seq_name\tvirus_score\n" + "".join(f"{n}\t{score}\n" for n, score in SCORES.items())
    return evaluate_tables(*tables(tmp_path, truth, calls), Bootstrap(replicates=20))


def test_figures_are_given_by_length_and_class(evaluated):
    found = {(f.length, f.hosts, f.name): f for f in evaluated.figures}
    assert list(dict.fromkeys(f.length for f in evaluated.figures)) == ["all", "0-149", "150-299", "300-499", "5000-"]
    for length, names in (("all", list(SCORES)), ("0-149", ["v1", "b1"]), ("150-299", ["v2", "v3", "b2", "f1"])):
        expected = Sample.of([SCORES[name] for name in names], [NAMES[name[0]] for name in names])
        figures = expected.figures(np.ones((1, len(names))))
        assert {key[1:] for key in found if key[0] == length} == figures.keys()
        assert all(found[(length, *key)].value == value for key, (value,) in figures.items())
    middle = found["150-299", "bacteria", "recall_at_1_percent_fpr"]
    assert (middle.value, middle.n_virus, middle.n_host) == (0.5, 2, 1)
    assert (found["150-299", MACRO, "auroc"].n_virus, found["150-299", MACRO, "auroc"].n_host) == (2, 2)
    assert found["all", "all", "auroc"].low < found["all", "all", "auroc"].value < found["all", "all", "auroc"].high
    assert found["300-499", "all", "auroc"].to_json()["value"] is None  # no host


def test_files_hold_the_figures(evaluated, tmp_path):
    evaluated.write(tmp_path)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    figures = written.pop("figures")
    assert written == evaluated.summary()
    assert figures == [figure.to_json() for figure in evaluated.figures]
    assert written["bootstrap"] == {"unit": "sequence", "replicates": 20, "seed": 0, "level": 0.95}
    overall = {f["figure"]: [f["low"], f["high"]] for f in figures if (f["length"], f["hosts"]) == ("all", "all")}
    macro = next([f["low"], f["high"]] for f in figures if (f["length"], f["hosts"]) == ("all", MACRO))
    assert written["intervals"] == {**overall, "macro_auroc": macro}
    with (tmp_path / "evaluation.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert rows == [{k: "NA" if v is None else str(v) for k, v in figure.items()} for figure in figures]


def test_taxa_and_lengths_are_used_where_a_table_has_them(tmp_path, caplog):
    found = evaluate_tables(*tables(tmp_path))
    assert found.unit == "taxon"
    assert {figure.length for figure in found.figures} == {"all", "0-149"}  # lengths of the calls
    assert not caplog.records
    found = evaluate_tables(*tables(tmp_path, calls=CALLS.replace("length", "size")))
    assert {figure.length for figure in found.figures} == {"all"}
    assert "truth.tsv has no column 'length'" in caplog.text


@pytest.mark.parametrize("edges", [(300, 150), (0, 10), (10, 10)])
def test_borders_must_rise(tmp_path, edges):
    with pytest.raises(ConfigError, match=f"must be above 0 and increase, got {edges[0]}, {edges[1]}"):
        evaluate_tables(*tables(tmp_path), edges=edges)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": TRUTH.replace("class", "kind")}, "truth.tsv has no column 'class'"),
        ({"calls": CALLS.replace("virus_score", "score")}, "records.tsv is of no known tool"),
        ({"calls": CALLS.replace("v\t9\t0.7\n", "")}, "no row for 1 sequence of .*, the first is 'v'"),
        ({"truth": TRUTH + "v\tbacteria\tx\n"}, "3 rows for 2 names"),
        ({"calls": CALLS.replace("\t0.7", "")}, "row of 'v' has 2 columns, the header has 3"),
        ({"truth": TRUTH.replace("virus", "fungi")}, "must have sequences of class 'virus' and of another"),
        ({"truth": TRUTH.replace("bacteria", "virus")}, "must have sequences of class 'virus' and of another"),
        ({"truth": "seq_name\tclass\n"}, "must have sequences of class 'virus' and of another"),
    ],
)
def test_tables_that_cannot_be_evaluated(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        evaluate_tables(*tables(tmp_path, **changes))


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (TRUTH.replace("\nb", "\n\nb"), "line 3 is blank"),
        (TRUTH + "\n", "line 4 is blank"),
        (TRUTH[:-3], "line 3: the row of 'b' has 2 columns, the header has 3"),
        (TRUTH.replace("\nb", "\n"), "line 3: no id in the column seq_name"),
        (TRUTH.replace("bacteria", ""), "line 3: class ''; expected 'virus' or the name of a host class"),
        (TRUTH + "c\tVirus\tz\n", "line 4: class 'Virus'; expected 'virus'"),
        (TRUTH + "c\tvirus \tz\n", "line 4: class 'virus '; expected 'virus'"),
        (TRUTH + "c\tall\tz\n", "line 4: class 'all'; expected 'virus'"),
        (TRUTH.replace("taxon", "length"), "line 2: length must be a whole number of bases, got 'x'"),
        (TRUTH.replace("taxon", "class"), "line 1: two columns are named 'class'"),
        (">v\nACGT\n", "line 1: this is FASTA; expected a table"),
        ("", "has no column 'seq_name'; its columns are none: the file is empty"),
    ],
    ids=range(12),
)
def test_a_truth_that_is_damaged_is_refused_with_its_line(tmp_path, truth, message):
    with pytest.raises(InputError, match=rf"truth\.tsv:? {message}"):
        evaluate_tables(*tables(tmp_path, truth))


def test_a_truth_of_another_spelling_is_read(tmp_path):
    _, calls = tables(tmp_path)
    truth = tmp_path / "other"
    for content in (TRUTH.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + TRUTH.encode()):
        truth.write_bytes(content)
        found = evaluate_tables(truth, calls)
        assert (found.summary()["auroc"], found.unit) == (1.0, "taxon")


def test_ids_that_look_like_parts_join_as_they_are(tmp_path):
    truth = "seq_name\tclass\nc|provirus_1_700\tvirus\nc\tplant\nd||full\tplant\ne\tvirus\n"
    head = "seq_name\tchromosome_score\tplasmid_score\tvirus_score\n"
    rows = {"c|provirus_1_700": 0.9, "c": 0.2, "d||full": 0.1, "e|provirus_5_9": 0.6, "e|provirus_20_90": 0.8}
    calls = head + "".join(f"{name}\t0\t0\t{score}\n" for name, score in rows.items())
    found = evaluate_tables(*tables(tmp_path, truth, calls))
    assert found.sample.scores.tolist() == [0.9, 0.2, 0.1, 0.8]
    assert found.sample.scored.all()


def test_missing_and_damaged_tables(tmp_path):
    truth, calls = tables(tmp_path)
    with pytest.raises(MissingInputError, match=r"nothing\.tsv: no such file"):
        evaluate_tables(truth, tmp_path / "nothing.tsv")
    calls.write_bytes(gzip.compress(CALLS.encode())[:-9])
    with pytest.raises(InputError, match="cannot be read as a table"):
        evaluate_tables(truth, calls)
    with pytest.raises(InputError, match="cannot be read as a table"):
        evaluate_tables(tmp_path, calls)


@pytest.mark.parametrize("wrong", ["2", "-0.1", "high", "nan", ""])
def test_a_score_in_the_sample_must_be_a_probability(tmp_path, wrong):
    path = tmp_path / "records.tsv"
    columns = "seq_name\tlength\tprediction\tvirus_score\tsample_score\tstatus\n"
    path.write_text(f"{columns}a\t300\tvirus\t0.9\t0.8\tok\nb\t300\tother\t0.1\tNA\tok\n")
    assert read_calls(path).sample_scores == {"a": 0.8, "b": None}
    path.write_text(f"{columns}a\t300\tvirus\t0.9\t{wrong}\tok\n")
    with pytest.raises(InputError, match=r"records.tsv: line 2: sample_score must be NA or a number in 0..1"):
        read_calls(path)
