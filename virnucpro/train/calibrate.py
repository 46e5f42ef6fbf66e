"""Calibrate a model on labelled genomes: evidence by length, its pooling over chunks, thresholds of the presets.

N windows of K chunks. In all likelihood ratios, rates and errors here, virus weighs as much as all hosts together, and
all host classes weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.config import Options
from virnucpro.errors import ConfigError
from virnucpro.evaluate.genomes import VIRUS, Genomes, Window, sample_windows
from virnucpro.evaluate.metrics import auroc, calibration_error
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.registry import Model
from virnucpro.scores.calibration import PRESETS, Calibration, Floats, Knot, OperatingPoint, probability
from virnucpro.train.shuffle import adapters, shuffle_dinucleotides
from virnucpro.types import Record
from virnucpro.words import counted

PREVALENCE = 0.5
CHUNK_LENGTHS = (75, 100, 150, 200, 300, 400)  # nt, besides the model's chunk length
RECORD_CHUNKS = (2, 4, 10)
POOLING = [step / 20 for step in range(21)]  # exponents to try
# More repetitive chunks do not show their origin; every repeat of a unit of up to 6 nt exceeds this.
MAX_REPETITION = 0.15
_IDENTITY = Calibration(
    PREVALENCE, (Knot(1, 1.0, 0.0, 0.0),), dict.fromkeys(PRESETS, (OperatingPoint(1, 0.0, 0.0, 0.0),))
)


@dataclass(frozen=True, slots=True)
class Scored:
    """Values (N, K) of the chunks of windows, NaN without a value, and classes (N,) and taxa (N,) of the windows."""

    values: Floats
    classes: npt.NDArray[np.str_]
    taxa: npt.NDArray[np.str_]

    @property
    def is_virus(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.classes == VIRUS)

    @property
    def hosts(self) -> list[str]:
        return sorted(set(self.classes[~self.is_virus].tolist()))

    @property
    def weights(self) -> Floats:
        """Weights (N,) with sum 1: half for virus, the other half divided equally among the host classes."""
        names, number, counts = np.unique(self.classes, return_inverse=True, return_counts=True)
        return np.asarray((np.where(names == VIRUS, 0.5, 0.5 / (len(names) - 1)) / counts)[number])

    def take(self, chosen: npt.NDArray[np.bool_]) -> Scored:
        """Return the chosen windows."""
        return Scored(self.values[chosen], self.classes[chosen], self.taxa[chosen])

    def known(self) -> Scored:
        """Return the windows that have a value."""
        return self.take(np.asarray(~np.isnan(self.values).all(axis=1)))

    def pieces(self, n: int) -> Scored:
        """Cut every window into windows of `n` chunks; a remainder at its end is not used."""
        times = self.values.shape[1] // n
        values = self.values[:, : times * n].reshape(-1, n)
        return Scored(values, np.repeat(self.classes, times), np.repeat(self.taxa, times))

    def evidence(self, knot: Knot) -> Scored:
        """Return the pooled log likelihood ratio (N, 1) of each window, see `Calibration.pool`; values are margins."""
        ratios = knot.slope * self.values + knot.intercept
        n = (~np.isnan(ratios)).sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            mean = np.nansum(ratios, axis=1, keepdims=True) / np.where(n, n, np.nan)
        return Scored(mean * n**knot.pooling, self.classes, self.taxa)


class Scorer:
    """Draws windows and computes the margins of their chunks with a model, without using its calibration.

    Args:
        model: a model with the vote `weighted`.
        genomes: the source of the windows.
        options: how to compute.
        windows: number of windows of each host class; virus gets three times as many.
        log: called with each line of progress.

    Raises:
        ConfigError: the model's vote cannot be calibrated, or the genomes lack virus or hosts.
    """

    def __init__(self, model: Model, genomes: Genomes, options: Options, windows: int, log: Callable[[str], None]):
        classes = sorted(set(genomes.classes.tolist()))
        if VIRUS not in classes or len(classes) < 2:
            raise ConfigError(f"calibration needs genomes of class {VIRUS} and of hosts, found {', '.join(classes)}")
        described = replace(model.description, calibration=_IDENTITY, max_repetition=MAX_REPETITION)
        self.predictor = Predictor(replace(model, description=described), options)
        self.genomes, self.log = genomes, log
        self.counts = {name: windows * (3 if name == VIRUS else 1) for name in classes}

    def draw(self, length: int, seed: int) -> list[Window]:
        """Draw windows of `length` nt; shorter genomes and stretches with N give none."""
        drawn = sample_windows(self.genomes, length, self.counts, seed)
        return [w for w in drawn if len(w.sequence) == length and not w.sequence.translate(None, b"ACGT")]

    def score(self, windows: Sequence[Window], shuffled: bool = False, halves: bool = False) -> Scored:
        """Return the margins of windows of one length, optionally `shuffled`, or cut into a pair of `halves`.

        Raises:
            ConfigError: there are no windows, because genomes are too short or too ambiguous.
        """
        if not windows:
            raise ConfigError(
                "calibration found no window of only A, C, G and T at one of its lengths, which go up to "
                f"{max(RECORD_CHUNKS)} chunks; give longer genomes, with fewer N"
            )
        how = f"{', shuffled' * shuffled}{', cut' * halves}"
        self.log(f"{counted(len(windows), 'windows')} of {len(windows[0].sequence)} nt{how}")
        rng = np.random.default_rng(0)
        sequences = [window.sequence for window in windows]
        if shuffled:
            sequences = [shuffle_dinucleotides(np.frombuffer(s, np.uint8), rng).tobytes() for s in sequences]
        margins = self._margins(_pair(s) if halves else Record("", s) for s in sequences)
        classes, taxa = (np.array([getattr(w, name) for w in windows]) for name in ("class_name", "taxon"))
        return Scored(margins, classes, taxa)

    def score_adapters(self, length: int, number: int = 300) -> Floats:
        """Return the margins (`number`, 1) of sequences of adapters of `length` nt."""
        rng = np.random.default_rng(0)
        return self._margins(Record("", adapters(length, rng).tobytes()) for _ in range(number))

    def _margins(self, records: Iterable[Record]) -> Floats:
        """Return the margins (N, K) of records of K chunks, NaN for chunks that were trimmed away."""
        rows = [[chunk.call.log_ratio for chunk in result.chunks] for result in self.predictor.run(records)]
        longest = max(map(len, rows), default=0)
        return np.array([row + [None] * (longest - len(row)) for row in rows], dtype=np.float64)


def _pair(sequence: bytes) -> Record:
    middle = len(sequence) // 2
    return Record("", b"", mates=(Record("", sequence[:middle]), Record("", sequence[middle:])))


def fit_knot(length: int, scored: Scored) -> Knot:
    """Fit the log likelihood ratio to margins (N, 1) by weighted logistic regression, with Newton's method."""
    scored = scored.known()
    design = np.column_stack((scored.values, np.ones(len(scored.values))))  # (N, 2)
    weights, labels, fitted = scored.weights, scored.is_virus, np.zeros(2)
    ridge = np.eye(2) * 1e-6  # without it, the slope has no limit if margins separate the classes
    for _ in range(50):
        p = probability(design @ fitted, PREVALENCE)
        gradient = design.T @ (weights * (labels - p)) - ridge @ fitted
        fitted += np.linalg.solve((design.T * (weights * p * (1 - p))) @ design + ridge, gradient)
    slope, intercept = fitted.round(4).tolist()
    return Knot(length, slope, intercept, 0.0)


