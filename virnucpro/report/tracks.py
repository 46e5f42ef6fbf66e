"""What figures of scans show: scores, regions, genes and GC along a record, in memory that does not grow with it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from virnucpro.pipeline.regions import Floats
from virnucpro.run.scan import FoundRegion, Track
from virnucpro.seq.feature import AnnotatedSequence, Feature
from virnucpro.types import Record

Topology = Literal["auto", "circular", "linear"]

_MAX_POINTS = 4000  # of a line, more than a page shows; in longer records, a point is the mean of several windows
_OVERVIEW_POINTS = 300
_PANEL_POINTS = 120  # of a line beside a region
_FLANK = 4  # a panel shows a quarter of the region on either side, and at least this:
_MIN_FLANK = 2000  # nt
_CIRCULAR = re.compile(
    r"\b(circular|suggestCircular)=(true|yes|y|1)\b|\btopology=circular\b|\bplasmid\b(?!-)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class TrackLines:
    """The lines of a figure between `start` and `end` (nt).

    `places` (n,) in nt; `scores` (n,), NaN without a scored window; `posteriors` (n,).
    """

    start: int
    end: int
    places: Floats
    scores: Floats
    posteriors: Floats


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region and what is around it: lines, genes, and shares of G and C (n,), NaN without known letters.

    `gc_mean` is the share of the region itself.
    """

    found: FoundRegion
    lines: TrackLines
    genes: Sequence[Feature]
    gc: Floats
    gc_mean: float


@dataclass(frozen=True, slots=True)
class RecordView:
    """A record with regions: `number` in the input from 1, `gc_mean` its share of G and C.

    `lines` are means of windows, `highest` the highest probabilities of at most 300 stretches.
    """

    number: int
    seq_name: str
    length: int
    circular: bool
    annotated: bool
    gc_mean: float
    lines: TrackLines
    highest: TrackLines
    regions: list[RegionView] = field(default_factory=list)


def thinned(lines: TrackLines, most: int) -> TrackLines:
    """Return lines with at most `most` points, each the mean of as many neighbours."""
    groups = np.arange(0, len(lines.places), -(-len(lines.places) // most))
    sizes = np.diff(np.append(groups, len(lines.places)))
    seen = np.add.reduceat(np.isfinite(lines.scores).astype(float), groups)
    sums = np.add.reduceat(np.nan_to_num(lines.scores), groups)
    scores = np.divide(sums, seen, out=np.full(len(groups), np.nan), where=seen > 0)
    places, posteriors = (np.add.reduceat(values, groups) / sizes for values in (lines.places, lines.posteriors))
    return TrackLines(lines.start, lines.end, places, scores, posteriors)


def highest(lines: TrackLines, points: int) -> TrackLines:
    """Return lines with no more points; each is the highest probability of a stretch, so that no peak gets lost."""
    if len(lines.places) <= points:
        return lines
    groups = np.linspace(0, len(lines.places), points + 1).astype(int)[:-1]
    sizes = np.diff(np.append(groups, len(lines.places)))
    places = np.add.reduceat(lines.places, groups) / sizes
    peaks = np.maximum.reduceat(lines.posteriors, groups)
    return TrackLines(lines.start, lines.end, places, peaks, peaks)


def record_view(
    track: Track,
    regions: Sequence[FoundRegion],
    annotated: AnnotatedSequence | None = None,
    topology: Topology = "auto",
) -> RecordView:
    """Return what figures show of a record with regions."""
    record = track.record
    circular = is_circular(record, annotated) if topology == "auto" else topology == "circular"
    genes = annotated.features if annotated else []
    bounds = np.array(track.bounds, dtype=np.float64)
    whole = TrackLines(0, track.length, (bounds[1:] + bounds[:-1]) / 2, track.scores, track.posteriors)
    return RecordView(
        number=record.index + 1,
        seq_name=record.id,
        length=track.length,
        circular=circular,
        annotated=annotated is not None,
        gc_mean=gc_share(record.sequence),
        lines=thinned(whole, _MAX_POINTS),
        highest=highest(whole, _OVERVIEW_POINTS),
        regions=[_region_view(record.sequence, found, genes, whole, bounds) for found in regions],
    )


def _region_view(
    sequence: bytes, found: FoundRegion, genes: Sequence[Feature], whole: TrackLines, bounds: Floats
) -> RegionView:
    flank = max(found.length // _FLANK, _MIN_FLANK)
    start, end = max(found.start - flank, 0), min(found.end + flank, len(sequence))
    seen = slice(int(np.searchsorted(bounds, start, "right")) - 1, int(np.searchsorted(bounds, end, "left")))
    lines = TrackLines(start, end, whole.places[seen], whole.scores[seen], whole.posteriors[seen])
    gc = gc_along(sequence[start:end], min(_PANEL_POINTS, end - start))
    around = [gene for gene in genes if gene.end > start and gene.start < end]
    region_gc = gc_share(sequence[found.start : found.end])
    return RegionView(found, thinned(lines, _PANEL_POINTS), around, gc, region_gc)


def is_circular(record: Record, annotated: AnnotatedSequence | None = None) -> bool:
    """Return whether annotation or header call a record circular or a plasmid; only its drawing depends on it."""
    return (annotated is not None and annotated.circular) or _CIRCULAR.search(record.description) is not None


def gc_share(sequence: bytes) -> float:
    """Return the share of G and C among the known letters of a sequence, NaN without one."""
    strong, weak = (sum(map(sequence.count, letters)) for letters in ((b"G", b"C", b"S"), (b"A", b"T", b"U", b"W")))
    return strong / (strong + weak) if strong + weak else math.nan


def gc_along(sequence: bytes, n: int) -> Floats:
    """Return the shares of G and C (n,) in n equal stretches, see `gc_share`."""
    edges = np.linspace(0, len(sequence), n + 1).astype(int).tolist()
    return np.array([gc_share(sequence[start:end]) for start, end in pairwise(edges)])
