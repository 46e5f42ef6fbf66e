"""Calibrate a model on labelled genomes: evidence by length, its pooling over chunks, thresholds of the presets.

N windows of K chunks, H host classes of the model. In all likelihood ratios, rates and errors here, virus weighs as
much as all hosts together, and all host classes that have windows weigh the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.config import FrameRule
from virnucpro.evaluate.genomes import VIRUS, Window
from virnucpro.evaluate.metrics import auroc, calibration_error
from virnucpro.scores.calibration import (
    PRESETS,
    Calibration,
    Floats,
    Knot,
    OperatingPoint,
    against_mixture,
    probability,
)
from virnucpro.scores.evidence import Steps, evidence_steps
from virnucpro.scores.reference import SHUFFLED, Reference, Windows, lowest_threshold
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.strings import Strings
from virnucpro.train.scorer import Scored, Scorer

PREVALENCE = 0.5
CHUNK_LENGTHS = (75, 100, 150, 200, 300, 400)  # nt, besides the model's chunk length
RECORD_CHUNKS = (2, 4, 10, 20)  # of records; the last only if genomes of all classes are long enough
POOLING = [step / 20 for step in range(21)]  # exponents to try
# The most windows of a class and length in the reference of a model.
REFERENCE_WINDOWS = 400
# The fewest viruses with a frame free of stop codons at a length from which a limit of a screen follows.
LEAST_FRAMED = 100
# The default share of a host class of the model without windows, against 1 for the others.
_WITHOUT_WINDOWS = 0.2
_RIDGE = 1e-6  # without it, slopes have no limit if a length separates the classes
_ROUNDS, _CONVERGED = 60, 1e-12
_TURNS = 3  # of fitting the weights of 9-mers and the knots


def default_shares(hosts: Sequence[str], known: Sequence[str]) -> Floats:
    """Return the default shares (H,) of host classes among hosts; `known` are the classes that have windows."""
    if len(hosts) == 1:
        return np.ones(1)
    shares = np.array([1.0 if name in known else _WITHOUT_WINDOWS for name in hosts])
    return np.asarray((shares / shares.sum()).round(6) / (shares / shares.sum()).round(6).sum())


def fit_knot(length: int, scored: Scored, hosts: Sequence[str], kmers: Sequence[float] = ()) -> Knot:
    """Fit log likelihood ratios to outputs of single chunks (N, 1, H) by vector scaling (Guo et al. 2017).

    It is a weighted multinomial regression of the class on the outputs, with a slope and an intercept for each host
    class, by Newton's method. A host class without windows gets the mean slope and no intercept. `kmers` (S,) are the
    weights of 9-mers, whose evidence is known.
    """
    scored = scored.known()
    values, weights = scored.values[:, 0], scored.weights
    offset = scored.sums[:, 0] @ np.array(kmers) if kmers else np.zeros(len(values))
    known = [0] if len(hosts) == 1 else [hosts.index(name) for name in scored.hosts]
    labels = _labels(scored.classes, [hosts[h] for h in known]) if len(hosts) > 1 else (~scored.is_virus)[:, None]
    log_prior = -np.log(len(known)) - offset[:, None]  # of each host class, relative to virus
    inputs = np.stack((values[:, known], np.ones((len(values), len(known)))), axis=2)  # (N, known, 2)
    fitted = np.tile([1.0, 0.0], (len(known), 1))
    loss, posterior = _multinomial(inputs, fitted, labels, weights, log_prior)
    for _ in range(_ROUNDS):
        gradient = -np.einsum("n,nh,nhi->hi", weights, posterior - labels, inputs) + _RIDGE * fitted
        curvature = np.einsum("nh,hg->nhg", posterior, np.eye(len(known))) - posterior[:, :, None] * posterior[:, None]
        hessian = np.einsum("n,nhg,nhi,ngj->higj", weights, curvature, inputs, inputs, optimize=True)
        size = 2 * len(known)
        step = np.linalg.solve(hessian.reshape(size, size) + _RIDGE * np.eye(size), gradient.ravel()).reshape(-1, 2)
        while True:
            tried = fitted - step
            found, after = _multinomial(inputs, tried, labels, weights, log_prior)
            if found <= loss + _CONVERGED or np.abs(step).max() < 1e-6:
                break
            step /= 2
        is_done = loss - found < _CONVERGED
        fitted, loss, posterior = tried, found, after
        if is_done:
            break
    slope, intercept = np.full(len(hosts), fitted[:, 0].mean()), np.zeros(len(hosts))
    slope[known], intercept[known] = fitted.T
    return Knot(length, tuple(slope.round(4).tolist()), tuple(intercept.round(4).tolist()), 0.0)


def fit_kmers(single: dict[int, Scored], knots: dict[int, Knot], shares: Floats) -> tuple[float, ...]:
    """Fit the weights of 9-mers (S,) to outputs of single chunks by length, beside the evidence of their knots.

    It is a weighted logistic regression, with one weight for all lengths and host classes: hosts of some classes share
    species with the genomes of the filter, and weights of their own would be too large.
    """
    parts = [(scored.known(), knots[length]) for length, scored in single.items()]
    sums = np.concatenate([scored.sums[:, 0] for scored, _ in parts])
    offset = np.concatenate([against_mixture(scored.evidence(knot).values, shares) for scored, knot in parts])
    weights = np.concatenate([scored.weights for scored, _ in parts])
    is_virus = np.concatenate([scored.is_virus for scored, _ in parts])
    of_length = np.repeat(np.arange(len(parts)), [len(scored.classes) for scored, _ in parts])
    design = np.concatenate((sums, np.eye(len(parts))[of_length]), axis=1)  # and an intercept for each length
    fitted = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        p = probability(offset + design @ fitted, PREVALENCE)
        gradient = design.T @ (weights * (is_virus - p)) - _RIDGE * fitted
        hessian = (design.T * (weights * p * (1 - p))) @ design + _RIDGE * np.eye(len(fitted))
        fitted += np.linalg.solve(hessian, gradient)
    return tuple(fitted[: sums.shape[1]].round(4).tolist())


def _labels(classes: npt.NDArray[np.str_], hosts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which windows (N,) are of which of these classes, (N, hosts)."""
    return np.asarray(classes[:, None] == np.array(hosts))


