"""Evidence, scores, thresholds and how a run decides, against plain arithmetic."""

import dataclasses
import json
import math

import numpy as np
import pytest
from support.models import make_model

from virnucpro.errors import ConfigError, ModelError
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.locations import BUNDLED
from virnucpro.scores.calibration import PRESETS, Calibration, Knot, OperatingPoint, against_mixture, probability
from virnucpro.scores.decision import Decision

ROUNDING = 1e-12
KNOTS = (Knot(100, (0.5,), (-1.0,), 1.0), Knot(400, (1.5,), (2.0,), 0.4))
POINTS = tuple(OperatingPoint(length, ratio, 0.5, 0.05) for length, ratio in ((100, 1.0), (400, 2.0), (1600, 4.0)))
CALIBRATION = Calibration(0.5, KNOTS, dict.fromkeys(PRESETS, POINTS))


@pytest.fixture
def described() -> ModelDescription:
    return dataclasses.replace(make_model().description, calibration=CALIBRATION)


@pytest.mark.parametrize("prevalence", [0.5, 0.01, 0.999])
def test_probability_is_bayes_rule(prevalence):
    for ratio in (-3.0, 0.0, 0.7, 8.0):
        odds = math.exp(ratio) * prevalence / (1 - prevalence)
        assert float(probability(ratio, prevalence)) == pytest.approx(odds / (1 + odds), abs=ROUNDING)


def test_probability_does_not_overflow():
    assert probability(np.array([-5000.0, 0.0, 5000.0]), 0.5).tolist() == [0.0, 0.5, 1.0]


def test_slope_and_intercept_follow_the_logarithm_of_the_length():
    lengths = np.array([1, 100, 200, 400, 9999])
    found = CALIBRATION.ratios(np.full((5, 1), 2.0), lengths, np.zeros((5, 0)))
    np.testing.assert_allclose(found[:, 0], [0.0, 0.0, 2.5, 5.0, 5.0], atol=ROUNDING)  # 200 is half-way
    knots = (Knot(100, (0.5, 2.0), (-1.0, 0.0), 1.0), Knot(400, (1.5, 2.0), (2.0, 4.0), 0.4))
    found = dataclasses.replace(CALIBRATION, knots=knots).ratios(
        np.full((5, 2), [2.0, -1.0]), lengths, np.zeros((5, 0))
    )
    np.testing.assert_allclose(found.T, [[0.0, 0.0, 2.5, 5.0, 5.0], [-2.0, -2.0, 0.0, 2.0, 2.0]], atol=ROUNDING)


def test_9_mers_are_evidence_for_virus_against_every_host_class():
    knots = (Knot(100, (0.5, 2.0), (-1.0, 0.0), 1.0),)
    calibration = dataclasses.replace(CALIBRATION, knots=knots, kmers=(1.5, -1.0))
    found = calibration.ratios(np.full((3, 2), 2.0), np.full(3, 300), np.array([[0, 0], [2, 0], [1, 4]]))
    np.testing.assert_allclose(found, [[0, 4], [3, 7], [-2.5, 1.5]], atol=ROUNDING)


def test_a_mixture_of_hosts():
    ratios = np.array([[1.0, -2.0, 900.0], [0.5, 0.5, 0.5]])
    shares = [0.2, 0.5, 0.3]
    likelihoods = [0.2 * math.exp(-1) + 0.5 * math.exp(2), math.exp(-0.5)]
    assert against_mixture(ratios, np.array(shares)) == pytest.approx([-math.log(one) for one in likelihoods])
    assert against_mixture(ratios, np.array([0.0, 1.0, 0.0])) == pytest.approx([-2.0, 0.5])
    one = np.random.default_rng(0).normal(0, 50, (1000, 1))
    assert np.array_equal(against_mixture(one, np.ones(1)), one[:, 0])  # to the last bit


