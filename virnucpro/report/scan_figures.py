"""Figures of a record with regions as files: with matplotlib as png, svg or pdf, without it as SVG of our own."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from virnucpro.files import atomic_writer
from virnucpro.report.genes import ROLES, role_of, short_name
from virnucpro.report.plots import figure_axes, label
from virnucpro.report.scan_drawings import LEFT, WIDTH, overview, panel
from virnucpro.report.svg import Drawing, Rows, shown, text
from virnucpro.report.tracks import RecordView, RegionView, TrackLines

MAX_PANELS = 8  # of a figure: the longest regions; the report has more
_GAP = 16  # px between the drawings of a figure
_WIDTH, _OVERVIEW, _SCORES, _TRACK = 10.0, 3.2, 1.3, 1.4  # inches: width of a figure, heights of its rows
_SHADE = {"color": "#b5472a", "alpha": 0.16, "linewidth": 0}
_NAME_LETTER, _GENE_LETTER = 0.0085, 0.0055  # widths of a letter of a name as shares of the axes


def _in_panels(view: RecordView) -> list[RegionView]:
    """Return the longest regions in their order."""
    longest = sorted(view.regions, key=lambda one: one.found.length, reverse=True)[:MAX_PANELS]
    return sorted(longest, key=lambda one: one.found.start)


def write_svg(path: Path, view: RecordView) -> None:
    """Write overview and panels of a record as an SVG file, without matplotlib.

    Raises:
        OutputError: the file cannot be written.
    """
    drawn = [overview(view, "overview", linked=False)]
    drawn += [panel(one, view, one.found.region) for one in _in_panels(view)]
    style = (files("virnucpro.report") / "scan_drawings.css").read_text(encoding="utf-8")
    parts = [
        Markup("<style>{}</style>").format(Markup(style)),
        Markup('<rect width="100%" height="100%" class="card"/>'),
    ]
    parts.append(text(LEFT, 22, f"{shown(view.seq_name)} · {view.length:,} nt · {_counted(view)}", "name"))
    y: float = 2 * _GAP
    for one in drawn:
        parts.append(one.markup(((WIDTH - one.width) / 2, y)))
        y += one.height + _GAP
    title = f"{shown(view.seq_name)}: {_counted(view)} of virus"
    whole = Drawing(WIDTH, y, "figure", title, "overview of the record, and a panel of each region", "file", parts)
    with atomic_writer(path) as file:
        file.write(whole.markup())


def _counted(view: RecordView) -> str:
    return f"{len(view.regions):,} region{'s' if len(view.regions) != 1 else ''}"


def draw_figure(path: Path, view: RecordView) -> None:
    """Draw overview and panels of a record with matplotlib; the file's suffix says the format (png, svg, pdf).

    Raises:
        VirnucproError: matplotlib is not installed or cannot be used.
        OutputError: the file cannot be written.
    """
    panels = _in_panels(view)
    heights = [_OVERVIEW, *(_SCORES, _TRACK) * len(panels)]
    layout = {"nrows": len(heights), "height_ratios": heights, "squeeze": False}
    with figure_axes(path, (_WIDTH, sum(heights)), layout) as grid:
        first, *rest = [row[0] for row in grid]
        _draw_overview(first, view)
        for one, scores, track in zip(panels, rest[::2], rest[1::2], strict=True):
            _draw_scores(scores, one.lines, 1e3)
            scores.axvspan(one.found.start / 1e3, one.found.end / 1e3, **_SHADE)
            scores.set_title(f"{one.found.region}, {one.found.length:,} nt", loc="left", fontsize="medium")
            scores.tick_params(labelbottom=False)
            if view.annotated:
                _draw_genes(track, one)
            else:
                _draw_gc(track, one, view.gc_mean)
            track.set(xlim=(one.lines.start / 1e3, one.lines.end / 1e3), xlabel="kb")


def _draw_overview(axes: Any, view: RecordView) -> None:
    unit, name = (1e6, "Mb") if view.length >= 2_000_000 else (1e3, "kb")
    _draw_scores(axes, view.lines, unit)
    rows, used = Rows(3, 0, 1), 0
    for one in view.regions:
        axes.axvspan(one.found.start / unit, one.found.end / unit, **_SHADE)
        middle = (one.found.start + one.found.end) / 2 / max(view.length, 1)
        if place := rows.place(middle, len(one.found.region) * _NAME_LETTER, 0.006):
            row, x = place
            used = max(used, row + 1)
            axes.text(x, 1.03 + 0.09 * row, one.found.region, transform=axes.transAxes, ha="center", fontsize="small")
    axes.set_xlabel(f"{label(view.seq_name)} ({name})")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=2, fontsize="small", frameon=False)
    axes.set_title(f"{_counted(view)} (shaded), {view.length:,} nt", loc="left", pad=8 + 13 * used)


def _draw_scores(axes: Any, lines: TrackLines, unit: float) -> None:
    places = lines.places / unit
    axes.plot(places, lines.scores, color="#8a949b", linewidth=0.5, label="virus score of windows")
    axes.plot(places, lines.posteriors, color="#1f5b7a", linewidth=1.2, label="probability of virus, smoothed")
    axes.set(ylabel="score", xlim=(lines.start / unit, max(lines.end, 1) / unit), ylim=(-0.02, 1.02))


def _draw_genes(axes: Any, view: RegionView) -> None:
    """Draw genes as arrows, those of the forward strand above the others, and the names of known roles that fit."""
    width = max(view.lines.end - view.lines.start, 1)
    rows = {1: Rows(2, 0, 1), -1: Rows(2, 0, 1)}
    for gene in view.genes:
        side = gene.strand or 1
        ends = (gene.start, gene.end) if side > 0 else (gene.end, gene.start)
        role = role_of(gene)
        head = side * min(width / 150, gene.end - gene.start) / 1e3
        axes.arrow(
            ends[0] / 1e3, 0.5 * side, (ends[1] - ends[0]) / 1e3, 0, width=0.6, head_width=0.6,
            head_length=abs(head), length_includes_head=True, facecolor=role.colour, edgecolor="#66727b", linewidth=0.3,
        )  # fmt: skip
        words = label(short_name(gene))
        middle = ((gene.start + gene.end) / 2 - view.lines.start) / width
        if role in ROLES and (place := rows[side].place(middle, len(words) * _GENE_LETTER, 0.004)):
            row, x = place
            y = 0.5 + side * (0.34 + 0.1 * row)
            axes.text(x, y, words, transform=axes.transAxes, ha="center", va="center", fontsize=6.5)
    axes.set(ylim=(-2.2, 2.2), yticks=(-0.5, 0.5), yticklabels=("−", "genes +"))


def _draw_gc(axes: Any, view: RegionView, mean: float) -> None:
    lines = view.lines
    step = (lines.end - lines.start) / max(len(view.gc), 1)
    places = (lines.start + (np.arange(len(view.gc)) + 0.5) * step) / 1e3
    axes.plot(places, view.gc, color="#0b7a5a", linewidth=0.9)
    if math.isfinite(mean):
        axes.axhline(mean, color="#566068", linewidth=0.8, linestyle="--")
    axes.set_ylabel("GC")
