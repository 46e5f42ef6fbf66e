"""Counts of the records of a run, by array operations; their size does not grow with the number of records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from virnucpro.errors import InputError
from virnucpro.report.table_columns import Rows
from virnucpro.seq.strings import Bytes, Ints
from virnucpro.types import CONFIDENCE

PREDICTIONS = ("other", "virus", "NA")
LENGTHS = (0, 150, 300, 500, 1000, 5000)  # nt, the lower bounds of the length classes
SCORE_BINS = 20
CONTIG = 1000  # nt, the shortest record in the grid of contigs
GRID_SCORES = 25
# Lower bounds of the grid's columns in nt, twelve for each power of ten from CONTIG to 1 Gnt.
GRID_LENGTHS = tuple(round(CONTIG * 10 ** (step / 12)) for step in range(73))
_FDR_STEPS = 10_000  # the column has four decimals

Floats = npt.NDArray[np.float64]


def _zeros(*shape: int) -> Ints:
    return np.zeros(shape, dtype=np.int64)


@dataclass(slots=True)
class Counts:
    """What the figures show of all records.

    `bases` are nt by prediction. `histogram` (len(LENGTHS), SCORE_BINS, 2) counts others and viruses; `lowest` and
    `highest` are, by length class, the lowest score of a virus and the highest of an other. `grid`
    (len(GRID_LENGTHS), GRID_SCORES, 2) counts the contigs. `by_fdr` (10001,) counts records by `fdr` in steps of
    0.0001; `fdr` is the highest of a virus, None without the column. `expected_false` is the sum of 1 - `sample_score`
    over all viruses, None without the column. `confidence` counts viruses by that column. `files` counts records (3,),
    as in PREDICTIONS, by input file, in order of first use; it is empty without the column `file`. `false_by_file` is
    `expected_false` of each of these files.
    """

    bases: Counter[str] = field(default_factory=Counter)
    histogram: Ints = field(default_factory=lambda: _zeros(len(LENGTHS), SCORE_BINS, 2))
    lowest: dict[int, float] = field(default_factory=dict)
    highest: dict[int, float] = field(default_factory=dict)
    grid: Ints = field(default_factory=lambda: _zeros(len(GRID_LENGTHS), GRID_SCORES, 2))
    by_fdr: Ints = field(default_factory=lambda: _zeros(_FDR_STEPS + 1))
    fdr: float | None = None
    expected_false: float | None = None
    confidence: Counter[str] = field(default_factory=Counter)
    files: dict[str, Ints] = field(default_factory=dict)
    false_by_file: dict[str, float] = field(default_factory=dict)

    def add(self, rows: Rows, place: dict[str, int]) -> None:
        """Count rows of records.tsv; `place` gives the columns by name.

        Raises:
            InputError: a score or rate is not a number in 0..1.
        """
        nt, score = rows.whole_numbers(place["length"]), _shares(rows, place, "virus_score")
        initial = rows.initials(place["prediction"])
        called = np.where(initial == ord("v"), 1, np.where(initial == ord("N"), 2, 0))
        for number, name in enumerate(PREDICTIONS):
            self.bases[name] += int(nt[called == number].sum())
        scored = np.flatnonzero(~np.isnan(score))
        self._add_scores(nt[scored], score[scored], (called[scored] == 1).astype(np.int64))
        if "fdr" in place:
            fdr = _shares(rows, place, "fdr")
            known = fdr[~np.isnan(fdr)]
            self.by_fdr += np.bincount(np.rint(known * _FDR_STEPS).astype(np.int64), minlength=_FDR_STEPS + 1)
            if len(viral := fdr[(called == 1) & ~np.isnan(fdr)]):
                self.fdr = max(self.fdr or 0.0, float(viral.max()))
        if "sample_score" in place:
            sample = _shares(rows, place, "sample_score")
            if len(viral := sample[(called == 1) & ~np.isnan(sample)]):
                self.expected_false = (self.expected_false or 0.0) + float((1 - viral).sum())
        if "confidence" in place:
            names, index = rows.known(place["confidence"])
            self.confidence.update(dict(zip(names, np.bincount(index).tolist(), strict=True)))
            del self.confidence["NA"]
        if "file" in place:
            names, index = rows.known(place["file"])
            counted = np.bincount(index * 3 + called, minlength=3 * len(names)).reshape(-1, 3)
            for text, of_file in zip(names, counted, strict=True):
                self.files[text] = self.files.get(text, _zeros(3)) + of_file
            if "sample_score" in place:
                false = np.where((called == 1) & ~np.isnan(sample), 1 - sample, 0.0)
                for text, total in zip(names, np.bincount(index, false, len(names)).tolist(), strict=True):
                    self.false_by_file[text] = self.false_by_file.get(text, 0.0) + total

    def _add_scores(self, nt: Ints, score: Floats, is_virus: Ints) -> None:
        kind = np.searchsorted(LENGTHS, nt, side="right") - 1
        np.add.at(self.histogram, (kind, _bins(score, SCORE_BINS), is_virus), 1)
        for number in np.unique(kind).tolist():
            of_class = score[(kind == number) & (is_virus == 1)], score[(kind == number) & (is_virus == 0)]
            if len(of_class[1]):
                self.highest[number] = max(float(of_class[1].max()), self.highest.get(number, 0.0))
            if len(of_class[0]):
                self.lowest[number] = min(float(of_class[0].min()), self.lowest.get(number, 1.0))
        long = np.flatnonzero(nt >= CONTIG)
        column = np.searchsorted(GRID_LENGTHS, nt[long], side="right") - 1
        np.add.at(self.grid, (column, _bins(score[long], GRID_SCORES), is_virus[long]), 1)


def confidence_limits() -> dict[str, str]:
    """Return what each confidence of a virus means, in words.

    >>> list(confidence_limits().values())
    ['FDR at most 0.05', 'FDR at most 0.2', 'FDR above 0.2']
    """
    *limits, _ = CONFIDENCE.values()
    words = [*(f"FDR at most {limit}" for limit in limits), f"FDR above {limits[-1]}"]
    return dict(zip(CONFIDENCE, words, strict=True))


def _shares(rows: Rows, place: dict[str, int], name: str) -> Floats:
    """Return a column of numbers in 0..1, NaN for NA."""
    try:
        values = rows.numbers(place[name])
    except ValueError:
        values = np.array([np.inf])
    if not ((values >= 0) & (values <= 1) | np.isnan(values)).all():
        raise InputError(
            f"records.tsv has a {name} that is neither NA nor a number in 0..1; the file was edited: "
            "run `virnucpro predict` again with --restart"
        )
    return values


def _bins(scores: Floats, number: int) -> Ints:
    """Return the bins of scores in 0..1; a score of 1 is in the last."""
    return np.minimum((scores * number).astype(np.int64), number - 1)


def is_virus(rows: Rows, place: dict[str, int]) -> npt.NDArray[np.bool_]:
    """Return which rows of records.tsv are called virus."""
    initial: Bytes = rows.initials(place["prediction"])
    return np.asarray(initial == ord("v"))