def _multinomial(
    inputs: Floats, fitted: Floats, labels: npt.NDArray[np.bool_], weights: Floats, log_prior: Floats
) -> tuple[float, Floats]:
    """Return the mean log loss of a fit, with the ridge, and the posteriors of the host classes (N, known)."""
    logits = log_prior - np.einsum("nhi,hi->nh", inputs, fitted)
    largest = np.maximum(0.0, logits.max(axis=1))
    total = np.exp(-largest) + np.exp(logits - largest[:, None]).sum(axis=1)
    log_total = largest + np.log(total)
    named = np.where(labels, logits, 0.0).sum(axis=1)  # the logit of virus is 0
    loss = float(weights @ (log_total - named)) + _RIDGE / 2 * float((fitted**2).sum())
    return loss, np.exp(logits - log_total[:, None])


def fit_pooling(knot: Knot, records: Sequence[Scored], shares: Floats, kmers: Sequence[float] = ()) -> Knot:
    """Return the knot with the exponent of the lowest log loss on records (N, K, H) of several chunks."""
    tried = [replace(knot, pooling=exponent) for exponent in POOLING]
    return min(tried, key=lambda one: sum(log_loss(scored.evidence(one, kmers), shares) for scored in records))


def held_out_error(
    length: int, scored: Scored, hosts: Sequence[str], shares: Floats, kmers: Sequence[float] = ()
) -> float:
    """Return the calibration error of outputs (N, 1, H); each half of the taxa is scored by a fit to the other half."""
    scored = scored.known()
    half = np.unique(scored.taxa, return_inverse=True)[1] % 2  # taxa are sorted by class
    evidence = np.zeros((len(half), len(hosts)))
    for fold in (0, 1):
        knot = fit_knot(length, scored.take(half != fold), hosts, kmers)
        evidence[half == fold] = scored.take(half == fold).evidence(knot, kmers).values
    return _error(replace(scored, values=evidence), shares)


def _error(scored: Scored, shares: Floats) -> float:
    scores = probability(against_mixture(scored.values, shares), PREVALENCE)
    return round(calibration_error(scores, scored.is_virus, scored.weights), 4)


def log_loss(scored: Scored, shares: Floats) -> float:
    """Return the mean of -ln(probability of virus or host) of windows with this evidence (N, H)."""
    scored = scored.known()
    ratios = against_mixture(scored.values, shares)
    return float(scored.weights @ np.logaddexp(0, np.where(scored.is_virus, -1, 1) * ratios))


def operating_point(
    length: int, rate: float, scored: Scored, shares: Floats, shuffled: Scored | None = None
) -> OperatingPoint:
    """Return the lowest threshold on evidence (N, H) that at most `rate` of hosts, and of shuffled windows, pass.

    It is never negative: evidence against virus never gives a virus, even if few hosts reach it. Windows without
    evidence are never called, but count.
    """
    values, virus = against_mixture(scored.values, shares), scored.is_virus
    threshold = max(0.0, lowest_threshold(values[~virus], 2 * scored.weights[~virus], rate))
    if shuffled is not None:
        passed = against_mixture(shuffled.values, shares)
        threshold = max(threshold, lowest_threshold(passed, shuffled.weights, rate))
    return measured(length, round(threshold, 4), scored, shares, shuffled)


