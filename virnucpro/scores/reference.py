"""Reference: the evidence of validation windows, from which thresholds and errors under any composition follow.

H host classes. A calibrated model of several host classes has one, in `reference.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from virnucpro.errors import ModelError
from virnucpro.scores.calibration import Floats, against_mixture, probability
from virnucpro.scores.evidence import STEPS, Steps

Ints = npt.NDArray[np.int64]

REFERENCE_FILE = "reference.safetensors"
SHUFFLED = 255  # the class of windows with shuffled dinucleotides; virus has the number H
# An interval is that of samples with this many taxa of each class, so many samples of which are drawn.
_TAXA, _DRAWN = 3, 400
_QUANTILES = 0.05, 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """N windows of one length: evidence against each host class, (N, H) in steps, class and taxon number, (N,)."""

    steps: Steps
    classes: npt.NDArray[np.uint8]
    taxa: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Reference:
    """The evidence of validation windows by length (nt, ascending); `hosts` names the host classes.

    `shares` (H,) are the default shares of the host classes among hosts. `framed` has, by length, the evidence
    of viruses with a frame free of stop codons against hosts in these shares, (M,) in steps; empty if it was not kept.
    """

    hosts: tuple[str, ...]
    shares: Floats
    windows: Mapping[int, Windows]
    framed: Mapping[int, Steps] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Reference:
        """Read a file of `write`.

        Raises:
            ModelError: it is missing or damaged.
        """
        try:
            with safe_open(path, "np") as file:
                header = json.loads(file.metadata()["reference"])
                hosts, shares = tuple(map(str, header["hosts"])), np.array(header["shares"], np.float64)
                windows = {
                    int(n): Windows(*(file.get_tensor(f"{name}.{n}") for name in ("steps", "classes", "taxa")))
                    for n in header["lengths"]
                }
                framed = {int(n): file.get_tensor(f"framed.{n}") for n in header.get("framed", ())}
        except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
            raise ModelError(f"{path} cannot be read: {error}; copy the model directory again") from error
        whole = len(shares) == len(hosts) > 0 and bool(windows)
        whole &= all(one.steps.shape == (len(one.classes), len(hosts)) for one in windows.values())
        if not whole or any(steps.ndim != 1 or not len(steps) for steps in framed.values()):
            raise ModelError(f"{path} is damaged: its arrays do not fit together; copy the model directory again")
        return cls(hosts, shares, dict(sorted(windows.items())), dict(sorted(framed.items())))

    def write(self, path: Path) -> None:
        """Write the reference."""
        tensors: dict[str, Any] = {}
        for n, one in self.windows.items():
            tensors |= {f"steps.{n}": one.steps, f"classes.{n}": one.classes, f"taxa.{n}": one.taxa}
        tensors |= {f"framed.{n}": steps for n, steps in self.framed.items()}
        header = {"hosts": self.hosts, "shares": self.shares.tolist(), "lengths": list(self.windows)}
        header["framed"] = list(self.framed)
        path.write_bytes(save(tensors, {"reference": json.dumps(header)}))

    def thresholds(self, shares: Floats, rate: float) -> Floats:
        """Return the least log likelihood ratio of a virus of 0, 1, 2, ... nt; longer records use the last value.

        Of hosts in these shares (H,), and of shuffled windows, at most `rate` pass. A threshold is never negative.
        """
        return _by_length({n: self._threshold(one, shares, rate) for n, one in self.windows.items()})

    def recall_thresholds(self, recall: float, framed: bool = False) -> Floats:
        """Return the log likelihood ratio that this share of viruses of 0, 1, 2, ... nt reaches, at least.

        It is that against the default mixture of hosts. Longer records use the last value. With `framed`, the viruses
        are those with a frame free of stop codons, if the reference knows them.
        """
        if framed and self.framed:
            return _by_length({n: _reached_by(recall, steps / STEPS) for n, steps in self.framed.items()})
        viruses = {n: one.steps[one.classes == len(self.hosts)] / STEPS for n, one in self.windows.items()}
        return _by_length({n: _reached_by(recall, against_mixture(v, self.shares)) for n, v in viruses.items()})

    def _threshold(self, one: Windows, shares: Floats, rate: float) -> float:
        evidence = against_mixture(one.steps / STEPS, shares)
        weights = np.zeros(len(evidence))
        for number, share in enumerate(self._known_shares(one, shares).tolist()):
            members = one.classes == number
            weights[members] = share / max(1, members.sum())
        shuffled = one.classes == SHUFFLED
        passed = [lowest_threshold(evidence[weights > 0], weights[weights > 0], rate)]
        if shuffled.any():
            passed.append(lowest_threshold(evidence[shuffled], np.full(shuffled.sum(), 1 / shuffled.sum()), rate))
        return max(0.0, *passed)

    def _known_shares(self, one: Windows, shares: Floats) -> Floats:
        """Return the shares of classes that have windows, with sum 1."""
        known = np.where(np.isin(np.arange(len(shares)), one.classes), shares, 0.0)
        return np.asarray(known / known.sum() if known.sum() else known)

    def interval(
        self, prevalence: float, shares: Floats, mean: float, deviation: float, lengths: Ints
    ) -> tuple[float, float]:
        """Return an interval of the share of virus in a sample; 90 % of samples of few taxa should lie in it.

        Windows of few taxa, drawn at random, give other mean posteriors than those of all taxa. The share of virus q
        that explains the mean posterior m of the sample then is (m - host) / (virus - host), where `virus` and `host`
        are the mean posteriors of the drawn windows (Forman 2008, doi:10.1007/s10618-008-0097-y).

        Args:
            prevalence: the estimated share of virus.
            shares: those of host classes among hosts, (H,).
            mean: the mean posterior probability of virus in the sample, and `deviation` its standard error.
            lengths: those of records of the sample, nt.
        """
        means = self._taxon_means(prevalence, shares, lengths)
        rng = np.random.default_rng(0)
        drawn = {
            number: values[rng.integers(0, len(values), (_DRAWN, min(_TAXA, len(values))))].mean(axis=1)
            for number, values in means.items()
        }
        known = [number for number in drawn if number < len(shares)]
        weights = shares[known] / max(shares[known].sum(), 1e-12)
        host = sum(weight * drawn[number] for weight, number in zip(weights, known, strict=True))
        difference = np.maximum(drawn[len(shares)] - host, 0.02)  # less says nothing
        found = (mean + deviation * rng.standard_normal(_DRAWN) - host) / difference
        low, high = np.quantile(found, _QUANTILES).tolist()
        return max(0.0, min(low, prevalence)), min(1.0, max(high, prevalence))

    def _taxon_means(self, prevalence: float, shares: Floats, lengths: Ints) -> dict[int, Floats]:
        """Return the mean posteriors of the taxa of each class, weighted as the lengths of the sample."""
        known = np.log(list(self.windows))
        nearest = np.abs(np.log(np.maximum(lengths, 1))[:, None] - known).argmin(axis=1)
        weights = np.bincount(nearest, minlength=len(known)) / max(1, len(lengths))
        sums, totals = np.zeros(self._n_taxa), np.zeros(self._n_taxa)
        classes = np.full(self._n_taxa, SHUFFLED)
        for weight, one in zip(weights.tolist(), self.windows.values(), strict=True):
            own = one.classes != SHUFFLED
            if weight == 0:
                continue
            posterior = probability(against_mixture(one.steps[own] / STEPS, shares), prevalence)
            taxa = one.taxa[own]
            number = np.bincount(taxa, minlength=self._n_taxa)
            total = np.bincount(taxa, weights=posterior, minlength=self._n_taxa)
            sums += weight * total / np.maximum(number, 1)
            totals += weight * (number > 0)
            classes[taxa] = one.classes[own]
        found = totals > 0
        means = sums[found] / totals[found]
        return {int(number): means[classes[found] == number] for number in np.unique(classes[found]).tolist()}

    @cached_property
    def _n_taxa(self) -> int:
        return 1 + max(int(one.taxa.max(initial=0)) for one in self.windows.values())


def _by_length(values: Mapping[int, float]) -> Floats:
    """Interpolate values by length (nt, ascending); return those at 0, 1, 2, ... nt."""
    lengths = np.array(list(values))
    asked = np.maximum(np.arange(lengths[-1] + 1), 1)
    return np.asarray(np.interp(np.log(asked), np.log(lengths), list(values.values())))


def _reached_by(share: float, evidence: Floats) -> float:
    """Return a threshold that this share of evidence (N,) reaches, at least; half-way to the next lower value."""
    ordered = np.sort(evidence)
    missed = int(len(ordered) * (1 - share) + 1e-9)
    below = ordered[missed - 1] if missed else ordered[0] - 2 / STEPS
    return float(below + ordered[missed]) / 2


def lowest_threshold(evidence: Floats, weights: Floats, rate: float) -> float:
    """Return a threshold that evidence (N,) of a total weight of at most `rate` passes, half-way to the next value."""
    evidence = np.nan_to_num(evidence, nan=-30.0)
    order = np.argsort(-evidence, kind="stable")
    n = int((np.cumsum(weights[order]) <= rate + 1e-9).sum())  # a sum of equal parts may be slightly too large
    bounded = np.concatenate(([evidence.max() + 0.2], evidence[order], [-30.0]))
    return float(bounded[n] + bounded[n + 1]) / 2