def test_thresholds_by_length():
    found = CALIBRATION.thresholds("balanced")
    assert len(found) == 1601
    assert [found[n] for n in (0, 50, 100, 200, 400, 800, 1600)] == pytest.approx([1, 1, 1, 1.5, 2, 3, 4])


def pooled(calibration: Calibration, *records: tuple[list[float], list[int]]) -> list[float]:
    """Return the evidence of records from log likelihood ratios and lengths of the chunks of each."""
    ratios, lengths = (np.concatenate(column) for column in zip(*records, strict=True))
    starts = np.cumsum([0, *(len(sizes) for _, sizes in records[:-1])])
    found = calibration.pool(np.stack((ratios, 3 * ratios), axis=1), lengths, starts)
    np.testing.assert_allclose(found[:, 1], 3 * found[:, 0], atol=ROUNDING)  # each host class by itself
    return found[:, 0].tolist()


def is_virus(decision: Decision, score: float, ratio: float, length: int) -> bool:
    return bool(decision.are_virus(np.array([score]), np.array([ratio]), np.array([length]))[0])


@pytest.mark.parametrize("exponent", [0.0, 0.4, 1.0])
def test_pooling(exponent):
    calibration = dataclasses.replace(CALIBRATION, knots=(Knot(1, (1.0,), (0.0,), exponent),))
    found = pooled(calibration, ([1.3], [77]), ([1.0, 2.0, -0.5], [500] * 3), ([1.0, 4.0], [500, 100]))
    uneven = (500 + 400) / 600 * (600**2 / (500**2 + 100**2)) ** exponent
    assert found == pytest.approx([1.3, 2.5 / 3 * 3**exponent, uneven], abs=ROUNDING)
    assert found[0] == 1.3  # to the last bit


def test_the_exponent_follows_the_length_of_the_chunks():
    for length, exponent in ((50, 1.0), (100, 1.0), (200, 0.7), (400, 0.4), (500, 0.4)):
        assert pooled(CALIBRATION, ([1.0, 3.0], [length] * 2)) == pytest.approx([2 * 2**exponent], abs=ROUNDING)
    typical = (400**2 + 100**2) / 500
    exponent = 1 - 0.6 * math.log(typical / 100) / math.log(4)
    expected = (400 + 3 * 100) / 500 * (500 / typical) ** exponent
    assert pooled(CALIBRATION, ([1.0, 3.0], [400, 100])) == pytest.approx([expected], abs=ROUNDING)


def test_what_the_bundled_model_calls_at_a_strict_preset_it_calls_at_all():
    calibration = ModelDescription.from_json(BUNDLED / "model.json").calibration
    strict, balanced, sensitive = (calibration.thresholds(name) for name in ("strict", "balanced", "sensitive"))
    assert len(strict) == len(balanced) == len(sensitive) > 1000
    assert all(a >= b >= c for a, b, c in zip(strict, balanced, sensitive, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prevalence": 0.0}, "prevalence of a calibration must lie between 0 and 1"),
        ({"presets": {"balanced": POINTS}}, "has the presets sensitive, balanced, strict, got balanced"),
        ({"knots": ()}, "must ascend"),
        ({"knots": KNOTS[::-1]}, r"must ascend from at least 1 nt, got \[400, 100\]"),
        ({"presets": dict.fromkeys(PRESETS, (POINTS[0], POINTS[0]))}, "must ascend"),
        ({"knots": (Knot(1, (1.0, 1.0), (0.0,), 0.5),)}, r"a slope and an intercept for each host class, got \[1, 2\]"),
        ({"shares": (0.5, 0.5)}, r"a slope and an intercept for each host class, got \[1, 2\]"),
        ({"shares": (0.9,)}, "shares of a calibration must be at least 0, with sum 1"),
    ],
)
def test_calibrations_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(CALIBRATION, **changes)


