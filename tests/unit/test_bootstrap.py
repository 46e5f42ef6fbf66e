"""Bootstrap weights: whole taxa, within their class; intervals of the width that theory gives."""

import math

import numpy as np
import pytest

from virnucpro.errors import ConfigError
from virnucpro.evaluate import bootstrap
from virnucpro.evaluate.bootstrap import Bootstrap
from virnucpro.evaluate.metrics import ALL_HOSTS, Sample

CLASSES = ["virus"] * 6 + ["bacteria"] * 5
TAXA = ["a", "a", "b", "c", "c", "c", "d", "d", "e", "e", "a"]  # a of bacteria is another taxon than a of virus


def weights_of(settings, *arguments):
    return np.concatenate(list(settings.weights(*arguments)))


def test_taxa_are_drawn_whole_within_their_class():
    weights = weights_of(Bootstrap(replicates=50), CLASSES, TAXA)
    assert weights.shape == (50, 11)
    for taxon in ([0, 1], [3, 4, 5], [6, 7], [8, 9]):
        assert (weights[:, taxon] == weights[:, taxon[:1]]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()  # three taxa of virus
    assert (weights[:, [6, 8, 10]].sum(1) == 3).all()  # and three of bacteria
    assert (weights[:, 0] != weights[:, 10]).any()
    assert weights.min() == 0
    assert abs(weights.mean(0) - 1).max() < 0.5


def test_without_taxa_sequences_are_drawn_one_by_one():
    weights = weights_of(Bootstrap(replicates=50), CLASSES, None)
    assert (weights[:, :6].sum(1) == 6).all()
    assert (weights[:, 6:].sum(1) == 5).all()
    assert (weights[:, 0] != weights[:, 1]).any()


def test_a_seed_gives_the_same_replicates_in_blocks_too(monkeypatch):
    first = weights_of(Bootstrap(replicates=7, seed=3), CLASSES, TAXA)
    assert (weights_of(Bootstrap(replicates=7, seed=3), CLASSES, TAXA) == first).all()
    assert (weights_of(Bootstrap(replicates=7, seed=4), CLASSES, TAXA) != first).any()
    monkeypatch.setattr(bootstrap, "_BLOCK", 3 * len(CLASSES))
    assert [len(block) for block in Bootstrap(replicates=7).weights(CLASSES, TAXA)] == [3, 3, 1]


def scored(n, copies=1):
    """Scores of n viruses and n hosts, each `copies` times, and the number of each as its taxon."""
    rng = np.random.default_rng(0)
    scores = np.concatenate((rng.normal(0.6, 0.15, n), rng.normal(0.4, 0.15, n))).clip(0, 1)
    sample = Sample.of(np.repeat(scores, copies).tolist(), ["virus"] * n * copies + ["bacteria"] * n * copies)
    return sample, np.repeat(np.arange(2 * n), copies).astype(str).tolist()


def auroc_interval(sample, taxa, settings=None):
    everything = np.ones(len(sample.scores), dtype=bool)
    settings = settings or Bootstrap(replicates=1000)
    return settings.intervals([(everything, sample)], sample.classes.tolist(), taxa)[0][ALL_HOSTS, "auroc"]


def test_the_interval_of_auroc_is_as_wide_as_theory_says():
    sample, _ = scored(150)
    positive, negative = sample.scores[:150], sample.scores[150:]
    wins = (positive[:, None] > negative) + (positive[:, None] == negative) / 2
    # DeLong, DeLong and Clarke-Pearson 1988: the variances of the two structural components.
    error = math.sqrt(wins.mean(1).var(ddof=1) / 150 + wins.mean(0).var(ddof=1) / 150)
    low, high = auroc_interval(sample, None)
    assert low < wins.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_copies_of_a_taxon_make_no_interval_narrower():
    once, four_times = auroc_interval(*scored(50)), auroc_interval(*scored(50, copies=4))
    assert four_times == pytest.approx(once)
    low, high = auroc_interval(scored(50, copies=4)[0], None)  # drawn one by one they seem to know more
    assert high - low < 0.7 * (once[1] - once[0])


def test_a_level_is_the_share_of_replicates_inside():
    narrow, wide = (auroc_interval(*scored(50), Bootstrap(level=level)) for level in (0.5, 0.95))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_a_figure_that_no_replicate_gives_has_no_interval():
    sample = Sample.of([0.5, 0.6], ["virus", "virus"])
    assert all(math.isnan(value) for value in auroc_interval(sample, None))


@pytest.mark.parametrize("settings", [{"replicates": 1}, {"level": 1.0}, {"level": 0.0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ConfigError, match="at least 2 replicates and a level between 0 and 1, got"):
        Bootstrap(**settings)
