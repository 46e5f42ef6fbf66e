"""Figures of scans: scores and regions along a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from virnucpro.pipeline.outputs import atomic_path
from virnucpro.pipeline.scan import Track
from virnucpro.report.plots import new_figure

_SIZE = (10.0, 3.6)  # inches
_DPI = 150
_MOST_POINTS = 4000  # of a line: more than a page shows; of a longer record each has the mean of its windows


def draw_track(path: Path, track: Track) -> None:
    """Draw scores, posterior and regions of a record; the file's suffix says the format (png, svg, pdf)."""
    figure = new_figure()(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    bounds = np.array(track.bounds, dtype=np.float64)
    unit, name = (1e6, "Mb") if track.length >= 2_000_000 else (1e3, "kb")
    middles = (bounds[1:] + bounds[:-1]) / 2 / unit
    groups = np.arange(0, len(middles), -(-len(middles) // _MOST_POINTS))
    sizes = np.diff(np.append(groups, len(middles)))
    for region in track.regions:
        axes.axvspan(region.start / unit, region.end / unit, color="#e69f00", alpha=0.35, linewidth=0)
    seen = np.add.reduceat(np.isfinite(track.scores).astype(float), groups)
    sums = np.add.reduceat(np.nan_to_num(track.scores), groups)
    places = np.add.reduceat(middles, groups) / sizes
    with np.errstate(invalid="ignore"):
        axes.plot(places, sums / seen, color="#777777", linewidth=0.5, label="virus score of windows")
    smooth = np.add.reduceat(track.posteriors, groups) / sizes
    axes.plot(places, smooth, color="#0072b2", linewidth=1.2, label="probability of virus, smoothed")
    axes.set(
        xlabel=f"{track.seq_name[:60]} ({name})", ylabel="score", xlim=(0, track.length / unit), ylim=(-0.02, 1.02),
    )  # fmt: skip
    axes.set_title(f"{len(track.regions)} regions (shaded), {track.length:,} nt", loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize="small", frameon=False)  # hides no peak
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=_DPI)
