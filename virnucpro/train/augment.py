"""Augment windows of genomes for training: sequencing errors, artefact ends, repeats, random sequence.

W windows are a matrix of letters (W, L), uint8 ASCII; row i has `lengths[i]` letters, and the rest is unspecified.
Every function draws only from `rng`, so that the same seed gives the same windows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from virnucpro.train.settings import DataSettings
from virnucpro.train.shuffle import ADAPTERS, artefact, shuffle_dinucleotides

Letters = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ACGT = np.frombuffer(b"ACGT", dtype=np.uint8)
_UNKNOWN = np.ones(256, dtype=bool)
_UNKNOWN[_ACGT] = False
_UNITS = (20, 200)  # nt, of tandem repeats
_MUTATED = 0.2  # the maximum share of letters in which copies of a unit differ
_TAILS = (10, 150)  # nt
_IMPURE = 0.1  # the maximum share of other letters in a tail
_AT_END = 0.75  # share of tails; the others are at the start


def gather(text: Letters, begins: Ints, lengths: Ints) -> Letters:
    """Return pieces of a text as rows (W, L); L is the longest of `lengths` (W,), `begins` (W,) are the starts."""
    places = begins[:, None] + np.arange(lengths.max(initial=0))
    return text[np.minimum(places, len(text) - 1)]


def without_origin(letters: Letters, lengths: Ints, settings: DataSettings, rng: np.random.Generator) -> Bools:
    """Shuffle a share of the rows and replace a share by simple sequence, in place; return these rows (W,) bool."""
    lots = rng.random(len(letters))
    made: Bools = lots < settings.shuffled + settings.simple
    for row in np.flatnonzero(made).tolist():
        length = int(lengths[row])
        shuffled = lots[row] < settings.shuffled
        letters[row, :length] = shuffle_dinucleotides(letters[row, :length], rng) if shuffled else artefact(length, rng)
    return made


def repeat_units(letters: Letters, lengths: Ints, chosen: Bools, rng: np.random.Generator) -> None:
    """Turn the chosen rows into tandem repeats of their first 20 to 200 nt, in place, with mutated copies."""
    rows = np.flatnonzero(chosen)
    longest = np.maximum(_UNITS[0], np.minimum(_UNITS[1], lengths[rows] // 2))
    units = np.exp(rng.uniform(np.log(_UNITS[0]), np.log(longest + 1))).astype(np.int64)
    phase = rng.integers(0, _UNITS[1], len(rows))
    places = (np.arange(letters.shape[1]) + phase[:, None]) % np.maximum(1, np.minimum(units, lengths[rows]))[:, None]
    repeats = np.take_along_axis(letters[rows], places, axis=1)
    letters[rows] = _substituted(repeats, _MUTATED, rng)


def with_errors(
    letters: Letters, lengths: Ints, settings: DataSettings, rng: np.random.Generator
) -> tuple[Letters, Ints]:
    """Return windows (W, L) with sequencing errors at rates drawn for each window, and their lengths (W,).

    No window becomes longer; a window with more deletions than insertions becomes shorter.
    """
    letters = letters.copy()
    if settings.fill_unknown:
        unknown = _UNKNOWN[letters]
        letters[unknown] = _random_letters(int(unknown.sum()), rng)
    if settings.max_indel and settings.indel_share:
        rows = np.flatnonzero(rng.random(len(letters)) < settings.indel_share)
        if len(rows):
            letters[rows], changed = _with_indels(letters[rows], lengths[rows], settings, rng)
            lengths = lengths.copy()
            lengths[rows] = changed
    if settings.max_substitution:
        letters = _substituted(letters, settings.max_substitution, rng)
    if settings.max_unknown:
        rates = rng.random(len(letters), dtype=np.float32) * np.float32(settings.max_unknown)
        letters[rng.random(letters.shape, dtype=np.float32) < rates[:, None]] = ord("N")
    return letters, lengths


def _random_letters(n: int, rng: np.random.Generator) -> Letters:
    return _ACGT[rng.integers(0, 4, n)]


def _substituted(letters: Letters, largest: float, rng: np.random.Generator) -> Letters:
    """Replace letters by random ones, which may be the same, at a rate up to `largest`, drawn for each row."""
    rates = rng.random(len(letters), dtype=np.float32) * np.float32(largest)
    replaced = rng.random(letters.shape, dtype=np.float32) < rates[:, None]
    letters = letters.copy()
    letters[replaced] = _random_letters(int(replaced.sum()), rng)
    return letters


def _with_indels(
    letters: Letters, lengths: Ints, settings: DataSettings, rng: np.random.Generator
) -> tuple[Letters, Ints]:
    """Delete or double letters of rows (R, L) at rates up to `max_indel`; half of the copies become other letters."""
    n_rows, width = letters.shape
    repeated = np.zeros(letters.shape, dtype=bool)
    repeated[:, 1:] = letters[:, 1:] == letters[:, :-1]
    inside = np.arange(width) < lengths[:, None]
    # The weights have a mean of 1, so that homopolymers do not change the rate of a window.
    weights = np.where(repeated, settings.homopolymer, 1.0).astype(np.float32)
    weights /= (weights * inside).sum(axis=1, keepdims=True) / lengths[:, None].astype(np.float32)
    rates = settings.max_indel * rng.random((n_rows, 1), dtype=np.float32)
    lots = rng.random(letters.shape, dtype=np.float32)
    limit = rates * weights
    copies = np.where(lots < limit, np.where(lots < limit / 2, 0, 2), 1) * inside
    rows = np.repeat(np.arange(n_rows), copies.sum(axis=1))
    after = np.bincount(rows, minlength=n_rows)
    flat = np.repeat(letters.ravel(), copies.ravel())
    second = np.zeros(len(flat), dtype=bool)  # the second of two copies
    second[np.cumsum(copies.ravel())[copies.ravel() == 2] - 1] = True
    second &= rng.random(len(flat), dtype=np.float32) < 0.5
    flat[second] = _random_letters(int(second.sum()), rng)
    place = np.arange(len(flat)) - np.repeat(np.cumsum(after) - after, after)
    kept = place < lengths[rows]
    out = letters.copy()
    out[rows[kept], place[kept]] = flat[kept]
    return out, np.minimum(after, lengths)


def with_ends(letters: Letters, lengths: Ints, settings: DataSettings, rng: np.random.Generator) -> Letters:
    """Return windows, some with a homopolymer at an end or an adapter at the 3' end; lengths stay.

    A tail has one base, 10 to 150 nt, at most half of the window, with a few other letters; an adapter is cut to fit.
    """
    letters = letters.copy()
    lots = rng.random(len(letters))
    tailed = np.flatnonzero(lots < settings.tails)
    if len(tailed):
        own = lengths[tailed]
        longest = np.maximum(_TAILS[0], np.minimum(_TAILS[1], own // 2))
        sizes = np.exp(rng.uniform(np.log(_TAILS[0]), np.log(longest + 1))).astype(np.int64)
        begins = np.where(rng.random(len(tailed)) < _AT_END, own - sizes, 0)
        columns = np.arange(letters.shape[1])
        within = (columns >= begins[:, None]) & (columns < (begins + sizes)[:, None])
        tails = np.broadcast_to(_random_letters(len(tailed), rng)[:, None], within.shape)
        letters[tailed] = np.where(within, _substituted(tails, _IMPURE, rng), letters[tailed])
    adapted = np.flatnonzero((lots >= settings.tails) & (lots < settings.tails + settings.adapter_ends))
    for row in adapted.tolist():
        adapter = np.frombuffer(ADAPTERS[rng.integers(len(ADAPTERS))], np.uint8)
        length = int(lengths[row])
        size = int(rng.integers(8, len(adapter) + 1))
        size = min(size, length // 2)
        letters[row, length - size : length] = adapter[:size]
    return letters
