"""What training adds to windows: errors at their rates, ends of instruments, repeats, letters of no organism."""

from dataclasses import replace

import numpy as np
import pytest

from virnucpro.errors import ConfigError
from virnucpro.seq.screen import repetitions
from virnucpro.seq.strings import Strings
from virnucpro.train.augment import gather, repeat_units, with_ends, with_errors, without_origin
from virnucpro.train.settings import DataSettings
from virnucpro.train.shuffle import ADAPTERS

PLAIN = DataSettings("", {"virus": 0.5, "bacteria": 0.5}, max_substitution=0.0)
ACGT = np.frombuffer(b"ACGT", np.uint8)


def windows(n: int = 60, length: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return random windows (n, length) and their lengths, some of which are shorter."""
    rng = np.random.default_rng(seed)
    return rng.choice(ACGT, (n, length)), np.where(np.arange(n) % 3, length, length // 2)


def errors(letters, lengths, seed=1, **changes):
    return with_errors(letters, lengths, replace(PLAIN, **changes), np.random.default_rng(seed))


def test_pieces_are_those_of_the_text():
    text = np.random.default_rng(3).choice(ACGT, 90)
    rows = gather(text, np.array([0, 60, 85]), np.array([20, 30, 5]))
    assert rows.shape == (3, 30)
    for row, begin, n in zip(rows, (0, 60, 85), (20, 30, 5), strict=True):
        assert row[:n].tobytes() == text[begin : begin + n].tobytes()


def test_without_rates_nothing_changes():
    letters, lengths = windows()
    found, sizes = errors(letters, lengths)
    assert np.array_equal(found, letters)
    assert np.array_equal(sizes, lengths)
    assert np.array_equal(with_ends(letters, lengths, PLAIN, np.random.default_rng(0)), letters)


def test_the_same_seed_gives_the_same_windows_and_the_input_stays():
    letters, lengths = windows()
    before = letters.copy()
    every = {"max_substitution": 0.1, "max_indel": 0.1, "max_unknown": 0.1}
    one, two = (errors(letters, lengths, **every) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], errors(letters, lengths, seed=2, **every)[0])
    assert np.array_equal(letters, before)


def test_substitutions_have_the_mean_of_their_rates():
    letters, lengths = windows(400)
    found, sizes = errors(letters, lengths, max_substitution=0.4)
    assert np.array_equal(sizes, lengths)
    # Half of the largest rate, and a quarter of the random letters are the same as before.
    assert (found != letters).mean() == pytest.approx(0.4 / 2 * 0.75, abs=0.015)
    by_window = (found != letters).mean(axis=1)
    assert by_window.min() < 0.03
    assert by_window.max() > 0.26


def test_unknown_letters_are_made_and_filled():
    letters, lengths = windows()
    found, _ = errors(letters, lengths, max_unknown=0.5)
    assert (found == ord("N")).mean() == pytest.approx(0.25, abs=0.05)
    filled, _ = errors(np.where(np.arange(400) % 4, letters, ord("R")), lengths, fill_unknown=True)
    assert np.isin(filled, ACGT).all()
    assert np.array_equal(filled[:, 1::4], letters[:, 1::4])
    counts = np.array([(filled[:, ::4] == base).mean() for base in ACGT])
    assert counts == pytest.approx(np.full(4, 0.25), abs=0.03)


def indel_letters(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return windows in which every letter is its place: what is left out or doubled is then known."""
    return np.tile(np.arange(200, dtype=np.uint8), (300, 1)), np.full(300, 200)


def test_insertions_and_deletions_keep_the_order_of_the_letters():
    letters, lengths = indel_letters(0)
    found, sizes = errors(letters, lengths, max_indel=0.1)
    assert sizes.max() == 200
    assert sizes.min() < 200
    lost = doubled = 0
    for row, n in zip(found, sizes, strict=True):
        kept = row[:n][~np.isin(row[:n], ACGT)].astype(int)  # random letters are inserted, too
        assert (np.diff(kept) >= 0).all()
        seen = np.bincount(kept, minlength=200)[: kept.max()]
        lost += (seen == 0).sum()
        doubled += (seen == 2).sum()
        assert seen.max() <= 2
    # A rate of 0.05 in the mean, half deletions; half of the insertions are of another letter. Codes of A, C, G, T
    # themselves are not counted.
    assert lost / lengths.sum() == pytest.approx(0.025 + 4 / 200, abs=0.006)
    assert doubled / lengths.sum() == pytest.approx(0.0125, abs=0.004)


def test_a_share_of_the_windows_has_indels():
    letters, lengths = indel_letters(0)
    found, _ = errors(letters, lengths, max_indel=0.5, indel_share=0.2)
    assert (found != letters).any(axis=1).mean() == pytest.approx(0.2, abs=0.09)


def test_homopolymers_change_more_often_at_the_same_rate():
    n, rows = 200, 400
    letters = np.tile(np.r_[np.resize(ACGT, n // 2), np.full(n // 2, ord("A"))].astype(np.uint8), (rows, 1))
    lengths = np.full(rows, n)

    def measure(homopolymer: float) -> tuple[float, float]:
        """Return the share of windows whose first 50 nt, which are no homopolymer, are as before; the mean length."""
        found, sizes = errors(letters, lengths, max_indel=0.4, homopolymer=homopolymer)
        return float((found[:, :50] == letters[:, :50]).all(axis=1).mean()), sizes.mean()

    even, weighted = measure(1.0), measure(20.0)
    assert weighted[0] > 0.3 > 0.15 > even[0]
    assert weighted[1] == pytest.approx(even[1], abs=4)  # as many changes in all


def test_no_window_grows_and_short_ones_stay_short():
    letters, lengths = windows()
    _, sizes = errors(letters, lengths, max_indel=0.4, homopolymer=3.0)
    assert (sizes <= lengths).all()
    assert (sizes > 0.6 * lengths).all()


def test_tails_and_heads_are_of_one_base():
    letters, lengths = windows(600, seed=5)
    found = with_ends(letters, lengths, replace(PLAIN, tails=0.5), np.random.default_rng(2))
    changed = [np.flatnonzero(a[:n] != b[:n]) for a, b, n in zip(found, letters, lengths, strict=True)]
    touched = [(row, places) for row, places in enumerate(changed) if len(places)]
    assert len(touched) / 600 == pytest.approx(0.5, abs=0.08)
    heads = 0
    for row, places in touched:
        n = int(lengths[row])
        begin, end = int(places.min()), int(places.max()) + 1
        head = begin < n - end
        heads += head
        assert end - begin <= n // 2
        part = found[row, :end] if head else found[row, begin:n]
        assert np.bincount(part).max() >= 0.7 * len(part)
    assert heads / len(touched) == pytest.approx(0.25, abs=0.1)


def test_adapters_begin_at_their_beginning_and_end_the_window():
    letters, lengths = windows()
    found = with_ends(letters, lengths, replace(PLAIN, adapter_ends=1.0), np.random.default_rng(2))
    for row, before, n in zip(found, letters, lengths, strict=True):
        begin = int(np.argmax(row[:n] != before[:n]))
        end = row[:n].tobytes()
        assert any(end.endswith(adapter[:size]) for adapter in ADAPTERS for size in range(8, len(adapter) + 1))
        assert begin >= n // 2 - 1


@pytest.mark.parametrize("length", [30, 150, 400])
def test_tandem_repeats_have_a_period_and_mutations(length):
    letters, _ = windows(80, length)
    lengths = np.full(80, length)
    chosen = np.arange(80) % 2 == 0
    made = letters.copy()
    repeat_units(made, lengths, chosen, np.random.default_rng(1))
    assert np.array_equal(made[~chosen], letters[~chosen])
    periods = []
    for row in made[chosen]:
        alike = {unit: (row[unit:] == row[:-unit]).mean() for unit in range(20, min(201, length))}
        best = max(alike, key=alike.get)
        periods.append(best)
        if length > 2 * best:
            assert alike[best] > 0.55  # two copies of one unit, up to a fifth of the letters of each drawn anew
    assert repetitions(Strings.of([row.tobytes() for row in made[chosen]])).max() < 0.15
    assert len(set(periods)) > 1


def test_a_part_of_the_windows_has_no_origin():
    letters, lengths = windows(500, 80)
    before = letters.copy()
    made = without_origin(letters, lengths, replace(PLAIN, shuffled=0.2, simple=0.1), np.random.default_rng(4))
    assert made.mean() == pytest.approx(0.3, abs=0.08)
    assert np.array_equal(letters[~made], before[~made])
    alike = 0
    for row, old, n in zip(letters[made], before[made], lengths[made], strict=True):
        assert not np.array_equal(row[:n], old[:n])
        alike += np.array_equal(np.bincount(row[:n], minlength=85), np.bincount(old[:n], minlength=85))
    assert alike / made.sum() == pytest.approx(2 / 3, abs=0.15)  # a shuffled window keeps its letters


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_indel": -0.1}, "max_indel must lie in 0..1"),
        ({"tails": 1.5}, "tails must lie in 0..1"),
        ({"homopolymer": 0.5}, "homopolymer must be a factor of at least 1"),
        ({"min_length": 400}, "min_length must be at least 3 and at most"),
        ({"extra_share": {"virus": 0.5}}, "needs the directory"),
        ({"extra": "x", "extra_share": {"plant": 0.5}}, "extra_share must give classes of class_share"),
        ({"merge": {"virus": "bacteria"}}, "rename host classes"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(PLAIN, **change)
