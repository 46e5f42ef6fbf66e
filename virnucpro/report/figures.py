"""The data of the figures, few numbers however many records there are; charts.py and figures.js draw them."""

from __future__ import annotations

from typing import Any

import numpy as np

from virnucpro.report.counts import CONTIG, GRID_LENGTHS, GRID_SCORES, LENGTHS, SCORE_BINS
from virnucpro.report.html import shortened
from virnucpro.report.load import Run

MAX_FILES = 12  # in the figure; the others are one bar
_MIN_POINTS, _MAX_POINTS = 3, 150  # of a curve
_MIN_COLUMNS = 12  # of the grid: a power of ten
_BEYOND = 4  # the curve ends at this multiple of the number of hits, so that the chosen point is not at its margin


def length_class(number: int) -> str:
    """Return the name of a length class.

    >>> length_class(0), length_class(1), length_class(5)
    ('below 150 nt', '150–299 nt', '5,000 nt and longer')
    """
    begin = LENGTHS[number]
    if not begin:
        return f"below {LENGTHS[1]} nt"
    return f"{begin:,}–{LENGTHS[number + 1] - 1:,} nt" if number + 1 < len(LENGTHS) else f"{begin:,} nt and longer"


def figure_data(run: Run) -> dict[str, Any]:
    """Return the figures that say something about this run, by name."""
    found = {
        "calls": calls(run),
        "fdr": expected_fdr(run),
        "contigs": contigs(run),
        "files": input_files(run),
        "composition": [[one.name, one.share, one.low, one.high] for one in run.composition],
    }
    return {name: data for name, data in found.items() if data}


def calls(run: Run) -> dict[str, Any]:
    """Return the records with a score by length class and score.

    `classes` have name, counts of others and viruses (SCORE_BINS), and the lowest score of a virus; `threshold` is
    the minimum score of a virus if it is the same for all lengths.
    """
    counts = run.counts
    classes = [
        {
            "name": length_class(number),
            "other": counts.histogram[number, :, 0].tolist(),
            "virus": counts.histogram[number, :, 1].tolist(),
            "lowest": counts.lowest.get(number),
        }
        for number in np.flatnonzero(counts.histogram.any(axis=(1, 2))).tolist()
    ]
    threshold = run.manifest.setup.options.min_score
    return {"bins": SCORE_BINS, "threshold": threshold, "classes": classes} if classes else {}


def expected_fdr(run: Run) -> dict[str, Any]:
    """Return points (records, `fdr`) of the curve, and the point that the run chose.

    A point gives the number of records with at most this `fdr`, which is the share of others to expect among them.
    Fewer than three points are no curve.
    """
    if run.fdr is None:
        return {}
    steps = np.flatnonzero(run.counts.by_fdr)
    below = np.cumsum(run.counts.by_fdr[steps])
    last = min(below[-1], max(_BEYOND * run.count("virus"), below[0]))
    kept = np.unique(np.searchsorted(below, np.linspace(below[0], last, _MAX_POINTS)))
    if len(kept) < _MIN_POINTS:
        return {}
    points = [[int(below[i]), int(steps[i]) / 10_000] for i in kept.tolist()]
    upper = run.counts.expected_false is None
    return {"points": points, "chosen": [run.count("virus"), round(run.fdr, 6)], "upper": upper}


def contigs(run: Run) -> dict[str, Any]:
    """Return the cells (column, row, others, viruses) of the grid of lengths and scores that have a record.

    `lengths` are the bounds of the columns in nt, at least from CONTIG to ten times as much.
    """
    grid = run.counts.grid
    cells = [[column, row, *grid[column, row].tolist()] for column, row in np.argwhere(grid.any(axis=2)).tolist()]
    if not cells:
        return {}
    last = max(cells[-1][0] + 1, _MIN_COLUMNS)
    lengths = [*GRID_LENGTHS, 10 * GRID_LENGTHS[-1]][: last + 1]
    return {"from": CONTIG, "lengths": lengths, "rows": GRID_SCORES, "cells": cells}


def input_files(run: Run) -> list[list[Any]]:
    """Return name and counts (others, viruses, not called) of each input file, if the run has several."""
    if len(run.counts.files) < 2:
        return []
    ranked = sorted(run.counts.files.items(), key=lambda item: -int(item[1].sum()))
    shown = {name for name, _ in ranked[:MAX_FILES]}
    rows = [[shortened(name), *counts.tolist()] for name, counts in run.counts.files.items() if name in shown]
    if rest := [counts for _, counts in ranked[MAX_FILES:]]:
        rows.append([f"{len(rest)} more files", *np.sum(rest, axis=0).tolist()])
    return rows
