"""Regions of virus along a record, from the evidence of its windows: a hidden Markov model of two states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.config import number

Floats = npt.NDArray[np.float64]

_MAX_EVIDENCE = 30.0  # beyond it, a float cannot show the difference in odds

# Composition: 4-mers of both strands, counted in stretches of _STRETCH nt, plus _PSEUDO counts with the frequencies
# of the whole record.
_STRETCH, _PSEUDO = 4000, 20
_MIN_RECORD = 100_000  # nt; a shorter record does not show what is usual
_DIVERGENCE_RANGE = -1.0, 8.0  # values are clipped to it
_CODES = np.full(256, 4, np.uint8)  # 4: an ambiguous letter
_CODES[list(b"ACGTU")] = 0, 1, 2, 3, 3
_FOURS = np.arange(256)
_CANONICAL = np.minimum(_FOURS, sum((3 - (_FOURS >> 2 * i & 3)) << 2 * (3 - i) for i in range(4)))


@dataclass(frozen=True, slots=True)
class Landscape:
    """The parameters of the hidden Markov model.

    `virus_length` and `other_length` are mean lengths (nt) of viral regions and of the stretches between them. The
    evidence of a window counts as `weight` * (evidence - `evidence_offset`). The weight is below 1 because neighbouring
    windows overlap and agree; the offset is below 0 because the genes of a prophage look less viral than those of a
    free phage. A unit of `kmer_divergence` adds `composition` to the evidence. See docs/regions.md.
    """

    virus_length: float = 30_000
    other_length: float = 100_000
    weight: float = 0.3
    evidence_offset: float = -1.0
    composition: float = 0.0

    def __post_init__(self) -> None:
        for name in ("virus_length", "other_length", "weight", "evidence_offset", "composition"):
            positive = name not in ("evidence_offset", "composition")
            minimum = 0 if positive or name == "composition" else -math.inf
            number(name, getattr(self, name), minimum, inclusive=not positive)


# Also finds remnants of prophages, and more false regions.
REMNANTS = Landscape(weight=0.1, evidence_offset=-1.25, composition=0.5)


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a record, 0-based and half-open (nt), and the mean posterior of its windows."""

    start: int
    end: int
    n_windows: int
    posterior: float


def posteriors(evidence: Floats, step: int, landscape: Landscape) -> Floats:
    """Return the probability (n,) that each window is viral, by the forward-backward algorithm.

    Rabiner 1989, doi:10.1109/5.18626; computed in odds, since there are two states.

    Args:
        evidence: (n,) log likelihood ratios of windows, NaN if a window has none.
        step: distance between the starts of successive windows, nt.
        landscape: parameters of the model.
    """
    enter, leave = step / landscape.other_length, step / landscape.virus_length
    shifted = landscape.weight * (evidence - landscape.evidence_offset)
    ratios = np.exp(np.clip(np.nan_to_num(shifted, nan=0.0), -_MAX_EVIDENCE, _MAX_EVIDENCE)).tolist()
    forward = np.empty(len(ratios))
    virus = enter / (enter + leave)  # the share of virus at the first window
    for i, ratio in enumerate(ratios):
        odds = ratio * virus / (1 - virus)
        forward[i] = odds
        virus = (odds * (1 - leave) + enter) / (1 + odds)
    backward = np.empty(len(ratios))
    after = 1.0
    for i in range(len(ratios) - 1, -1, -1):
        backward[i] = after
        seen = ratios[i] * after
        after = ((1 - leave) * seen + leave) / (enter * seen + 1 - enter)
    odds_of_all = forward * backward
    result: Floats = odds_of_all / (1 + odds_of_all)
    return result


def kmer_divergence(sequence: bytes, middles: Sequence[int]) -> Floats:
    """Return how much the 4-mers around each position differ from those of the whole record; 0 is typical.

    This is the Kullback-Leibler divergence minus its median, divided by its interquartile range. 4-mers with ambiguous
    letters, such as in gaps, are left out; the nearest others take their place.
    """
    if len(sequence) < _MIN_RECORD:
        return np.zeros(len(middles))
    codes = _CODES[np.frombuffer(sequence, np.uint8)]
    fours = codes[:-3] << 6 | codes[1:-2] << 4 | codes[2:-1] << 2 | codes[3:]  # (length - 3,)
    places = np.minimum(middles, len(fours))
    inside = np.ones(len(places), np.bool_)  # positions outside gaps, which define what is typical
    if (unknown := codes > 3).any():
        known = ~(unknown[:-3] | unknown[1:-2] | unknown[2:-1] | unknown[3:])
        inside = np.append(known, known[-1:])[places]
        places = np.concatenate(([0], np.cumsum(known)))[places]
        fours = fours[known]
    if len(fours) + 3 < _MIN_RECORD or not inside.any():
        return np.zeros(len(middles))
    usual = np.bincount(_CANONICAL, np.bincount(fours, minlength=256) + 1.0, 256)
    usual, used = usual / usual.sum(), usual > 0
    found = np.empty(len(middles))
    for i, middle in enumerate(places.tolist()):
        around = fours[max(0, middle - _STRETCH // 2) : middle + _STRETCH // 2]
        counts = np.bincount(_CANONICAL, np.bincount(around, minlength=256), 256)[used] + _PSEUDO * usual[used]
        share = counts / counts.sum()
        found[i] = share @ np.log(share / usual[used])
    low, median, high = np.percentile(found[inside], (25, 50, 75))
    result: Floats = np.clip((found - median) / max(high - low, 1e-9), *_DIVERGENCE_RANGE)
    return result


def regions(
    probabilities: Floats, bounds: Sequence[int], threshold: float = 0.5, min_length: int = 0
) -> Iterator[Region]:
    """Yield runs of windows whose probability reaches the threshold, if they are at least `min_length` nt long.

    Args:
        probabilities: (n,) of windows in order.
        threshold: minimum probability of each window.
        bounds: (n + 1,) borders of the stretches that the windows stand for, nt.
        min_length: minimum length of a region, nt.
    """
    inside = np.concatenate(([False], probabilities >= threshold, [False]))
    edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    for first, end in edges.tolist():
        if bounds[end] - bounds[first] >= min_length:
            yield Region(bounds[first], bounds[end], end - first, float(probabilities[first:end].mean()))