def measured(
    length: int, threshold: float, scored: Scored, shares: Floats, shuffled: Scored | None = None
) -> OperatingPoint:
    """Measure a threshold on windows with this evidence (N, H), and on shuffled ones."""
    called, virus = against_mixture(scored.values, shares) >= threshold, scored.is_virus
    false_positives = np.mean([called[scored.classes == host].mean() for host in scored.hosts])
    recall, false_positives = round(float(called[virus].mean()), 4), round(float(false_positives), 4)
    if shuffled is None:
        return OperatingPoint(length, threshold, recall, false_positives)
    passed = float(shuffled.weights @ (against_mixture(shuffled.values, shares) >= threshold))
    return OperatingPoint(length, threshold, recall, false_positives, round(passed, 4))


def reference_windows(scored: Scored, shuffled: Scored, hosts: Sequence[str], taxa: Sequence[str]) -> Windows:
    """Return the evidence (N, H) of windows and shuffled windows for a `Reference`; `taxa` are all taxa, sorted."""
    scored, shuffled = _thinned(scored.known()), _thinned(shuffled.known())
    numbers = {**{name: number for number, name in enumerate(hosts)}, VIRUS: len(hosts)}
    classes = [numbers[name] for name in scored.classes.tolist()] + [SHUFFLED] * len(shuffled.classes)
    of_taxon = np.searchsorted(taxa, np.concatenate((scored.taxa, shuffled.taxa)))
    steps = evidence_steps(np.concatenate((scored.values, shuffled.values)))
    return Windows(steps, np.array(classes, np.uint8), of_taxon.astype(np.int32))


def framed_evidence(drawn: Sequence[Window], scored: Scored, shares: Floats) -> Steps:
    """Return the evidence, in steps and sorted, of those windows of viruses that have a frame free of stop codons.

    `scored` has that of the drawn windows (N, H); `shares` are those of the hosts that it is stated against.
    """
    found = find_frames(Strings.of([window.sequence for window in drawn]), FrameRule("stop_free"))
    known = scored.is_virus & np.isin(np.arange(len(drawn)), found.chunk) & ~np.isnan(scored.values).any(axis=1)
    return np.sort(evidence_steps(against_mixture(scored.values[known], shares)))


def _thinned(scored: Scored) -> Scored:
    """Return at most `REFERENCE_WINDOWS` windows of each class, evenly spaced."""
    chosen = np.zeros(len(scored.classes), bool)
    for name in np.unique(scored.classes):
        rows = np.flatnonzero(scored.classes == name)
        chosen[rows[np.linspace(0, len(rows) - 1, min(len(rows), REFERENCE_WINDOWS)).astype(int)]] = True
    return scored.take(chosen)


