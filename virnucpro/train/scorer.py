"""Windows of labelled genomes with the outputs of a model, for calibration.

N windows of K chunks, H host classes of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from virnucpro.config import Options
from virnucpro.errors import ConfigError
from virnucpro.evaluate.genomes import VIRUS, Genomes, Window, sample_windows
from virnucpro.pipeline.predict import BLOCK_BASES, BLOCK_RECORDS, Predictor
from virnucpro.pretrained.description import TWO_CLASSES
from virnucpro.pretrained.registry import Model
from virnucpro.scores.calibration import PRESETS, Calibration, Floats, Knot, OperatingPoint
from virnucpro.scores.reference import REFERENCE_FILE
from virnucpro.seq.block import RecordBlock, group_records
from virnucpro.train.shuffle import adapters, shuffle_dinucleotides
from virnucpro.types import Record
from virnucpro.words import counted

# More repetitive chunks do not show their origin; every repeat of a unit of up to 6 nt exceeds this.
MAX_REPETITION = 0.15


@dataclass(frozen=True, slots=True)
class Scored:
    """Values of windows for each host class, with the classes (N,) and taxa (N,) of the windows; NaN without a value.

    `values` are those of chunks, logit(virus) - logit(host), (N, K, H), or pooled evidence, (N, H). `sums` (N, K, S)
    are the numbers of 9-mers of the chunks; S is 0 without a filter.
    """

    values: Floats
    classes: npt.NDArray[np.str_]
    taxa: npt.NDArray[np.str_]
    sums: Floats

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
        return Scored(self.values[chosen], self.classes[chosen], self.taxa[chosen], self.sums[chosen])

    def known(self) -> Scored:
        """Return the windows that have a value."""
        return self.take(np.asarray(~np.isnan(self.values).reshape(len(self.values), -1).all(axis=1)))

    def pieces(self, n: int) -> Scored:
        """Cut every window into windows of `n` chunks; a remainder at its end is not used."""
        times = self.values.shape[1] // n
        rows = times * len(self.values)
        values, sums = (part[:, : times * n].reshape(rows, n, part.shape[2]) for part in (self.values, self.sums))
        return Scored(values, np.repeat(self.classes, times), np.repeat(self.taxa, times), sums)

    def evidence(self, knot: Knot, kmers: Sequence[float] = ()) -> Scored:
        """Return the pooled log likelihood ratios (N, H) of each window, see `Calibration.pool`.

        `kmers` (S,) are the weights of 9-mers, as in `Calibration`.
        """
        ratios = np.array(knot.slope) * self.values + np.array(knot.intercept)
        if kmers:
            ratios = ratios + (self.sums @ np.array(kmers))[:, :, None]
        n = (~np.isnan(ratios[:, :, 0])).sum(axis=1)[:, None]
        with np.errstate(invalid="ignore"):
            mean = np.nansum(ratios, axis=1) / np.where(n, n, np.nan)
        return Scored(mean * n**knot.pooling, self.classes, self.taxa, self.sums)


class Scorer:
    """Draws windows and computes the outputs of a model for their chunks, without using its calibration.

    Args:
        model: a model with the vote `weighted`.
        genomes: the source of the windows.
        options: how to compute.
        windows: number of windows of each host class; virus gets three times as many.
        log: called with each line of progress.

    Raises:
        ConfigError: the model's vote cannot be calibrated, the genomes lack virus or hosts, or have a class that the
            model does not know.
    """

    def __init__(self, model: Model, genomes: Genomes, options: Options, windows: int, log: Callable[[str], None]):
        classes, known = sorted(set(genomes.classes.tolist())), model.description.classes
        if VIRUS not in classes or len(classes) < 2:
            raise ConfigError(f"calibration needs genomes of class {VIRUS} and of hosts, found {', '.join(classes)}")
        if known != TWO_CLASSES and (unknown := sorted(set(classes) - set(known))):
            raise ConfigError(
                f"the model has no class {unknown[0]}; its classes are {', '.join(known)}; leave the file of this "
                "class out of the data"
            )
        self.hosts = known[:-1]
        none = Calibration(
            0.5,
            (Knot(1, (1.0,) * len(self.hosts), (0.0,) * len(self.hosts), 0.0),),
            dict.fromkeys(PRESETS, (OperatingPoint(1, 0.0, 0.0, 0.0),)),
        )
        checksums = {**model.description.checksums, REFERENCE_FILE: "0" * 64}
        described = replace(model.description, calibration=none, max_repetition=MAX_REPETITION, checksums=checksums)
        self.predictor = Predictor(replace(model, description=described), options)
        self.genomes, self.log = genomes, log
        self.counts = {name: windows * (3 if name == VIRUS else 1) for name in classes}

    def draw(self, length: int, seed: int) -> list[Window]:
        """Draw windows of `length` nt; shorter genomes and stretches with N give none."""
        drawn = sample_windows(self.genomes, length, self.counts, seed)
        return [w for w in drawn if len(w.sequence) == length and not w.sequence.translate(None, b"ACGT")]

    def draw_longest(self, chunks: Sequence[int], seed: int) -> tuple[int, list[Window]]:
        """Draw windows of the last number of chunks, or of the one before it if a class has no genomes as long.

        Return the number of chunks and the windows.
        """
        for number in (chunks[-1], chunks[-2]):
            drawn = self.draw(number * self.predictor.description.chunk_length, seed)
            if {window.class_name for window in drawn[::5]} == self.counts.keys():
                break
        return number, drawn

    def score(self, windows: Sequence[Window], shuffled: bool = False, halves: bool = False) -> Scored:
        """Return the outputs for windows of one length, optionally `shuffled`, or cut into a pair of `halves`.

        Raises:
            ConfigError: there are no windows, because genomes are too short or too ambiguous.
        """
        if not windows:
            raise ConfigError(
                "calibration found no window of only A, C, G and T at one of its lengths, which go up to 10 chunks; "
                "give longer genomes, with fewer N"
            )
        how = f"{', shuffled' * shuffled}{', cut' * halves}"
        self.log(f"{counted(len(windows), 'windows')} of {len(windows[0].sequence)} nt{how}")
        rng = np.random.default_rng(0)
        sequences = [window.sequence for window in windows]
        if shuffled:
            sequences = [shuffle_dinucleotides(np.frombuffer(s, np.uint8), rng).tobytes() for s in sequences]
        values, sums = self._outputs(_pair(s) if halves else Record("", s) for s in sequences)
        classes, taxa = (np.array([getattr(w, name) for w in windows]) for name in ("class_name", "taxon"))
        return Scored(values, classes, taxa, sums)

    def score_adapters(self, length: int, number: int = 300) -> Scored:
        """Return the outputs for `number` sequences of adapters of `length` nt, without a class."""
        rng = np.random.default_rng(0)
        values, sums = self._outputs(Record("", adapters(length, rng).tobytes()) for _ in range(number))
        return Scored(values, np.full(number, ""), np.full(number, ""), sums)

    def _outputs(self, records: Iterable[Record]) -> tuple[Floats, Floats]:
        """Return logit(virus) - logit(host) of records of K chunks, (N, K, H), and their 9-mers, (N, K, S).

        The values of chunks that were trimmed away are NaN.
        """
        parts = []
        for group in group_records(records, BLOCK_RECORDS, BLOCK_BASES):
            calls = self.predictor.call(RecordBlock.of(group))
            shape = len(group), int(calls.n_chunks.max(initial=0))
            values, sums = np.full((*shape, len(self.hosts)), np.nan), np.zeros((*shape, calls.sums.shape[1]))
            place = calls.chunks.record, calls.chunks.index - 1
            values[place], sums[place] = calls.chunk.ratios, calls.sums
            parts.append((values, sums))
        longest = max(values.shape[1] for values, _ in parts)
        values, sums = (
            np.concatenate(
                [np.pad(p, ((0, 0), (0, longest - p.shape[1]), (0, 0)), constant_values=fill) for p in column]
            )
            for column, fill in zip(zip(*parts, strict=True), (np.nan, 0.0), strict=True)
        )
        return values, sums


def _pair(sequence: bytes) -> Record:
    middle = len(sequence) // 2
    return Record("", b"", mates=(Record("", sequence[:middle]), Record("", sequence[middle:])))
