"""Drawings as inline SVG. Colours are classes of page.css; every drawing has a text label with the same content."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from virnucpro.report.entries import BINS, Entry
from virnucpro.report.load import LENGTHS, SCORE_BINS

LANES = ("F1", "F2", "F3", "R1", "R2", "R3")
_LEVELS = 5  # classes of colour, s0 to s4
_BAR, _HEIGHT = 14, 90  # of a histogram: width of a bar, height of the highest bar


def length_class(number: int) -> str:
    """Return the name of a length class.

    >>> length_class(0), length_class(1), length_class(5)
    ('below 150 nt', '150–299 nt', '5,000 nt and longer')
    """
    begin = LENGTHS[number]
    if not begin:
        return f"below {LENGTHS[1]} nt"
    return f"{begin:,}–{LENGTHS[number + 1] - 1:,} nt" if number + 1 < len(LENGTHS) else f"{begin:,} nt and longer"


def histogram(counts: npt.NDArray[np.int64], label: str) -> Markup:
    """Draw others and viruses (SCORE_BINS, 2) as stacked bars over the score."""
    highest = max(int(counts.sum(axis=1).max()), 1)
    bars = []
    for place, pair in enumerate(counts.tolist()):
        below = 0.0
        for name, number in zip(("other", "virus"), pair, strict=True):
            height = max(number / highest * _HEIGHT, 1.5) if number else 0.0  # so that a single record is visible
            y = _HEIGHT - below - height
            bars += [_rect(place * _BAR + 1, y, _BAR - 2, height, name)] if number else []
            below += height
    width = SCORE_BINS * _BAR
    ticks = (
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, _HEIGHT + 13, anchor, mark)
        for mark, x, anchor in (("0", 0, "start"), ("0.5", width / 2, "middle"), ("1", width, "end"))
    )
    return _svg(width, _HEIGHT + 16, label, [*bars, _path(f"M0 {_HEIGHT}H{width}", "axis"), *ticks], "histogram")


def frames(entry: Entry) -> Markup:
    """Draw the six reading frames of a record as lanes, coloured by virus score."""
    best = ", ".join(
        f"{name} {lane.max():.2f}" for name, lane in zip(LANES, entry.lanes, strict=True) if lane.max() >= 0
    )
    rails = _path("".join(f"M0 {4 * lane + 2.5}H{BINS}" for lane in range(6)), "rail")
    drawn = _runs([(4 * lane + 1, 3, levels) for lane, levels in enumerate(_levels(entry.lanes))])
    return _svg(BINS, 25, f"best virus score of frames: {best or 'none'}", [rails, *drawn], "frames")


def strip(entry: Entry) -> Markup:
    """Draw the mean score of the chunks along a record."""
    drawn = _runs([(0, 10, _levels(np.nan_to_num(entry.strip[None], nan=-1))[0])])
    return _svg(BINS, 10, "scores along the record, see the columns beside", drawn, "strip")


def share_bar(parts: list[tuple[str, int]]) -> Markup:
    """Draw one bar divided into parts, each with a colour class and a count."""
    total = sum(number for _, number in parts) or 1
    drawn, x = [], 0.0
    for name, number in parts:
        drawn += [_rect(x, 0, number / total * 100, 4, name)] if number else []
        x += number / total * 100
    label = ", ".join(f"{number:,} {name}" for name, number in parts)
    return _svg(100, 4, label, drawn, "share")


def scale() -> Markup:
    """Draw the scale of colours from score 0 to 1."""
    boxes = Markup().join(Markup('<i class="s{}"></i>').format(level) for level in range(_LEVELS))
    label = "colours from score 0 to score 1"
    return Markup('<span class="scale" role="img" aria-label="{}">0 {} 1</span>').format(label, boxes)


def _levels(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return the colour level of each score, -1 without a score."""
    return np.where(scores < 0, -1, np.minimum(scores * _LEVELS, _LEVELS - 1)).astype(np.int64)


def _runs(lanes: list[tuple[float, float, npt.NDArray[np.int64]]]) -> list[Markup]:
    """Return a path for each colour level; a lane is y, height and levels (BINS,)."""
    paths = [""] * _LEVELS
    for y, height, levels in lanes:
        x = 0
        for level, equal in groupby(levels.tolist()):
            width = len(list(equal))
            if level >= 0:
                paths[level] += f"M{x} {y}h{width}v{height}h-{width}z"
            x += width
    return [_path(path, f"s{level}") for level, path in enumerate(paths) if path]


def _path(steps: str, name: str) -> Markup:
    return Markup('<path d="{}" class="{}"></path>').format(steps, name)


def _rect(x: float, y: float, width: float, height: float, name: str) -> Markup:
    rect = Markup('<rect x="{:.4g}" y="{:.4g}" width="{:.4g}" height="{:.4g}" class="{}"></rect>')
    return rect.format(x, y, width, height, name)


def _svg(width: int, height: int, label: str, parts: Iterable[Markup], name: str) -> Markup:
    shape = Markup(' preserveAspectRatio="none"') if name in ("strip", "share") else ""  # fills its cell or line
    opening = Markup('<svg viewBox="0 0 {} {}"{} role="img" aria-label="{}" class="{}">').format(
        width, height, shape, label, name
    )
    return opening + Markup().join(parts) + Markup("</svg>")
