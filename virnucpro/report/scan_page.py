"""Render report.html of a scan: one page without scripts that needs no network and no other file."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from virnucpro import __version__
from virnucpro.report.genes import ALL_ROLES
from virnucpro.report.html import Table, environment, policy_hash, record_name
from virnucpro.report.origin import plain_command
from virnucpro.report.scan_drawings import overview, panel
from virnucpro.report.svg import shown
from virnucpro.report.tracks import RecordView, RegionView
from virnucpro.run.scan import FoundRegion, Scanner, Track

MAX_REGIONS = 200  # on the page
# So that the page stays below 1.5 MB: bytes of panels with all details and of all panels, points of all overviews.
_FULL_BYTES, _PANEL_BYTES = 250_000, 950_000
_OVERVIEW_POINTS, _FEWEST_POINTS = 6000, 40


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of a scan; bases are nt. `whole` regions are whole records."""

    records: int = 0
    bases: int = 0
    with_regions: int = 0
    regions: int = 0
    viral_bases: int = 0
    longest: int = 0
    whole: int = 0

    def plus(self, track: Track, found: Sequence[FoundRegion]) -> Totals:
        """Return the counts with those of one more record."""
        lengths = [one.length for one in found]
        return Totals(
            self.records + 1,
            self.bases + track.length,
            self.with_regions + bool(found),
            self.regions + len(found),
            self.viral_bases + sum(lengths),
            max(self.longest, *lengths, 0),
            self.whole + sum(length == track.length for length in lengths),
        )


def _weight(view: RegionView) -> float:
    """Return the viral bases that are expected in a region."""
    return view.found.posterior * view.found.length


class Shown:
    """The records and regions of the page: those with the most viral bases expected, in order of the input."""

    def __init__(self, most: int = MAX_REGIONS) -> None:
        self._most = most
        self._kept: list[tuple[float, int, int, RecordView, RegionView]] = []  # a heap, the smallest first

    def add(self, view: RecordView) -> None:
        """Keep the regions of a record if they are among the largest so far."""
        bare = replace(view, regions=[])
        for place, one in enumerate(view.regions):
            heapq.heappush(self._kept, (_weight(one), -view.number, -place, bare, one))
            if len(self._kept) > self._most:
                heapq.heappop(self._kept)

    def records(self) -> list[RecordView]:
        """Return the records that have regions on the page."""
        found: dict[int, RecordView] = {}
        for _, number, _, bare, one in sorted(self._kept, key=lambda kept: (-kept[1], -kept[2])):
            found.setdefault(number, replace(bare, regions=[])).regions.append(one)
        return list(found.values())


@dataclass(frozen=True, slots=True)
class Origin:
    """What a scan was made of: command, names of the inputs, name of the annotation."""

    command: Sequence[str]
    inputs: Sequence[str]
    annotation: str | None = None


def render(records: Sequence[RecordView], totals: Totals, scanner: Scanner, origin: Origin) -> str:
    """Return the page of a scan. It shows no times, so the same scan has the same page."""
    folder = files("virnucpro.report")
    names = ("scan_page.html", "scan_drawings.css", "scan_page.css")
    page, *styles = ((folder / name).read_text(encoding="utf-8") for name in names)
    style = "".join(styles)
    inputs = [Path(name).name if name != "-" else "standard input" for name in origin.inputs]
    panels, full = _panels(records)
    points = min(300, max(_FEWEST_POINTS, _OVERVIEW_POINTS // max(len(records), 1)))
    jinja = environment()
    jinja.filters |= {
        "decimals": lambda value: f"{value:.3f}" if math.isfinite(value) else "none",
        "share": _share,
        "short": lambda name: shown(name, 120),
        "overview": lambda view, number: overview(view, f"record-{number}", points=points).markup(),
    }
    return jinja.from_string(page).render(
        version=__version__,
        inputs=" and ".join(inputs if len(inputs) < 3 else [inputs[0], f"{len(inputs) - 1} more"]),
        records=records,
        totals=totals,
        shown=sum(len(view.regions) for view in records),
        panels=panels,
        full=full,
        table=_table(records),
        annotation=Path(origin.annotation).name if origin.annotation else None,
        mixed=not all(view.annotated for view in records),
        roles=ALL_ROLES,
        min_length=scanner.settings.min_length,
        step=scanner.step,
        command=plain_command(origin.command, "scan"),
        settings=_settings(scanner),
        style=Markup(style),
        style_hash=policy_hash(style),
    )


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "unknown"


def _panels(records: Sequence[RecordView]) -> tuple[dict[str, Markup], int]:
    """Return the panels of regions by their names, and how many have all details: the largest, while there is room."""
    found: dict[str, Markup] = {}
    used = full = 0
    detailed = True
    pairs = [(one, view) for view in records for one in view.regions]
    for one, view in sorted(pairs, key=_by_weight):
        name = one.found.region
        drawn = panel(one, view, f"{name}-p", detailed).markup()
        if detailed and used + len(drawn) > _FULL_BYTES:
            detailed = False
            drawn = panel(one, view, f"{name}-p", detailed).markup()
        if used + len(drawn) > _PANEL_BYTES:
            break
        found[name] = drawn
        used, full = used + len(drawn), full + detailed
    return found, full


def _by_weight(shown: tuple[RegionView, RecordView]) -> tuple[float, int, int]:
    return -_weight(shown[0]), shown[1].number, shown[0].found.start


def _table(records: Sequence[RecordView]) -> Table:
    rows = [
        (
            Markup('<a href="#{}">{}</a>').format(one.found.region, one.found.region), record_name(view.seq_name),
            one.found.start + 1, one.found.end, one.found.length, f"{one.found.posterior:.3f}", _share(one.gc_mean),
        )
        for view in records for one in view.regions
    ]  # fmt: skip
    head = ("region", "record", "first nt", "last nt", "length, nt", "probability of virus", "GC")
    return Table("Regions of this page, in order of the input.", head, rows)


def _settings(scanner: Scanner) -> list[tuple[str, str]]:
    settings, landscape = scanner.settings, scanner.settings.landscape
    predictor, model = scanner.predictor, scanner.predictor.description
    checksum = model.checksums.get("classifier.safetensors", "unknown")
    composition = f"counted {landscape.composition:g} times" if landscape.composition else "not used"
    return [
        ("model", f"{model.name}, windows of {model.chunk_length} nt, classifier with SHA-256 {checksum[:16]}…"),
        ("from window to window", f"{scanner.step} nt"),
        ("minimum probability of virus (--min-posterior)", f"{settings.min_posterior:g}"),
        ("shortest region (--min-length)", f"{settings.min_length:,} nt"),
        ("evidence that counts for neither side (--neutral)", f"{landscape.evidence_offset:g}"),
        ("sequence composition (--remnants)", composition),
        ("computed", f"on {predictor.device.type} in {predictor.precision}"),
    ]
