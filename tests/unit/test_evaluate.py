"""The figures of an evaluation against plain loops, weighted or not."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from virnucpro.evaluate.metrics import (
    ALL_HOSTS,
    MACRO,
    Sample,
    auroc,
    calibration_error,
    evaluate,
    precision_recall_curve,
    recall_at,
    reliability,
    roc_curve,
)


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
    bacteria, fungi = plain_auroc([0.9, 0, 0.8], [0.1, 0]), plain_auroc([0.9, 0, 0.8], [0.3])
    assert json.loads(json.dumps(found)) == {
        "n": 6,
        "n_unscored": 2,
        "auroc": round(plain_auroc([0.9, 0, 0.8], [0.1, 0, 0.3]), 4),
        "macro_auroc": round((bacteria + fungi) / 2, 4),
        "average_precision": round((1 + 1 + 3 / 6) / 3, 4),  # 0.9, 0.8, and the virus without a score below the hosts
        "recall_at_5_percent_fpr": round(2 / 3, 4),
        "recall_at_1_percent_fpr": round(2 / 3, 4),
        # Bins of the four that have a score: 0.9 and 0.8 viral, 0.1 and 0.3 not.
        "calibration_error": round((0.1 + 0.2 + 0.1 + 0.3) / 4, 4),
        "auroc_by_class": {"bacteria": round(bacteria, 4), "fungi": round(fungi, 4)},
    }
    lacking = evaluate([0.5], ["virus"])
    assert (lacking["auroc"], lacking["macro_auroc"], lacking["auroc_by_class"]) == (None, None, {})


def plain_calibration_error(scores, is_virus):
    error = 0.0
    for low in range(10):
        inside = [i for i, s in enumerate(scores) if low <= s * 10 < low + 1 or (low == 9 and s == 1)]
        if inside:
            share, mean = (np.mean([values[i] for i in inside]) for values in (is_virus, scores))
            error += len(inside) / len(scores) * abs(share - mean)
    return error


def test_calibration_error_equals_the_plain_loop():
    rng = np.random.default_rng(4)
    scores = np.append(rng.random(300), [0.0, 1.0, 1.0])
    is_virus = rng.random(303) < scores**2
    expected = plain_calibration_error(scores, is_virus)
    assert expected > 0.1
    assert calibration_error(scores, is_virus) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "is_virus", "expected"),
    [
        ([0.75] * 4, [1, 1, 1, 0], 0.0),
        ([0.25, 0.25], [1, 0], 0.25),
        ([1.0, 0.0], [0, 1], 1.0),
        ([0.32, 0.38], [0, 0], 0.35),
    ],
)
def test_calibration_error_at_edges(scores, is_virus, expected):
    assert calibration_error(np.array(scores), np.array(is_virus, dtype=bool)) == pytest.approx(expected)


def test_a_weight_counts_a_sequence_so_often():
    rng = np.random.default_rng(5)
    n, draws = 60, 4
    scores = [None if s < 0.1 else float(s.round(1)) for s in rng.random(n)]
    classes = rng.choice(["virus", "bacteria", "fungi"], n)
    weights = rng.integers(0, 4, (draws, n))
    found = Sample.of(scores, classes.tolist()).figures(weights.astype(float))
    for draw in range(draws):
        rows = np.repeat(np.arange(n), weights[draw])
        repeated = Sample.of([scores[i] for i in rows], classes[rows].tolist()).figures(np.ones((1, len(rows))))
        assert {key: value[draw] for key, value in found.items()} == pytest.approx(
            {key: value[0] for key, value in repeated.items()}
        )


def test_recall_against_one_class_lets_pass_of_that_class_alone():
    scores = [0.9, 0.5, 0.2] + [0.1] * 30 + [0.8] * 30
    classes = ["virus"] * 3 + ["bacteria"] * 30 + ["fungi"] * 30
    found = Sample.of(scores, classes).figures(np.ones((1, 63)))
    recall = {hosts: found[hosts, "recall_at_5_percent_fpr"][0] for hosts in ("all", "bacteria", "fungi")}
    assert recall == {"all": pytest.approx(1 / 3), "bacteria": 1.0, "fungi": pytest.approx(1 / 3)}


def test_a_weighting_without_hosts_of_a_class_gives_no_number():
    weights = np.array([[1.0, 1, 1, 1], [1, 0, 1, 1], [0, 1, 1, 1]])
    found = Sample.of([0.9, 0.1, 0.2, 0.3], ["virus", "bacteria", "fungi", "fungi"]).figures(weights)
    assert np.isnan(found["bacteria", "auroc"]).tolist() == [False, True, True]
    assert np.isnan(found["fungi", "calibration_error"]).tolist() == [False, False, True]
    assert np.isnan(found[MACRO, "auroc"]).tolist() == [False, True, True]
    assert np.isnan(found[ALL_HOSTS, "recall_at_1_percent_fpr"]).tolist() == [False, False, True]


def test_the_area_under_the_curve_is_auroc():
    rng = np.random.default_rng(6)
    positive, negative = rng.random(50).round(1), (rng.random(70) * 0.7).round(1)
    x, y = roc_curve(positive, negative)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.diff(x) @ (y[1:] + y[:-1]) / 2 == pytest.approx(auroc(positive, negative))


def test_reliability_leaves_out_empty_bins():
    mean, share, count = reliability(np.array([0.12, 0.18, 0.95, 1.0]), np.array([True, False, True, True]))
    assert mean == pytest.approx([0.15, 0.975])
    assert share == pytest.approx([0.5, 1.0])
    assert count.tolist() == [2, 2]


def plain_average_precision(scores, is_virus):
    """Add up, threshold by threshold, the precision times the recall that is won."""
    precision, recall, area, before = [], [], 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = [virus for score, virus in zip(scores, is_virus, strict=True) if score >= threshold]
        found = sum(called) / sum(is_virus)
        area, before = area + (found - before) * sum(called) / len(called), found
        if found > (recall[-1] if recall else 0):
            recall.append(found)
            precision.append(sum(called) / len(called))
    return area, recall, precision


def test_average_precision_and_its_curve_equal_the_plain_loop():
    rng = np.random.default_rng(6)
    is_virus = rng.random(200) < 0.3
    scores = (rng.random(200) + is_virus).round(1)  # with ties
    area, recall, precision = plain_average_precision(scores.tolist(), is_virus.tolist())
    found = evaluate((scores / 2).tolist(), ["virus" if virus else "plant" for virus in is_virus])
    assert found["average_precision"] == round(area, 4) < 1
    curve = precision_recall_curve(scores[is_virus], scores[~is_virus])
    np.testing.assert_allclose(curve, (recall, precision))


def test_operating_points_are_shares_of_both_sides():
    scores, classes = [0.9, 0.8, 0.3, 0.7, 0.1, 0.2], ["virus", "virus", "virus", "bacteria", "bacteria", "fungi"]
    called = {"a": np.array([1, 1, 0, 1, 0, 0], bool), "none": np.zeros(6, bool)}
    sample = replace(Sample.of(scores, classes), called=called)
    assert sample.points() == {
        "a": {
            "recall": 0.6667, "false_positive_rate": 0.3333, "false_positive_rate_mean_over_host_classes": 0.25,
            "precision": 0.6667,
        },
        "none": {
            "recall": 0.0, "false_positive_rate": 0.0, "false_positive_rate_mean_over_host_classes": 0.0,
            "precision": None,
        },
    }  # fmt: skip
    part = sample.take(np.array([0, 0, 1, 1, 1, 0], bool))
    assert (part.called["a"].tolist(), part.points()["a"]["false_positive_rate"]) == ([False, True, False], 0.5)
    weighted = sample.figures(np.array([[3.0, 0, 1, 1, 3, 1]]))
    assert weighted[ALL_HOSTS, "recall_a"][0] == 0.75
    assert weighted["bacteria", "false_positive_rate_a"][0] == 0.25