def fit_pooling(knot: Knot, records: Sequence[Scored]) -> Knot:
    """Return the knot with the exponent of the lowest log loss on records (N, K) of several chunks."""
    tried = [replace(knot, pooling=exponent) for exponent in POOLING]
    return min(tried, key=lambda one: sum(log_loss(scored.evidence(one)) for scored in records))


def held_out_error(length: int, scored: Scored) -> float:
    """Return the calibration error of margins (N, 1); each half of the taxa is scored by a fit to the other half."""
    scored = scored.known()
    half = np.unique(scored.taxa, return_inverse=True)[1] % 2  # taxa are sorted by class
    evidence = np.zeros(len(half))
    for fold in (0, 1):
        knot = fit_knot(length, scored.take(half != fold))
        evidence[half == fold] = scored.take(half == fold).evidence(knot).values[:, 0]
    return _error(replace(scored, values=evidence[:, None]))


def _error(scored: Scored) -> float:
    scores = probability(scored.values[:, 0], PREVALENCE)
    return round(calibration_error(scores, scored.is_virus, scored.weights), 4)


def log_loss(scored: Scored) -> float:
    """Return the mean of -ln(probability of the true class) of windows with this evidence (N, 1)."""
    scored = scored.known()
    return float(scored.weights @ np.logaddexp(0, np.where(scored.is_virus, -1, 1) * scored.values[:, 0]))


def operating_point(length: int, rate: float, scored: Scored, shuffled: Scored | None = None) -> OperatingPoint:
    """Return the lowest threshold on evidence (N, 1) that at most `rate` of hosts, and of shuffled windows, pass.

    It is never negative: evidence against virus never gives a virus, even if few hosts reach it. Windows without
    evidence are never called, but count.
    """
    values, virus = scored.values[:, 0], scored.is_virus
    threshold = max(0.0, _lowest_threshold(values[~virus], 2 * scored.weights[~virus], rate))
    if shuffled is not None:
        threshold = max(threshold, _lowest_threshold(shuffled.values[:, 0], shuffled.weights, rate))
    return measured(length, round(threshold, 4), scored, shuffled)


def measured(length: int, threshold: float, scored: Scored, shuffled: Scored | None = None) -> OperatingPoint:
    """Measure a threshold on windows with this evidence (N, 1), and on shuffled ones."""
    called, virus = scored.values[:, 0] >= threshold, scored.is_virus
    false_positives = np.mean([called[scored.classes == host].mean() for host in scored.hosts])
    recall, false_positives = round(float(called[virus].mean()), 4), round(float(false_positives), 4)
    if shuffled is None:
        return OperatingPoint(length, threshold, recall, false_positives)
    passed = float(shuffled.weights @ (shuffled.values[:, 0] >= threshold))
    return OperatingPoint(length, threshold, recall, false_positives, round(passed, 4))


