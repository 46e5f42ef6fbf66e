"""Tracks of a scan without its model, and their page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np

from virnucpro.pipeline.regions import Region
from virnucpro.report.scan_page import Origin, Shown, Totals, render
from virnucpro.report.tracks import Topology, record_view
from virnucpro.run.scan import Numbering, Scanner, ScanSettings, Track, window_bounds, window_starts
from virnucpro.seq.feature import AnnotatedSequence, Feature
from virnucpro.types import Record

PRODUCTS = (
    "terminase large subunit", "portal protein", "major capsid protein", "tail fiber protein", "integrase", "holin",
    "hypothetical protein", "replication protein O", "DUF5 domain-containing protein", "ABC transporter permease",
)  # fmt: skip


def make_track(
    name: str, length: int, spans: Iterable[tuple[int, int]] = (), index: int = 0, description: str = "", seed: int = 0
) -> Track:
    """Return a record of random letters, whose windows are viral in the spans; no two windows are alike."""
    rng = np.random.default_rng((seed, index))
    sequence = rng.choice(np.frombuffer(b"ACGT", np.uint8), length).tobytes()
    starts = window_starts(length, 500, 250)
    bounds = window_bounds(starts, length, 500)
    posteriors, scores = 0.02 * rng.random(len(starts)), rng.random(len(starts)) ** 3
    regions = []
    for span in spans:
        first, last = np.searchsorted(bounds, span).tolist()
        posteriors[first:last] = 0.9 + 0.1 * rng.random(last - first)
        scores[first:last] = rng.random(last - first) ** 0.4
        regions.append(Region(bounds[first], bounds[last], last - first, float(posteriors[first:last].mean())))
    return Track(Record(name, sequence, "x", index, description), bounds, scores, posteriors, regions)


def make_genes(length: int, gene: int = 900) -> AnnotatedSequence:
    """Return genes side by side, on both strands, with the products in turn."""
    starts = range(100, length - gene, gene + 50)
    return AnnotatedSequence([
        Feature(start, start + gene, -1 if i % 3 == 0 else 1, "CDS", f"locus_{start:07d}", PRODUCTS[i % len(PRODUCTS)])
        for i, start in enumerate(starts)
    ])  # fmt: skip


@cache
def scanner() -> Scanner:
    """Return a scanner with the bundled model and default settings."""
    return Scanner(ScanSettings())


def make_page(
    tracks: Iterable[Track],
    genes: Callable[[Track], AnnotatedSequence | None] = lambda track: None,
    topology: Topology = "auto",
    annotation: str | None = None,
    inputs: tuple[str, ...] = ("/data/genome.fa",),
) -> str:
    """Return the page of a scan with these tracks."""
    numbering, totals, shown = Numbering(), Totals(), Shown()
    for track in tracks:
        found = list(numbering.regions(track))
        totals = totals.plus(track, found)
        if found:
            shown.add(record_view(track, found, genes(track), topology))
    origin = Origin(["/bin/virnucpro", "scan", *inputs, "-o", "out", "--plots", "none"], inputs, annotation)
    return render(shown.records(), totals, scanner(), origin)