def calibrate(scorer: Scorer, seed: int = 0) -> tuple[Calibration, Reference | None, dict[str, Any]]:
    """Return the calibration of the scorer's model, its reference if it has several host classes, and figures.

    It fits slopes and intercepts for each length, then the exponents with the lowest log loss over pairs of chunks of
    each length and over records of full chunks, then the thresholds. Figures are JSON-able values.
    """
    model, hosts = scorer.predictor.description, scorer.hosts
    longest = model.chunk_length
    shorter = [length for length in CHUNK_LENGTHS if model.min_length <= length < longest]
    windows = {length: scorer.draw(length, seed) for length in (*shorter, longest)}
    single = {length: scorer.score(drawn) for length, drawn in windows.items()}
    shuffled = {length: scorer.score(drawn[::3], shuffled=True) for length, drawn in windows.items()}
    pairs = {length: scorer.score(scorer.draw(2 * length, seed)[::3], halves=True) for length in shorter}
    most, drawn = scorer.draw_longest(RECORD_CHUNKS, seed)
    whole, whole_shuffled = scorer.score(drawn[::5]), scorer.score(drawn[::5], shuffled=True)
    records = {n * longest: (whole.pieces(n), whole_shuffled.pieces(n)) for n in RECORD_CHUNKS if n <= most}
    shares = default_shares(hosts, single[longest].hosts)

    several = {**{length: [pair] for length, pair in pairs.items()}, longest: [both[0] for both in records.values()]}
    kmers: tuple[float, ...] = ()
    knots = {length: fit_knot(length, scored, hosts) for length, scored in single.items()}
    if single[longest].sums.shape[2]:
        for _ in range(_TURNS):
            kmers = fit_kmers(single, knots, shares)
            knots = {length: fit_knot(length, scored, hosts, kmers) for length, scored in single.items()}
    knots = {length: fit_pooling(knot, several[length], shares, kmers) for length, knot in knots.items()}
    evidence = {
        length: (single[length].evidence(knot, kmers), shuffled[length].evidence(knot, kmers))
        for length, knot in knots.items()
    }
    last = knots[longest]
    evidence |= {
        length: (one.evidence(last, kmers), other.evidence(last, kmers)) for length, (one, other) in records.items()
    }
    presets = {
        name: tuple(operating_point(length, rate, one, shares, other) for length, (one, other) in evidence.items())
        for name, rate in PRESETS.items()
    }
    several_hosts = len(hosts) > 1
    calibration = Calibration(PREVALENCE, tuple(knots.values()), presets, tuple(shares.tolist()) * several_hosts, kmers)
    reference = None
    if several_hosts:
        taxa = sorted({taxon for one, _ in evidence.values() for taxon in one.taxa.tolist()})
        by_length = {length: reference_windows(one, other, hosts, taxa) for length, (one, other) in evidence.items()}
        framed = {n: framed_evidence(drawn, evidence[n][0], shares) for n, drawn in windows.items()}
        kept = {n: steps for n, steps in sorted(framed.items()) if len(steps) >= LEAST_FRAMED}
        reference = Reference(tuple(hosts), shares, by_length, kept)
    figures = {
        "windows": {str(length): len(drawn) for length, drawn in windows.items()},
        "held_out_calibration_error": {
            str(n): held_out_error(n, scored, hosts, shares, kmers) for n, scored in single.items()
        },
        "records": {str(length): _compare_rules(one, last, shares, kmers) for length, (one, _) in records.items()},
        "pairs": {
            f"2 x {n}": _pair_figures(pair.evidence(knots[n], kmers), n, calibration, shares)
            for n, pair in pairs.items()
        },
        "adapters_called": {
            str(n): _share_called(
                against_mixture(scorer.score_adapters(n).evidence(knot, kmers).values, shares), n, calibration
            )
            for n, knot in knots.items()
        },
    }
    return calibration, reference, figures


def _pair_figures(evidence: Scored, length: int, calibration: Calibration, shares: Floats) -> dict[str, Any]:
    """Return the calibration error of pairs with `length` nt per mate, and the shares that each preset calls virus."""
    figures: dict[str, Any] = {"calibration_error": _error(evidence.known(), shares)}
    for name in PRESETS:
        point = measured(2 * length, calibration.thresholds(name)[2 * length], evidence, shares)
        figures[name] = {"recall": point.recall, "false_positive_rate": point.false_positive_rate}
    return figures


def _share_called(evidence: Floats, length: int, calibration: Calibration) -> dict[str, float]:
    return {name: round(float((evidence >= calibration.thresholds(name)[length]).mean()), 4) for name in PRESETS}


def _compare_rules(
    scored: Scored, knot: Knot, shares: Floats, kmers: Sequence[float] = ()
) -> dict[str, dict[str, float]]:
    """Return the figures of several rules for pooling a record's chunks; `chosen` is `Calibration.pool`."""
    scored = scored.known()
    by_chunk = np.array(knot.slope) * scored.values + np.array(knot.intercept)
    if kmers:
        by_chunk = by_chunk + (scored.sums @ np.array(kmers))[:, :, None]
    ratios = against_mixture(by_chunk, shares)  # (N, K)
    mean_score = np.nanmean(probability(ratios, PREVALENCE), axis=1)
    ways = {
        "mean score": np.log(mean_score / (1 - mean_score)),
        "largest": np.nanmax(ratios, axis=1),
        "mean": against_mixture(scored.evidence(replace(knot, pooling=0.0), kmers).values, shares),
        "sum": against_mixture(scored.evidence(replace(knot, pooling=1.0), kmers).values, shares),
        "chosen": against_mixture(scored.evidence(knot, kmers).values, shares),
    }
    figures = {}
    for name, values in ways.items():
        way = replace(scored, values=values[:, None])
        by_host = [auroc(values[way.is_virus], values[way.classes == host]) for host in way.hosts]
        macro, one = round(float(np.mean(by_host)), 4), np.ones(1)
        figures[name] = {
            "macro_auroc": macro, "log_loss": round(log_loss(way, one), 4), "calibration_error": _error(way, one)
        }  # fmt: skip
    return figures