def _lowest_threshold(evidence: Floats, weights: Floats, rate: float) -> float:
    """Return a threshold that evidence of a total weight of at most `rate` passes, half-way to the next value."""
    evidence = np.nan_to_num(evidence, nan=-30.0)
    order = np.argsort(-evidence, kind="stable")
    n = int((np.cumsum(weights[order]) <= rate + 1e-9).sum())  # a sum of equal parts may be slightly too large
    bounded = np.concatenate(([evidence.max() + 0.2], evidence[order], [-30.0]))
    return float(bounded[n] + bounded[n + 1]) / 2


def calibrate(scorer: Scorer, seed: int = 0) -> tuple[Calibration, dict[str, Any]]:
    """Return the calibration of the scorer's model, and its figures as JSON-able values.

    It fits slope and intercept for each length, then the exponents with the lowest log loss over pairs of chunks of
    each length and over records of full chunks, then the thresholds.
    """
    model = scorer.predictor.description
    longest = model.chunk_length
    shorter = [length for length in CHUNK_LENGTHS if model.min_length <= length < longest]
    windows = {length: scorer.draw(length, seed) for length in (*shorter, longest)}
    single = {length: scorer.score(drawn) for length, drawn in windows.items()}
    shuffled = {length: scorer.score(drawn[::3], shuffled=True) for length, drawn in windows.items()}
    pairs = {length: scorer.score(scorer.draw(2 * length, seed)[::3], halves=True) for length in shorter}
    drawn = scorer.draw(max(RECORD_CHUNKS) * longest, seed)[::5]
    whole, whole_shuffled = scorer.score(drawn), scorer.score(drawn, shuffled=True)
    records = {n * longest: (whole.pieces(n), whole_shuffled.pieces(n)) for n in RECORD_CHUNKS}

    several = {**{length: [pair] for length, pair in pairs.items()}, longest: [both[0] for both in records.values()]}
    knots = {length: fit_pooling(fit_knot(length, scored), several[length]) for length, scored in single.items()}
    evidence = {
        length: (single[length].evidence(knot), shuffled[length].evidence(knot)) for length, knot in knots.items()
    }
    last = knots[longest]
    evidence |= {length: (one.evidence(last), other.evidence(last)) for length, (one, other) in records.items()}
    presets = {
        name: tuple(operating_point(length, rate, *both) for length, both in evidence.items())
        for name, rate in PRESETS.items()
    }
    calibration = Calibration(PREVALENCE, tuple(knots.values()), presets)
    figures = {
        "windows": {str(length): len(drawn) for length, drawn in windows.items()},
        "held_out_calibration_error": {str(n): held_out_error(n, scored) for n, scored in single.items()},
        "records": {str(length): _compare_rules(one, last) for length, (one, _) in records.items()},
        "pairs": {f"2 x {n}": _pair_figures(pair.evidence(knots[n]), n, calibration) for n, pair in pairs.items()},
        "adapters_called": {
            str(n): _share_called(knot.slope * scorer.score_adapters(n) + knot.intercept, n, calibration)
            for n, knot in knots.items()
        },
    }
    return calibration, figures


def _pair_figures(evidence: Scored, length: int, calibration: Calibration) -> dict[str, Any]:
    """Return the calibration error of pairs with `length` nt per mate, and the shares that each preset calls virus."""
    figures: dict[str, Any] = {"calibration_error": _error(evidence.known())}
    for name in PRESETS:
        point = measured(2 * length, calibration.thresholds(name)[2 * length], evidence)
        figures[name] = {"recall": point.recall, "false_positive_rate": point.false_positive_rate}
    return figures


def _share_called(evidence: Floats, length: int, calibration: Calibration) -> dict[str, float]:
    return {name: round(float((evidence >= calibration.thresholds(name)[length]).mean()), 4) for name in PRESETS}


def _compare_rules(scored: Scored, knot: Knot) -> dict[str, dict[str, float]]:
    """Return the figures of several rules for pooling a record's chunks; `chosen` is `Calibration.pool`."""
    scored = scored.known()
    ratios = knot.slope * scored.values + knot.intercept
    mean_score = np.nanmean(probability(ratios, PREVALENCE), axis=1, keepdims=True)
    ways = {
        "mean score": replace(scored, values=np.log(mean_score / (1 - mean_score))),
        "largest": replace(scored, values=np.nanmax(ratios, axis=1, keepdims=True)),
        "mean": scored.evidence(replace(knot, pooling=0.0)),
        "sum": scored.evidence(replace(knot, pooling=1.0)),
        "chosen": scored.evidence(knot),
    }
    figures = {}
    for name, way in ways.items():
        by_host = [auroc(way.values[way.is_virus, 0], way.values[way.classes == host, 0]) for host in way.hosts]
        macro = round(float(np.mean(by_host)), 4)
        figures[name] = {"macro_auroc": macro, "log_loss": round(log_loss(way), 4), "calibration_error": _error(way)}
    return figures
