"""Regions of virus: posteriors held to the sum over all paths, and stretches."""

from itertools import pairwise, product

import numpy as np
import pytest

from virnucpro.pipeline.regions import Landscape, Region, posteriors, regions

LANDSCAPE = Landscape(virus_length=1000, other_length=4000, weight=0.7, evidence_offset=-0.4)


def by_all_paths(evidence, step, at):
    enter, leave = step / at.other_length, step / at.virus_length
    change = np.array([[1 - enter, enter], [leave, 1 - leave]])
    total, found = 0.0, np.zeros(len(evidence))
    for path in product((0, 1), repeat=len(evidence)):
        p = (leave, enter)[path[0]] / (enter + leave)
        for before, now in pairwise(path):
            p *= change[before, now]
        for state, value in zip(path, evidence, strict=True):
            if state and not np.isnan(value):
                p *= np.exp(at.weight * (value - at.evidence_offset))
        total += p
        found += p * np.array(path)
    return found / total


@pytest.mark.parametrize("n", [1, 2, 9])
def test_posteriors_are_those_of_all_paths(n):
    evidence = np.random.default_rng(n).normal(0, 3, n)
    evidence[n // 2] = np.nan
    assert posteriors(evidence, 250, LANDSCAPE) == pytest.approx(by_all_paths(evidence, 250, LANDSCAPE), rel=1e-12)


def test_a_long_record_stays_finite():
    found = posteriors(np.repeat([-1e4, 1e4, -1e4], 40_000), 250, Landscape())
    assert np.isfinite(found).all()
    assert found[60_000] > 1 - 1e-9
    assert found[20_000] < 1e-9


def test_a_single_odd_window_is_smoothed_away():
    evidence = np.full(400, -3.0)
    evidence[200] = 3.0
    assert posteriors(evidence, 250, Landscape()).max() < 0.5
    evidence[180:240] = 3.0
    evidence[210] = -3.0
    (region,) = regions(posteriors(evidence, 250, Landscape()), range(0, 250 * 401, 250))
    assert (region.start, region.end) == pytest.approx((180 * 250, 240 * 250), abs=500)


def test_stretches():
    probabilities = np.array([0.9, 0.7, 0.1, 0.5, 0.2, 0.8])
    bounds = [0, 10, 20, 30, 40, 50, 77]
    assert list(regions(probabilities, bounds)) == [
        Region(0, 20, 2, pytest.approx(0.8)), Region(30, 40, 1, 0.5), Region(50, 77, 1, 0.8),
    ]  # fmt: skip
    assert [region.start for region in regions(probabilities, bounds, min_length=20)] == [0, 50]
    assert list(regions(np.array([]), [0])) == []
