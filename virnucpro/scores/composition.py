"""The composition of a sample, estimated from the evidence of its records, and what it says about each record.

N records, H host classes. Only histograms and bounded samples are kept, whatever the number of records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from virnucpro.scores.calibration import PRESETS, Floats, against_mixture, probability
from virnucpro.scores.decision import EQUAL
from virnucpro.scores.evidence import NO_EVIDENCE, STEPS, Steps, evidence_steps
from virnucpro.scores.reference import Reference
from virnucpro.types import CONFIDENCE

Evidence = npt.NDArray[np.void]

# The share of the default composition of hosts in every composition, so that no class is ever ruled out.
FLOOR = 0.02
# The records from which the composition of hosts is estimated, at most.
_SAMPLE = 1 << 16
# The default composition counts as much as this number of records.
_PRIOR_RECORDS = 30
_ROUNDS, _CONVERGED = 500, 1e-7
_LIMITS = np.array(list(CONFIDENCE.values()))


@dataclass(frozen=True, slots=True)
class Composition:
    """The composition of a sample.

    `prevalence` is the share of virus among the records with a score, `interval` one of its values at 90 %, None if
    unknown. `hosts` has the shares of the host classes among hosts, by name; it is empty if the model has one host
    class. `fdr` maps evidence under this composition, in steps, to the expected share of others among the records with
    at least that evidence. `thresholds` are the least evidence of a virus by length, `max_fdr` is the highest `fdr` of
    one; if both are None, calls do not depend on the composition.
    """

    prevalence: float
    fdr: Mapping[int, float] = field(repr=False)
    hosts: Mapping[str, float] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    thresholds: Floats | None = field(default=None, repr=False)
    max_fdr: float | None = None

    @property
    def decides(self) -> bool:
        """Whether calls follow from the composition."""
        return self.thresholds is not None or self.max_fdr is not None

    @property
    def shares(self) -> Floats:
        """The shares of the host classes among hosts, (H,)."""
        return np.array(list(self.hosts.values()) or [1.0])

    @property
    def may_be_none(self) -> bool:
        """Whether the share of virus may be zero."""
        return self.interval is not None and self.interval[0] == 0

    @classmethod
    def of(cls, histogram: Mapping[int, int], prevalence: float | None = None) -> Composition | None:
        """Estimate the share of virus from a histogram of evidence, unless it is given; None if it is empty.

        The prevalence is the fixed point of Saerens et al. (2002, doi:10.1162/089976602753284446), at which the mean
        posterior equals the prior. One virus and one other are added, so that a few records never give 0 or 1. The
        likelihood is concave, so bisection finds it.
        """
        if not histogram:
            return None
        steps = np.array(sorted(histogram, reverse=True))
        number = np.array([histogram[step] for step in steps.tolist()], dtype=np.float64)
        low, high = (0.0, 1.0) if prevalence is None else (prevalence, prevalence)
        for _ in range(60):
            middle = (low + high) / 2
            posterior = probability(steps / STEPS, middle)
            if prevalence is not None:
                break
            if (number * posterior).sum() + 1 > (number.sum() + 2) * middle:
                low = middle
            else:
                high = middle
        fdr = np.cumsum(number * (1 - posterior)) / np.cumsum(number)
        return cls(middle, dict(zip(steps.tolist(), fdr.tolist(), strict=True)))

    def judge(self, evidence: Evidence) -> Judgements:
        """Return what the composition says about records with this evidence (N,), of `evidence_type`."""
        steps = evidence["steps"]
        log_ratios = _log_ratios(steps, self.shares)
        known = ~np.isnan(log_ratios)
        found, rows = np.unique(evidence_steps(log_ratios[known]), return_inverse=True)
        rates, printed = np.full(len(steps), np.nan), np.full(len(steps), np.nan)
        fdr = np.array([self.fdr[step] for step in found.tolist()])
        rates[known] = fdr[rows]
        # Decisions follow from the rate that the table has, so that its readers find the same records.
        printed[known] = _four_decimals(fdr)[rows]
        is_virus = None
        if self.max_fdr is not None:
            is_virus = known & (np.nan_to_num(printed, nan=1.0) <= self.max_fdr)
        elif self.thresholds is not None:
            lengths = np.minimum(evidence["length"], len(self.thresholds) - 1)
            is_virus = np.nan_to_num(log_ratios, nan=-np.inf) >= self.thresholds[lengths]
        tier = np.searchsorted(_LIMITS, printed)
        return Judgements(known, probability(log_ratios, self.prevalence), rates, tier, is_virus)


@dataclass(frozen=True, slots=True, eq=False)
class Judgements:
    """What the composition of a sample says about N records.

    `known` says which have evidence; of the others, nothing else is meant. `posterior` (N,) is the probability of virus
    in this sample, `fdr` (N,) the false discovery rate, `tier` (N,) the place in `CONFIDENCE` of a virus with this
    rate, and `is_virus` (N,) the call, None if it does not depend on the composition.
    """

    known: npt.NDArray[np.bool_]
    posterior: Floats
    fdr: Floats
    tier: npt.NDArray[np.intp]
    is_virus: npt.NDArray[np.bool_] | None


@dataclass(frozen=True)
class SampleRule:
    """How the composition of a sample is found, and what follows from it.

    `given` has shares of classes by name; None: they are estimated. With `rate`, calls follow from the composition:
    at most this share of the sample's own hosts is called virus. With `max_fdr`, records whose `fdr` is at most this
    are called virus. `reference` is that of the model, None if it has one host class.
    """

    reference: Reference | None = None
    given: Mapping[str, float] | None = None
    rate: float | None = None
    max_fdr: float | None = None

    @property
    def n_hosts(self) -> int:
        """The number of host classes in evidence."""
        return len(self.reference.hosts) if self.reference else 1

    @classmethod
    def choose(
        cls,
        reference: Reference | None,
        preset: str | None,
        composition: str | Mapping[str, float],
        max_fdr: float | None = None,
    ) -> SampleRule:
        """Return the rule for a model's reference and the user's options; `preset` is None if it does not decide."""
        if reference is None:
            return cls(max_fdr=max_fdr)
        if composition == EQUAL:
            equal = dict(zip(reference.hosts, reference.shares.tolist(), strict=True))
            return cls(reference, equal, max_fdr=max_fdr)
        given = None if isinstance(composition, str) else composition
        return cls(reference, given, PRESETS[preset] if preset else None, max_fdr)

    def composition(self, evidence: Iterable[Evidence]) -> Composition | None:
        """Return the composition of the records with this evidence; it is iterated over two or three times.

        None if no record has evidence.
        """
        found = self._estimate(evidence)
        return None if found is None else replace(found, max_fdr=self.max_fdr)

    def _estimate(self, evidence: Iterable[Evidence]) -> Composition | None:
        if self.reference is None:
            return Composition.of(_histogram(evidence, np.ones(1)))
        hosts, default = self.reference.hosts, self.reference.shares
        sample = bounded_sample(evidence)
        if self.given is None:
            shares = estimate_shares(sample["steps"], default)
        else:
            shares = np.array([self.given.get(name, 0.0) for name in hosts])
            shares = shares / shares.sum() if shares.sum() else default
        shares = (1 - FLOOR) * shares + FLOOR * default
        histogram = _histogram(evidence, shares)
        estimated = Composition.of(histogram, None if self.given is None else self.given.get("virus"))
        if estimated is None:
            return None
        steps = np.array(list(histogram))
        number = np.array(list(histogram.values()))
        posterior = probability(steps / STEPS, estimated.prevalence)
        mean = float(number @ posterior / number.sum())
        deviation = float(np.sqrt(number @ (posterior - mean) ** 2) / number.sum())
        thresholds = None if self.rate is None else self.reference.thresholds(shares, self.rate)
        interval = self.reference.interval(estimated.prevalence, shares, mean, deviation, sample["length"])
        return Composition(
            estimated.prevalence,
            estimated.fdr,
            dict(zip(hosts, shares.tolist(), strict=True)),
            interval,
            thresholds,
        )


def _four_decimals(values: Floats) -> Floats:
    """Return numbers in 0..1 as they are printed with four decimals, (N,).

    >>> _four_decimals(np.array([0.05, 0.05004, 0.05006, 0.00005])).tolist()
    [0.05, 0.05, 0.0501, 0.0001]
    """
    scaled = values * 10_000
    rounded = np.rint(scaled) / 10_000
    # Near a tie, rounding of the product may cross it.
    for row in np.flatnonzero(np.abs(scaled - np.floor(scaled) - 0.5) < 1e-6).tolist():
        rounded[row] = round(float(values[row]), 4)
    return np.asarray(rounded)


def could_be_virus(ratios: Floats, default: Floats) -> npt.NDArray[np.bool_]:
    """Return which records could be called virus under some composition of hosts, from their log ratios (N, H).

    The best case is a sample of the least similar host class, besides the `FLOOR`.
    """
    ratios = np.nan_to_num(ratios, nan=-1.0)  # without evidence, a record is never virus
    best = np.logaddexp(np.log(1 - FLOOR) - ratios.max(axis=1), np.log(FLOOR) - against_mixture(ratios, default))
    return np.asarray(-best >= -0.02)  # evidence is rounded to steps of 0.01


def bounded_sample(evidence: Iterable[Evidence]) -> Evidence:
    """Return at most `_SAMPLE` records with evidence, chosen by their number alone.

    A record is in the sample if the hash of its number is small enough; how small follows from the number of records.
    So the sample is the same however a run is divided.
    """
    kept: list[Evidence] = []
    hashes: list[npt.NDArray[np.uint64]] = []
    first, largest = 0, np.uint64(1 << 63)
    for part in evidence:
        numbers = np.arange(first, first + len(part), dtype=np.uint64)
        first += len(part)
        mixed = (numbers * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(1)
        chosen = (mixed < largest) & (part["steps"][:, 0] != NO_EVIDENCE)
        kept.append(part[chosen])
        hashes.append(mixed[chosen])
        while sum(map(len, kept)) > _SAMPLE:
            largest //= np.uint64(2)
            keep = [one < largest for one in hashes]
            kept = [part[rows] for part, rows in zip(kept, keep, strict=True)]
            hashes = [one[rows] for one, rows in zip(hashes, keep, strict=True)]
    return np.concatenate(kept) if kept else np.zeros(0, np.dtype([("steps", "<i2", (1,)), ("length", "<i4")]))


def estimate_shares(steps: Steps, default: Floats) -> Floats:
    """Return the shares of the host classes among hosts, (H,), from evidence in steps, (N, H).

    Expectation maximisation of the shares of virus and hosts (Saerens et al. 2002), with the default shares (H,) as the
    mean of a Dirichlet prior that weighs as much as `_PRIOR_RECORDS` hosts.
    """
    likelihoods = np.exp(-steps / STEPS)  # of each host class, relative to virus
    prevalence, shares = 0.5, default
    for _ in range(_ROUNDS):
        joint = likelihoods * ((1 - prevalence) * shares)
        total = joint.sum(axis=1) + prevalence
        found = (joint / total[:, None]).sum(axis=0)  # expected records of each host class
        after = (found + _PRIOR_RECORDS * default) / (found.sum() + _PRIOR_RECORDS)
        rate = (len(steps) - found.sum() + 1) / (len(steps) + 2)
        moved = max(abs(rate - prevalence), float(np.abs(after - shares).max()))
        prevalence, shares = rate, after
        if moved < _CONVERGED:
            break
    return shares


def _log_ratios(steps: Steps, shares: Floats) -> Floats:
    """Return log likelihood ratios against a mixture of hosts (N,), NaN without evidence."""
    ratios = np.where(steps == NO_EVIDENCE, np.nan, steps / STEPS)
    return against_mixture(ratios, shares)


def _histogram(evidence: Iterable[Evidence], shares: Floats) -> Counter[int]:
    """Count the records by their evidence under a composition of hosts, in steps."""
    histogram: Counter[int] = Counter()
    for part in evidence:
        count_evidence(histogram, _log_ratios(part["steps"], shares))
    return histogram


def count_evidence(histogram: Counter[int], log_ratios: Floats) -> None:
    """Add log likelihood ratios (N,), in steps, to a histogram; NaN does not count."""
    steps = evidence_steps(log_ratios)
    found, numbers = np.unique(steps[steps != NO_EVIDENCE], return_counts=True)
    histogram.update(dict(zip(found.tolist(), numbers.tolist(), strict=True)))
