"""Figures of scans: scores and regions along a record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from virnucpro.pipeline.regions import Floats, Region
from virnucpro.report.plots import figure_axes, label
from virnucpro.run.scan import Track

_SIZE = (10.0, 3.6)  # inches
_MAX_POINTS = 4000  # of a line, more than a page shows; in longer records, a point is the mean of several windows


@dataclass(frozen=True, slots=True)
class TrackLines:
    """The lines of a figure of a record, in memory that does not grow with the record.

    `places` (n,) in nt, n at most 4000; `scores` (n,), NaN without a scored window; `posteriors` (n,).
    """

    seq_name: str
    length: int
    regions: list[Region]
    places: Floats
    scores: Floats
    posteriors: Floats


def track_lines(track: Track) -> TrackLines:
    """Return the lines of a record that has windows."""
    bounds = np.array(track.bounds, dtype=np.float64)
    middles = (bounds[1:] + bounds[:-1]) / 2
    groups = np.arange(0, len(middles), -(-len(middles) // _MAX_POINTS))
    sizes = np.diff(np.append(groups, len(middles)))
    seen = np.add.reduceat(np.isfinite(track.scores).astype(float), groups)
    sums = np.add.reduceat(np.nan_to_num(track.scores), groups)
    scores = np.divide(sums, seen, out=np.full(len(groups), np.nan), where=seen > 0)
    places, smooth = (np.add.reduceat(values, groups) / sizes for values in (middles, track.posteriors))
    return TrackLines(track.seq_name, track.length, track.regions, places, scores, smooth)


def draw_track(path: Path, track: Track | TrackLines) -> None:
    """Draw scores, posterior and regions of a record; the file's suffix says the format (png, svg, pdf)."""
    lines = track_lines(track) if isinstance(track, Track) else track
    unit, name = (1e6, "Mb") if lines.length >= 2_000_000 else (1e3, "kb")
    with figure_axes(path, _SIZE) as axes:
        for region in lines.regions:
            axes.axvspan(region.start / unit, region.end / unit, color="#e69f00", alpha=0.35, linewidth=0)
        places = lines.places / unit
        axes.plot(places, lines.scores, color="#777777", linewidth=0.5, label="virus score of windows")
        axes.plot(places, lines.posteriors, color="#0072b2", linewidth=1.2, label="probability of virus, smoothed")
        axes.set(
            xlabel=f"{label(lines.seq_name)} ({name})", ylabel="score", xlim=(0, lines.length / unit),
            ylim=(-0.02, 1.02),
        )  # fmt: skip
        axes.set_title(f"{len(lines.regions)} regions (shaded), {lines.length:,} nt", loc="left")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize="small", frameon=False)
