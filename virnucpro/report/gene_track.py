"""The tracks below the scores of a region: genes as arrows with names, or GC."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from markupsafe import Markup

from virnucpro.pipeline.regions import Floats
from virnucpro.report.genes import OTHER, RNA, ROLES, UNKNOWN, describe, role_of, short_name
from virnucpro.report.svg import Rows, number, path, rect, shown, steps_of, text, width_of
from virnucpro.seq.feature import Feature

_LANE, _ARROW = 16, 12  # heights of a lane of genes and of an arrow
_TIP = 6  # length of an arrow's tip
_ROWS, _ROW = 4, 13  # of names
_LETTER = 6.0  # mean width of a letter of a gene's name
_GC = 46  # height of the track
Span = tuple[float, float]


def gene_track(
    genes: Sequence[Feature], view: tuple[int, int], sides: Span, top: float, full: bool
) -> tuple[list[Markup], float]:
    """Return arrows of genes, those of the forward strand above the others, the names that fit, and the height.

    Args:
        genes: overlap the view.
        view: first place and the place after the last one, nt.
        sides: where the view begins and ends, px.
        top: where the track begins, px.
        full: with names and with a title for each arrow; without, the genes of one role are one path of bars.
    """
    scale = (sides[1] - sides[0]) / max(view[1] - view[0], 1)
    bars: defaultdict[str, str] = defaultdict(str)
    parts = [text(sides[0] - 6, top + 12, "genes +", "tick", "end"), text(sides[0] - 6, top + 28, "−", "tick", "end")]
    parts.append(path(f"M{sides[0]} {number(top + _LANE)}H{sides[1]}", "grid"))
    spans = []
    for gene in genes:
        start, end = max(gene.start, view[0]) - view[0], min(gene.end, view[1]) - view[0]
        span = sides[0] + start * scale, sides[0] + end * scale
        spans.append((gene, span))
        y = top + 1 + (_LANE if gene.strand < 0 else _LANE / 2 if not gene.strand else 0)
        css = role_of(gene).css
        if full:
            parts.append(path(_arrow(span, y, gene.strand), css, shown(describe(gene), 160)))
        else:
            x, width = round(span[0]), max(round(span[1]) - round(span[0]), 1)
            bars[css] += f"M{x} {round(y)}h{width}v{_ARROW}h-{width}z"
    parts += [path(steps, css) for css, steps in sorted(bars.items())]
    names, rows = _names(spans, sides, top + 2 * _LANE + 4) if full else ([], 0)
    if not genes:
        parts.append(text((sides[0] + sides[1]) / 2, top + 12, "the annotation has no gene here", "tick", "middle"))
    return parts + names, 2 * _LANE + 6 + rows * _ROW + (4 if rows else 0)


def _arrow(span: Span, y: float, strand: int) -> str:
    """Return an arrow that points where the gene is read; without a strand, a bar."""
    width = max(span[1] - span[0], 1)
    tip = min(_TIP, width) if strand else 0
    x, body, half = number(span[0]), number(width - tip), _ARROW // 2
    if strand < 0:
        return f"M{x} {number(y + half)}l{number(tip)} {-half}h{body}v{_ARROW}h-{body}z"
    return f"M{x} {number(y)}h{body}l{number(tip)} {half}l-{number(tip)} {half}h-{body}z"


def _names(spans: Sequence[tuple[Feature, Span]], sides: Span, top: float) -> tuple[list[Markup], int]:
    """Return the names of genes that fit below the arrows, and the number of rows: first those of a known role."""
    order = {role: place for place, role in enumerate((*ROLES, RNA, OTHER, UNKNOWN))}
    known = [(order[role_of(gene)], gene, span) for gene, span in spans]
    rows = Rows(_ROWS, *sides)
    leads, words_below, used = [], [], 0
    for rank, gene, (left, right) in sorted(known, key=lambda one: (one[0] >= len(ROLES), one[1].start)):
        words = shown(short_name(gene), 24)
        width = width_of(words, _LETTER)
        if not words or (rank >= len(ROLES) and width > right - left):
            continue  # a gene that says little has a name only if that fits below it
        if place := rows.place((left + right) / 2, width):
            row, middle = place
            used = max(used, row + 1)
            y = top + 10 + row * _ROW
            leads.append(path(f"M{number((left + right) / 2)} {number(top - 3)}V{number(y - 9)}", "lead"))
            words_below.append(text(middle, y, words, "gene", "middle"))
    return leads + words_below, used


def gc_track(gc: Floats, mean: float, sides: Span, top: float) -> tuple[list[Markup], float]:
    """Return the line of GC, the mean of the record as a dashed line, their scale, and the height."""
    known = [value for value in (*gc.tolist(), mean) if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    low, high = math.floor(low * 20) / 20, math.ceil(high * 20 + 1e-9) / 20
    high = max(high, low + 0.05)

    def y(value: float) -> float:
        return top + _GC - (value - low) / (high - low) * (_GC - 6)

    step = (sides[1] - sides[0]) / max(len(gc), 1)
    line = steps_of((sides[0] + (i + 0.5) * step, y(value)) for i, value in enumerate(gc.tolist()))
    parts = [
        rect(sides[0], top + 4, sides[1] - sides[0], _GC - 4, "ground"),
        text(sides[0] - 6, top + 14, f"{high:.0%}", "tick", "end"),
        text(sides[0] - 6, top + _GC, f"{low:.0%}", "tick", "end"),
        text(sides[0] - 6, top + _GC / 2 + 7, "GC", "tick", "end"),
    ]
    if math.isfinite(mean):
        parts.append(path(f"M{sides[0]} {number(y(mean))}H{sides[1]}", "mean"))
    return [*parts, path(line, "gc")], _GC + 8
