"""The figures as static drawings, for pages without scripts and for paper; figures.js draws them on screens."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
from markupsafe import Markup

from virnucpro.report.chart_parts import COLOURS, WIDTH, dot, line, rect, svg, text, ticks
from virnucpro.report.entries import BINS, Entry

_LEFT, _RIGHT = 46, 350  # of the axes
_TOP, _BOTTOM = 14, 190
_STRIP = 40  # height of a track


def draw(name: str, data: Any) -> Markup:
    """Draw a figure of `figures.figure_data`."""
    charts: dict[str, Callable[[Any], Markup]] = {
        "calls": _calls, "fdr": _fdr, "contigs": _contigs, "files": _files, "composition": _composition,
    }  # fmt: skip
    return charts[name](data)


def _calls(data: dict[str, Any]) -> Markup:
    """Draw a histogram of the scores for each length class, each with its own scale."""
    row = max(52, min(130, 260 // len(data["classes"])))
    high = row - 18  # the rest is for the name
    parts: list[Markup] = []
    width = WIDTH / data["bins"]
    for number, one in enumerate(data["classes"]):
        base = (number + 1) * row - 4
        records, viral = sum(one["other"]) + sum(one["virus"]), sum(one["virus"])
        parts.append(text(0, base - high - 3, f"{one['name']}: {count_of(records, 'record')}, {viral:,} virus"))
        highest = max(map(sum, zip(one["other"], one["virus"], strict=True)))
        for place, pair in enumerate(zip(one["other"], one["virus"], strict=True)):
            below = 0.0
            for name, number_of in zip(("other", "virus"), pair, strict=True):
                height = max(number_of / highest * high, 1.5) if number_of else 0.0  # a single record is visible
                if number_of:
                    parts.append(rect(place * width + 0.5, base - below - height, width - 1, height, name))
                below += height
        parts.append(line([(0, base), (WIDTH, base)], "quiet"))
        lowest = one["lowest"] if data["threshold"] is None else data["threshold"]
        if lowest is not None:
            parts.append(line([(lowest * WIDTH, base - high), (lowest * WIDTH, base)], "quiet", dashed=True))
    bottom = len(data["classes"]) * row
    for mark, anchor in ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end")):
        parts.append(text(mark * WIDTH, bottom + 10, f"{mark:g}", anchor))
    parts.append(text(WIDTH / 2, bottom + 24, "virus score", "middle"))
    return svg(bottom + 28, "records by length and score; the table of length classes has the counts", parts)


def _fdr(data: dict[str, Any]) -> Markup:
    """Draw the expected share of false hits against the number of hits."""
    (hits, fdr), points = data["chosen"], data["points"]
    most, highest = max(hits, points[-1][0]), max(fdr, points[-1][1], 0.001)

    def place(n: float, share: float) -> tuple[float, float]:
        return _LEFT + n / most * (_RIGHT - _LEFT), _BOTTOM - share / highest * (_BOTTOM - _TOP)

    chosen = f"{count_of(hits, 'hit')}, {'at most ' * data['upper']}{fdr:.1%} false"
    parts = []
    for share in ticks(0, highest):
        y = place(0, share)[1]
        parts += [line([(_LEFT, y), (_RIGHT, y)]), text(_LEFT - 6, y + 4, f"{share * 100:g} %", "end")]
    parts += [text(place(n, 0)[0], _BOTTOM + 14, f"{n:,.0f}", "middle") for n in ticks(0, most)]
    x, y = place(hits, fdr)
    parts += [
        line([(x, y), (x, _BOTTOM)], "quiet", dashed=True), line([place(n, share) for n, share in points], "virus", 2),
        dot(x, y, 4.5, "virus"),
        text(_RIGHT - 4, _BOTTOM - 8, f"● this run: {chosen}", "end"),
        text(WIDTH / 2, _BOTTOM + 30, "records, those with the lowest rate first", "middle"),
    ]  # fmt: skip
    label = f"false discovery rate by number of hits; this run has {count_of(hits, 'hit')} at a rate of {fdr:.2%}"
    return svg(_BOTTOM + 34, label, parts)


def _contigs(data: dict[str, Any]) -> Markup:
    """Draw the grid of lengths and scores: a cell has the colour of most of its records."""
    bounds = [math.log10(nt) for nt in data["lengths"]]
    width, height = (_RIGHT - _LEFT) / (bounds[-1] - bounds[0]), (_BOTTOM - _TOP) / data["rows"]
    most = max(other + virus for *_, other, virus in data["cells"])
    parts = []
    for score in ticks(0, 1, 5):
        y = _BOTTOM - score * (_BOTTOM - _TOP)
        parts += [line([(_LEFT, y), (_RIGHT, y)]), text(_LEFT - 6, y + 4, f"{score:g}", "end")]
    for column, row, other, virus in data["cells"]:
        x, right = ((bounds[column + end] - bounds[0]) * width + _LEFT for end in (0, 1))
        name = "virus" if virus >= other else "other"
        shade = 0.35 + 0.65 * math.log1p(other + virus) / math.log1p(most)
        parts.append(rect(x, _BOTTOM - (row + 1) * height, right - x, height, name, round(shade, 2)))
    for power in range(3, 11):
        for factor in (1, 3) if bounds[-1] - bounds[0] < 2 else (1,):
            if bounds[0] - 0.01 <= (place := math.log10(factor * 10**power)) <= bounds[-1] + 0.01:
                x = (place - bounds[0]) * width + _LEFT
                at_end = x > _RIGHT - 10
                words = short_length(factor * 10**power)
                parts.append(text(_RIGHT if at_end else x, _BOTTOM + 14, words, "end" if at_end else "middle"))
    parts.append(text(WIDTH / 2, _BOTTOM + 30, "length", "middle"))
    parts.append(text(0, 9, "virus score"))
    return svg(_BOTTOM + 34, f"scores of records of {data['from']:,} nt and longer by length", parts)


def _files(data: list[list[Any]]) -> Markup:
    """Draw a bar for each file, divided by the result of its records."""
    row = 32
    parts: list[Markup] = []
    for number, (name, other, virus, uncalled) in enumerate(data):
        total = other + virus + uncalled
        parts.append(text(0, number * row + 11, f"{name[:40]}: {count_of(total, 'record')}, {virus / total:.1%} virus"))
        x = 0.0
        for kind, count in (("virus", virus), ("other", other), ("none", uncalled)):
            width = count / total * WIDTH
            parts += [rect(x, number * row + 14, width, 11, kind)] if count else []
            x += width
    return svg(len(data) * row, "records of each input file by result", parts)


def _composition(data: list[list[Any]]) -> Markup:
    """Draw a bar for each class with its interval."""
    row, left = 20, 96
    highest = max(high for *_, high in data) or 1.0
    scale = (WIDTH - left - 10) / highest
    parts: list[Markup] = []
    for share in ticks(0, highest):
        x = left + share * scale
        parts += [line([(x, 0), (x, len(data) * row)]), text(x, len(data) * row + 13, f"{share * 100:g} %", "middle")]
    for number, (name, share, low, high) in enumerate(data):
        y = number * row + 3
        parts += [
            text(left - 6, y + 11, name[:16], "end"),
            rect(left, y, share * scale, row - 6, "virus" if name == "virus" else "other"),
            line([(left + low * scale, y + 7), (left + high * scale, y + 7)], "quiet", 2),
        ]
    label = ", ".join(f"{name} {share:.1%}" for name, share, _, _ in data)
    return svg(len(data) * row + 18, f"estimated composition: {label}", parts)


def count_of(number: int, word: str) -> str:
    """Return a number with a word, in the plural where it must be.

    >>> count_of(1, "hit"), count_of(1200, "hit")
    ('1 hit', '1,200 hits')
    """
    return f"{number:,} {word}{'s' * (number != 1)}"


def short_length(nt: int) -> str:
    """Return a length in the unit that needs fewest digits.

    >>> short_length(500), short_length(30_000), short_length(4_641_652)
    ('500 nt', '30 kb', '4.64 Mb')
    """
    if nt < 1000:
        return f"{nt} nt"
    return f"{nt / 1000:.3g} kb" if nt < 999_500 else f"{nt / 1e6:.3g} Mb"


def share_bar(parts: list[tuple[str, int]]) -> Markup:
    """Draw one bar divided into parts, each with a colour and a count."""
    total = sum(number for _, number in parts) or 1
    drawn, x = [], 0.0
    for name, number in parts:
        drawn += [rect(x, 0, number / total * 100, 4, name)] if number else []
        x += number / total * 100
    return svg(4, ", ".join(f"{number:,} {name}" for name, number in parts), drawn, "share", 100)


def track(entry: Entry) -> Markup:
    """Draw the score along a record, with a scale; a script shows the values of `data-scores` where one points.

    `data-scores` has two digits for each of BINS parts of the record: hundredths of the score, at most 99, or --.
    """
    scores = "".join("--" if np.isnan(score) else f"{min(int(score * 100), 99):02}" for score in entry.track)
    known = entry.track[~np.isnan(entry.track)]
    label = f"score along the record: {known.min():.2f} to {known.max():.2f}" if len(known) else "no score"
    path = Markup('<path d="{}" class="virus" fill="{}"></path>').format(_outline(entry), COLOURS["virus"])
    shape = svg(_STRIP, label, [path], "strip", BINS)
    return Markup(
        '<div class="track" data-scores="{}" data-length="{}"><div class="plot"><span class="scale">1</span>{}</div>'
        '<div class="ends"><span>1</span><span>{}</span></div></div>'
    ).format(scores, entry.length, shape, short_length(entry.length))


def _outline(entry: Entry) -> str:
    """Return the path around the bars of a track; a score of 0 is visible, too."""
    heights = np.nan_to_num(np.maximum(np.rint(entry.track * _STRIP), 1))
    steps, x = "", 0
    for height, same in groupby(heights.astype(int).tolist()):
        x += len(list(same))
        steps += f"V{_STRIP - height}H{x}"
    return f"M0 {_STRIP}{steps}V{_STRIP}z"
