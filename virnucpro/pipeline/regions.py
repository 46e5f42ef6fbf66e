"""Regions of virus along a record, from the evidence of its windows: a hidden Markov model of two states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_MOST = 30.0  # evidence beyond it changes nothing that a float could show


@dataclass(frozen=True, slots=True)
class Landscape:
    """What is expected along a record: mean lengths (nt) of regions of virus and of what lies between, and how the
    evidence of a window counts: `weight` for each unit of it (neighbours overlap and agree) above `neutral`, which is
    below 0 since the genes of a prophage look less like a virus than those of a free phage. See docs/regions.md."""

    virus_length: float = 30_000
    other_length: float = 100_000
    weight: float = 0.3
    neutral: float = -1.0


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
