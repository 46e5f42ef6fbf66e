"""Regions of virus along a record, from the evidence of its windows: a hidden Markov model of two states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.config import number

Floats = npt.NDArray[np.float64]

_MOST = 30.0  # evidence beyond it changes nothing that a float could show

# Composition: 4-mers of either strand, counted in stretches of so many nt, and so many more as in the whole record.
_STRETCH, _PSEUDO = 4000, 20
_LEAST_RECORD = 100_000  # nt; of a shorter one it is not known what is usual
_STRANGENESS = -1.0, 8.0  # what lies beyond counts as this
_CODES = np.full(256, 4, np.uint8)  # 4: an ambiguous letter
_CODES[list(b"ACGTU")] = 0, 1, 2, 3, 3
_FOURS = np.arange(256)
_CANONICAL = np.minimum(_FOURS, sum((3 - (_FOURS >> 2 * i & 3)) << 2 * (3 - i) for i in range(4)))


@dataclass(frozen=True, slots=True)
class Landscape:
    """What is expected along a record.

    `virus_length` and `other_length` are mean lengths (nt) of regions of virus and of what lies between. The evidence
    of a window counts with `weight` for each unit of it (neighbours overlap and agree) above `neutral`, which is below
    0 since the genes of a prophage look less like a virus than those of a free phage. A unit of `strangeness` adds
    `composition` to the evidence. See docs/regions.md.
    """

    virus_length: float = 30_000
    other_length: float = 100_000
    weight: float = 0.3
    neutral: float = -1.0
    composition: float = 0.0

    def __post_init__(self) -> None:
        for name in ("virus_length", "other_length", "weight", "neutral", "composition"):
            positive = name not in ("neutral", "composition")
            least = 0 if positive or name == "composition" else -math.inf
            number(name, getattr(self, name), least, inclusive=not positive)


# Finds remnants of prophages too, and more that are none.
REMNANTS = Landscape(weight=0.1, neutral=-1.25, composition=0.5)


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a record, 0-based and half-open (nt), and the mean posterior of its windows."""

    start: int
    end: int
    n_windows: int
    posterior: float


def posteriors(evidence: Floats, step: int, landscape: Landscape) -> Floats:
    """Return the probability (n,) that each window lies in virus, by the forward-backward algorithm.

    Rabiner 1989, doi:10.1109/5.18626; in odds, since there are two states.

    Args:
        evidence: (n,) log likelihood ratios of windows, NaN where there is none.
        step: from the start of a window to that of the next, nt.
        landscape: what is expected.
    """
    enter, leave = step / landscape.other_length, step / landscape.virus_length
    shifted = landscape.weight * (evidence - landscape.neutral)
    ratios = np.exp(np.clip(np.nan_to_num(shifted, nan=0.0), -_MOST, _MOST)).tolist()
    forward = np.empty(len(ratios))
    virus = enter / (enter + leave)  # its share at the first window
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


def strangeness(sequence: bytes, middles: Sequence[int]) -> Floats:
    """Return by how much the 4-mers around each place differ from those of the whole record: 0 as is usual there.

    It is the divergence of Kullback and Leibler, less its median, in units of the distance between its quartiles.
    4-mers with ambiguous letters, such as those of gaps, are left out: around a place are the nearest others.
    """
    if len(sequence) < _LEAST_RECORD:
        return np.zeros(len(middles))
    codes = _CODES[np.frombuffer(sequence, np.uint8)]
    fours = codes[:-3] << 6 | codes[1:-2] << 4 | codes[2:-1] << 2 | codes[3:]  # (length - 3,)
    places = np.minimum(middles, len(fours))
    inside = np.ones(len(places), np.bool_)  # middles that are not in gaps: these tell what is usual
    if (unknown := codes > 3).any():
        known = ~(unknown[:-3] | unknown[1:-2] | unknown[2:-1] | unknown[3:])
        inside = np.append(known, known[-1:])[places]
        places = np.concatenate(([0], np.cumsum(known)))[places]
        fours = fours[known]
    if len(fours) + 3 < _LEAST_RECORD or not inside.any():
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
    result: Floats = np.clip((found - median) / max(high - low, 1e-9), *_STRANGENESS)
    return result


def regions(
    probabilities: Floats, bounds: Sequence[int], threshold: float = 0.5, min_length: int = 0
) -> Iterator[Region]:
    """Yield the stretches of windows whose probability reaches the threshold, if they have the least length (nt).

    Args:
        probabilities: (n,) of windows in order.
        bounds: (n + 1) where the stretch that stands for each window begins and ends, nt.
    """
    inside = np.concatenate(([False], probabilities >= threshold, [False]))
    edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    for first, end in edges.tolist():
        if bounds[end] - bounds[first] >= min_length:
            yield Region(bounds[first], bounds[end], end - first, float(probabilities[first:end].mean()))
