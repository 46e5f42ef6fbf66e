"""The figures of an evaluation against plain loops, and tables that cannot be evaluated."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from virnucpro.errors import InputError, MissingInputError
from virnucpro.train.evaluate import auroc, evaluate, evaluate_tables, recall_at


def plain_auroc(positive, negative):
    wins = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
    return wins / len(positive) / len(negative)


@pytest.mark.parametrize("decimals", [1, 8], ids=["many ties", "no ties"])
@pytest.mark.parametrize("seed", range(3))
def test_auroc_equals_the_plain_loop(seed, decimals):
    rng = np.random.default_rng(seed)
    positive, negative = rng.random(37).round(decimals), (rng.random(53) * 0.8).round(decimals)
    assert auroc(positive, negative) == pytest.approx(plain_auroc(positive, negative), abs=1e-12)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [([1], [0], 1.0), ([0], [1], 0.0), ([0.5], [0.5], 0.5), ([1, 0], [0.5], 0.5), ([0.5, 0.5, 1], [0.5], 2 / 3)],
)
def test_auroc_at_edges(positive, negative, expected):
    assert auroc(np.array(positive), np.array(negative)) == pytest.approx(expected)


def test_figures_without_one_side_are_not_numbers():
    none, some = np.array([]), np.array([0.5])
    for figure in (auroc(none, some), auroc(some, none), recall_at(none, some, 0.05), recall_at(some, none, 0.05)):
        assert math.isnan(figure)


@pytest.mark.parametrize(
    ("negative", "rate", "expected"),
    [
        (range(100), 0.05, 0.3),  # 95 to 99 may pass, so a positive must lie above 94
        (range(100), 0.0, 0.1),  # above 99
        (range(100), 0.01, 0.2),
        (range(100), 1.0, 1.0),  # all may pass
        (range(19), 0.05, 1.0),  # none of 19 may pass
        ([99.5] * 100, 0.05, 0.1),  # the 100 pass together or not at all
        ([10] * 90 + [98.5] * 10, 0.05, 0.2),
        ([10] * 95 + [98.5] * 5, 0.05, 1.0),
    ],
)
def test_recall_at_lets_no_more_negatives_pass(negative, rate, expected):
    positive = np.array([100, 99, 95, 94, 90, 80, 70, 60, 50, 40], dtype=float)
    negative = np.array(list(negative), dtype=float)
    assert recall_at(positive, negative, rate) == pytest.approx(expected)


def test_evaluate_counts_the_unscored_as_not_found():
    scores = [0.9, None, 0.8, 0.1, None, 0.3]
    classes = ["virus", "virus", "virus", "bacteria", "bacteria", "fungi"]
    found = evaluate(scores, classes)
    assert (found.n, found.n_unscored) == (6, 2)
    assert found.auroc_by_class == {
        "bacteria": pytest.approx(plain_auroc([0.9, 0, 0.8], [0.1, 0])),
        "fungi": pytest.approx(plain_auroc([0.9, 0, 0.8], [0.3])),
    }
    assert found.auroc == pytest.approx(plain_auroc([0.9, 0, 0.8], [0.1, 0, 0.3]))
    assert found.macro_auroc == pytest.approx(sum(found.auroc_by_class.values()) / 2)
    assert found.recall_at_5_percent == pytest.approx(2 / 3)
    assert json.loads(json.dumps(found.to_json()))["auroc_by_class"]["fungi"] == 0.6667


TRUTH = "seq_name\tclass\ttaxon\nv\tvirus\tx\nb\tbacteria\ty\n"
CALLS = 'seq_name\tlength\tvirus_score\nb\t9\t0.2\nv\t9\t0.7\n"extra\t9\t0.5\n'


def tables(folder: Path, truth: str = TRUTH, calls: str = CALLS) -> tuple[Path, Path]:
    (folder / "truth.tsv").write_text(truth, encoding="utf-8")
    (folder / "records.tsv").write_text(calls, encoding="utf-8")
    return folder / "truth.tsv", folder / "records.tsv"


def test_tables_are_joined_by_name(tmp_path):
    found = evaluate_tables(*tables(tmp_path))
    assert (found.n, found.n_unscored, found.auroc) == (2, 0, 1.0)
    found = evaluate_tables(*tables(tmp_path, calls=CALLS.replace("0.7", "NA")))
    assert (found.n, found.n_unscored, found.auroc) == (2, 1, 0.0)


def test_tables_may_be_compressed_and_names_need_not_be_text(tmp_path):
    truth, calls = tables(tmp_path)
    for path in (truth, calls):
        path.write_bytes(gzip.compress(path.read_bytes().replace(b"v\t", b"v\xe9\t")))
    assert evaluate_tables(truth, calls).auroc == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": TRUTH.replace("class", "kind")}, "truth.tsv has no column 'class'"),
        ({"calls": CALLS.replace("virus_score", "score")}, "records.tsv has no column 'virus_score'"),
        ({"calls": ""}, "records.tsv has no column 'seq_name'; its columns are none"),
        ({"calls": CALLS.replace("v\t9\t0.7\n", "")}, "no row for 1 sequences of .*, the first is 'v'"),
        ({"calls": CALLS + "v\t9\t0.1\n"}, "4 rows for 3 names"),
        ({"truth": TRUTH + "v\tbacteria\tx\n"}, "3 rows for 2 names"),
        ({"calls": CALLS.replace("0.7", "high")}, "must be a number or NA, got 'high'"),
        ({"calls": CALLS.replace("\t0.7", "")}, "row of 'v' has 2 columns, the header has 3"),
        ({"truth": TRUTH.replace("virus", "fungi")}, "must have sequences of class 'virus' and of another"),
        ({"truth": TRUTH.replace("bacteria", "virus")}, "must have sequences of class 'virus' and of another"),
    ],
)
def test_tables_that_cannot_be_evaluated(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        evaluate_tables(*tables(tmp_path, **changes))


def test_missing_and_damaged_tables(tmp_path):
    truth, calls = tables(tmp_path)
    with pytest.raises(MissingInputError, match=r"nothing\.tsv: no such file"):
        evaluate_tables(truth, tmp_path / "nothing.tsv")
    calls.write_bytes(gzip.compress(CALLS.encode())[:-9])
    with pytest.raises(InputError, match="cannot be read as a table"):
        evaluate_tables(truth, calls)
    with pytest.raises(InputError, match="cannot be read as a table"):
        evaluate_tables(tmp_path, calls)
