"""The share of virus in a run and its false discovery rates, against plain loops and known mixtures."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from virnucpro.scores.calibration import probability
from virnucpro.scores.composition import Composition, SampleRule
from virnucpro.scores.evidence import NO_EVIDENCE, evidence_steps, evidence_type
from virnucpro.types import CONFIDENCE, Call, Status


def mixture(prevalence: float, number: int, distance: float = 3.0, seed: int = 0):
    """Return evidence in steps and truth of records whose margins are normal with means 0 and `distance`."""
    rng = np.random.default_rng(seed)
    is_virus = rng.random(number) < prevalence
    margins = rng.normal(is_virus * distance)
    ratios = distance * margins - distance**2 / 2  # of two normal densities of variance 1
    return np.round(ratios * 100).astype(int), is_virus


def expectation_maximisation(histogram: Counter[int]) -> float:
    """Return the estimate of Saerens et al. as they state it, with one virus and one other besides."""
    steps, number = (np.array(values) for values in zip(*histogram.items(), strict=True))
    prevalence = 0.5
    for _ in range(5000):
        odds = prevalence / (1 - prevalence) * np.exp(steps / 100)
        prevalence = ((number * odds / (1 + odds)).sum() + 1) / (number.sum() + 2)
    return prevalence


@pytest.mark.parametrize("prevalence", [0.001, 0.03, 0.5, 0.95])
def test_the_estimate_is_where_expectation_maximisation_ends(prevalence):
    steps, _ = mixture(prevalence, 2000)
    histogram = Counter(steps.tolist())
    assert Composition.of(histogram).prevalence == pytest.approx(expectation_maximisation(histogram), abs=1e-6)


@pytest.mark.parametrize("prevalence", [0.003, 0.05, 0.5, 0.97])
def test_prevalence_and_false_discovery_rates_are_those_of_the_truth(prevalence):
    steps, is_virus = mixture(prevalence, 200_000)
    found = Composition.of(Counter(steps.tolist()))
    assert found.prevalence == pytest.approx(prevalence, abs=0.003)
    for threshold in (-200, 0, 200, 400):
        least = min(step for step in found.fdr if step >= threshold)
        actual = 1 - is_virus[steps >= least].mean()
        # Of few records the share itself scatters.
        scatter = 4 * (0.25 / (steps >= least).sum()) ** 0.5
        assert found.fdr[least] == pytest.approx(actual, abs=0.01 + scatter)


def test_fdr_is_a_running_mean_from_the_top():
    histogram = Counter({500: 2, 0: 3, -500: 10})
    found = Composition.of(histogram)
    n = others = 0
    for step in (500, 0, -500):
        others += histogram[step] * (1 - float(probability(step / 100, found.prevalence)))
        n += histogram[step]
        assert found.fdr[step] == pytest.approx(others / n, abs=1e-9)
    assert list(found.fdr.values()) == sorted(found.fdr.values())


@pytest.mark.parametrize(("step", "low", "high"), [(3000, 0.5, 0.9), (-3000, 0.1, 0.5), (0, 0.49, 0.51)])
def test_one_record_settles_nothing(step, low, high):
    found = Composition.of(Counter({step: 1}))
    assert low <= found.prevalence <= high
    assert 0 <= found.fdr[step] <= 1


@pytest.mark.parametrize(
    ("rate", "name"),
    [
        (0.0, "high"),
        (0.05, "high"),
        (0.05004, "high"),
        (0.05006, "medium"),
        (0.2, "medium"),
        (0.2001, "low"),
        (1, "low"),
    ],
)
def test_confidence_and_calls_follow_from_the_rate_that_is_printed(rate, name):
    evidence = np.zeros(2, evidence_type(1))
    evidence["steps"][:, 0] = 100, NO_EVIDENCE
    printed = float(f"{rate:.4f}")
    for limit in (printed, printed - 0.0001):
        judged = Composition(0.5, {100: rate}, max_fdr=limit).judge(evidence)
        assert judged.is_virus.tolist() == [limit == printed, False]
        assert [*CONFIDENCE][judged.tier[0]] == name
    call = Call("a", 100, True, 0.9, 1, 1, "a_chunk_1F1", Status.OK, fdr=rate)
    assert call.confidence == name
    assert replace(call, is_virus=False).confidence is None
    assert replace(call, fdr=None).confidence is None


def test_a_rule_hands_its_limit_on():
    evidence = np.zeros(3, evidence_type(1))
    evidence["steps"][:, 0] = 700, 0, -700
    found = SampleRule.choose(None, None, "sample", 0.3).composition([evidence])
    assert (found.max_fdr, found.decides) == (0.3, True)
    assert found.judge(evidence).is_virus.tolist() == [found.fdr[step] <= 0.3 for step in (700, 0, -700)]
    assert not SampleRule.choose(None, None, "sample").composition([evidence]).decides


def test_nothing_has_no_composition():
    assert Composition.of({}) is None


@pytest.mark.parametrize(
    ("log_ratio", "steps"),
    [(np.nan, NO_EVIDENCE), (0.0, 0), (1.2345, 123), (-1.2345, -123), (99.0, 3000), (-99.0, -3000)],
)
def test_evidence_in_steps(log_ratio, steps):
    assert evidence_steps(np.array([log_ratio])).tolist() == [steps]