def test_a_calibration_comes_back_from_a_file(described, tmp_path):
    described.write_json(tmp_path / "model.json")
    assert ModelDescription.from_json(tmp_path / "model.json") == described
    text = (tmp_path / "model.json").read_text()
    values = json.loads(text)
    for knot in values["calibration"]["knots"]:  # as models of one host class were written
        knot["slope"], knot["intercept"] = knot["slope"][0], knot["intercept"][0]
    (tmp_path / "model.json").write_text(json.dumps(values))
    assert ModelDescription.from_json(tmp_path / "model.json") == described
    values["calibration"]["knots"][1]["slope"] = "steep"
    (tmp_path / "model.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"model\.calibration\.knots\.slope must be"):
        ModelDescription.from_json(tmp_path / "model.json")


def test_the_published_vote_is_not_calibrated(described):
    with pytest.raises(ConfigError, match="only the vote weighted can be calibrated, got max"):
        dataclasses.replace(described, vote="max")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"prevalence": 0.0}, "prevalence must lie between 0 and 1, got 0"),
        ({"prevalence": 1.0}, "prevalence must lie between 0 and 1"),
        ({"preset": "bold"}, "preset must be sensitive, balanced, strict, got 'bold'"),
        ({"preset": "strict", "min_score": 0.5}, "exclude each other"),
        ({"preset": "strict", "max_fdr": 0.1}, "max_fdr and preset exclude each other"),
        ({"min_score": 0.5, "max_fdr": 0.1}, "max_fdr and min_score exclude each other"),
    ],
)
def test_what_cannot_be_asked(described, asked, message):
    with pytest.raises(ConfigError, match=message):
        Decision.choose(described, **asked)


@pytest.mark.parametrize("asked", [{"prevalence": 0.1}, {"preset": "balanced"}, {"max_fdr": 0.1}])
def test_a_model_without_a_calibration_says_so(described, asked):
    described = dataclasses.replace(described, calibration=None)
    with pytest.raises(ConfigError, match=f"^{next(iter(asked))} needs a calibrated model, tiny is not"):
        Decision.choose(described, **asked)


def test_without_a_calibration_the_least_score_decides(described):
    described = dataclasses.replace(described, calibration=None, threshold=0.7)
    by_model, by_user = Decision.choose(described), Decision.choose(described, min_score=0.4)
    assert [is_virus(by_model, score, np.nan, 500) for score in (0.69, 0.7, np.nan)] == [False, True, False]
    assert [is_virus(by_user, score, np.nan, 500) for score in (0.39, 0.4)] == [False, True]
    margins = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(by_model.scores(margins), 1 / (1 + np.exp(-margins)), atol=ROUNDING)


def test_a_preset_decides_by_evidence_and_length_whatever_the_prevalence(described):
    for prevalence in (None, 0.001, 0.9):
        decision = Decision.choose(described, prevalence=prevalence)
        assert decision.preset == "balanced"
        for length, least in ((75, 1.0), (200, 1.5), (1600, 4.0), (10**6, 4.0)):
            for ratio in (least - 0.001, least + 0.001):
                score = float(decision.scores(ratio))
                assert is_virus(decision, score, ratio, length) == (ratio > least)


def test_with_a_limit_of_fdr_chunks_are_called_by_the_default_preset(described):
    decision, usual = Decision.choose(described, max_fdr=0.1), Decision.choose(described)
    assert (decision.preset, decision.min_score, decision.max_fdr) == (None, None, 0.1)
    assert (decision.by_sample, decision.chooses_late) == (True, True)
    assert decision.thresholds == usual.thresholds


def test_a_least_score_decides_by_the_score_at_the_prevalence(described):
    decision = Decision.choose(described, prevalence=0.1, min_score=0.5)
    for ratio in (math.log(9) - 0.001, math.log(9) + 0.001):
        score = float(decision.scores(ratio))
        assert is_virus(decision, score, ratio, 500) == (score >= 0.5) == (ratio > math.log(9))
