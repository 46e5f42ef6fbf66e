"""Drawings of a scan as SVG: a linear or circular overview of a record, and a panel of each region."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from virnucpro.pipeline.regions import Floats
from virnucpro.report.gene_track import gc_track, gene_track
from virnucpro.report.svg import Drawing, Point, Rows, number, path, rect, shown, steps_of, text, ticks, width_of
from virnucpro.report.tracks import RecordView, RegionView, TrackLines, highest, thinned

WIDTH, LEFT, RIGHT = 960, 62, 946  # of linear drawings, px: the page, and where the record begins and ends
_ROWS, _ROW = 3, 16  # of labels of regions
_OVERVIEW, _PANEL = 60, 84  # heights of the scores
_FEW = 40  # points of the lines of a small panel
_LISTED = 20  # regions in a description
_RADIUS, _MIDDLE, _SIZE = 122, (240, 158), (480, 316)  # of circles
_BAND = 26  # of a circle, between probability 0 and 1


def overview(view: RecordView, name: str, linked: bool = True, points: int = 300) -> Drawing:
    """Draw a record: the highest probability of virus in each of `points` stretches, and its regions with their names.

    With `linked`, names are links to the panels.
    """
    draw = _circle if view.circular else _line
    kind = "circular" if view.circular else "linear"
    places = [f"{one.found.region} {one.found.start + 1:,}–{one.found.end:,}" for one in view.regions[:_LISTED]]
    more = f" and {len(view.regions) - _LISTED} more" if len(view.regions) > _LISTED else ""
    title = f"{shown(view.seq_name)}: overview"
    description = (
        f"{kind} drawing of {view.length:,} nt with the smoothed probability of virus; regions: "
        f"{', '.join(places)}{more}"
    )
    (width, height), parts = draw(view, linked, highest(view.highest, points))
    return Drawing(width, height, name, title, description, "circle" if view.circular else "line", parts)


def panel(view: RegionView, record: RecordView, name: str, full: bool = True) -> Drawing:
    """Draw a region and what is around it: scores, and genes of the annotation, or GC without one.

    Without `full` the drawing takes less memory: lines have a third of the points, genes no names.
    """
    found, lines = view.found, view.lines if full else thinned(view.lines, _FEW)
    x = _Scale(lines)
    left, right = x(found.start), x(found.end)
    top = 22
    base = top + _PANEL
    middle = min(max((left + right) / 2, LEFT + 90), RIGHT - 90)
    parts = [
        text(middle, 14, f"{found.region} · {found.length:,} nt", "name", "middle"),
        rect(left, top, right - left, _PANEL, "shade"),
        path(f"M{LEFT} {base - _PANEL / 2}H{RIGHT}", "grid"),
        *_scores(lines, x, base, _PANEL),
        rect(left, base + 3, max(right - left, 3), 5, "region"),
    ]
    below = base + 14
    if record.annotated:
        drawn, height = gene_track(view.genes, (lines.start, lines.end), (LEFT, RIGHT), below, full)
        what = f"{len(view.genes)} genes of the annotation"
    else:
        drawn, height = gc_track(view.gc if full else view.gc[1::3], record.gc_mean, (LEFT, RIGHT), below)
        what = f"GC along the record; {_percent(view.gc_mean)} in the region, {_percent(record.gc_mean)} in the record"
    parts += [*drawn, *_axis(lines.start, lines.end, below + height)]
    description = (
        f"{found.start + 1:,}–{found.end:,} of {record.length:,} nt, shown from {lines.start + 1:,} to {lines.end:,}; "
        f"mean probability of virus {found.posterior:.2f}; {what}"
    )
    title = f"{found.region} in {shown(found.seq_name)}"
    return Drawing(WIDTH, below + height + 36, name, title, description, "line", parts)


def _percent(share: float) -> str:
    return f"{share:.1%}" if math.isfinite(share) else "unknown"


class _Scale:
    """Places (nt) as coordinates (px)."""

    def __init__(self, lines: TrackLines) -> None:
        self._start, self._unit = lines.start, (RIGHT - LEFT) / max(lines.end - lines.start, 1)

    def __call__(self, place: float) -> float:
        return LEFT + (place - self._start) * self._unit


def _line(view: RecordView, linked: bool, lines: TrackLines) -> tuple[tuple[float, float], list[Markup]]:
    x = _Scale(lines)
    rows = Rows(_ROWS, LEFT, RIGHT)
    placed = []
    for one in view.regions:
        middle = (x(one.found.start) + x(one.found.end)) / 2
        if place := rows.place(middle, width_of(one.found.region)):
            placed.append((one.found.region, middle, place))
    used = max((row for _, _, (row, _) in placed), default=-1) + 1
    top = used * _ROW + 6
    base = top + _OVERVIEW
    parts = [path(f"M{number(m)} {top - (row * _ROW)}V{top}", "lead") for _, m, (row, _) in placed if row]
    parts += [
        _link(text(middle, top - 6 - row * _ROW, region, "name", "middle"), region, linked)
        for region, _, (row, middle) in placed
    ]
    spans = [(x(one.found.start), x(one.found.end)) for one in view.regions]
    parts += [rect(a, top, max(b - a, 2), _OVERVIEW, "shade") for a, b in spans]
    parts += _scores(lines, x, base, _OVERVIEW, windows=False)
    parts += [rect(a, base + 3, max(b - a, 3), 5, "region") for a, b in spans]
    return (WIDTH, base + 48), [*parts, *_axis(lines.start, lines.end, base + 12)]


def _link(drawn: Markup, region: str, linked: bool) -> Markup:
    """Return a drawing as a link for the pointer; keyboards have the table of regions."""
    return Markup('<a href="#{}" tabindex="-1">{}</a>').format(region, drawn) if linked else drawn


def _scores(lines: TrackLines, x: _Scale, base: float, height: float, windows: bool = True) -> Iterator[Markup]:
    """Yield the probability of virus as an area, the scores of windows as a line, and the axis of both."""

    def points(values: Floats) -> list[Point]:
        ends = [lines.start, *lines.places.tolist(), lines.end] if len(values) else []
        level = [values[0], *values, values[-1]] if len(values) else []
        return [
            (x(min(max(a, lines.start), lines.end)), base - height * float(b)) for a, b in zip(ends, level, strict=True)
        ]

    yield path(steps_of(points(lines.posteriors), base), "smooth area")
    if windows:
        yield path(steps_of(points(lines.scores)), "windows")
    yield path(f"M{LEFT} {base}H{RIGHT}M{LEFT} {base}V{base - height}", "axis")
    yield text(LEFT - 6, base - height + 9, "1", "tick", "end")
    yield text(LEFT - 6, base, "0", "tick", "end")
    yield text(LEFT - 6, base - height / 2 + 4, "P(virus)", "tick", "end")


def _axis(start: int, end: int, y: float) -> Iterator[Markup]:
    places, name, unit = ticks(start, end)
    scale = (RIGHT - LEFT) / max(end - start, 1)
    at = [(LEFT + (place - start) * scale, f"{place / unit:,.10g}") for place in places]
    yield path(f"M{LEFT} {number(y)}H{RIGHT}" + "".join(f"M{number(x)} {number(y)}v5" for x, _ in at), "axis")
    for i, (x, words) in enumerate(at):
        last = i == len(at) - 1
        yield text(x, y + 19, f"{words} {name}" if last else words, "tick", "end" if x > RIGHT - 30 else "middle")


def _circle(view: RecordView, linked: bool, lines: TrackLines) -> tuple[tuple[float, float], list[Markup]]:
    """Draw a record as a circle that begins at the top and runs clockwise."""
    turn = 2 * math.pi / max(view.length, 1)
    values = zip(lines.places.tolist(), lines.posteriors.tolist(), strict=True)
    outline = [_polar(turn * place, _RADIUS - _BAND * (1 - value)) for place, value in values]
    steps = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in outline) + "z"
    parts = [
        path(steps + _ring(_RADIUS - _BAND), "area"),
        path(_ring(_RADIUS) + _ring(_RADIUS - _BAND), "axis"),
        path(steps, "smooth"),
        *(_arc(turn * one.found.start, turn * one.found.end) for one in view.regions),
        *_circle_ticks(view.length, turn),
        text(_MIDDLE[0], _MIDDLE[1] - 2, shown(view.seq_name, 16), "name", "middle"),
        text(_MIDDLE[0], _MIDDLE[1] + 16, f"{view.length:,} nt", "tick", "middle"),
        *_circle_names(view.regions, turn, linked),
    ]
    return _SIZE, parts


def _polar(angle: float, radius: float) -> Point:
    return _MIDDLE[0] + radius * math.sin(angle), _MIDDLE[1] - radius * math.cos(angle)


def _ring(radius: float) -> str:
    x, y = _MIDDLE
    arc = f"a{radius} {radius} 0 1 0"  # against the clock, so that it cuts a hole into an area drawn with it
    return f"M{x} {y - radius}{arc} 0 {2 * radius}{arc} 0 {-2 * radius}z"


def _arc(start: float, end: float) -> Markup:
    """Draw a region as a thick arc; one of the whole circle is a little shorter, so that it is seen as an arc."""
    end = min(max(end, start + 0.015), start + 2 * math.pi - 0.01)
    radius = _RADIUS + 9
    (ax, ay), (bx, by) = _polar(start, radius), _polar(end, radius)
    large = int(end - start > math.pi)
    steps = f"M{number(ax)} {number(ay)}A{radius} {radius} 0 {large} 1 {number(bx)} {number(by)}"
    return path(steps, "arc")


def _circle_ticks(length: int, turn: float) -> Iterator[Markup]:
    places, name, unit = ticks(0, length, 12)
    for place in places:
        if place and place * turn > 2 * math.pi - 0.35:
            continue  # too close to the first
        angle = place * turn
        (ax, ay), (bx, by) = _polar(angle, _RADIUS - _BAND), _polar(angle, _RADIUS - _BAND - 6)
        yield path(f"M{number(ax)} {number(ay)}L{number(bx)} {number(by)}", "axis")
        x, y = _polar(angle, _RADIUS - _BAND - 18)
        yield text(x, y + 4, f"{place / unit:,.10g}" if place else f"0 {name}", "tick", "middle")


def _circle_names(regions: Sequence[RegionView], turn: float, linked: bool) -> Iterator[Markup]:
    """Yield the names of regions beside the circle, on each side from top to bottom, while there is room."""
    sides: dict[int, list[tuple[float, float, str]]] = {-1: [], 1: []}
    for one in regions:
        angle = turn * (one.found.start + one.found.end) / 2
        sides[1 if math.sin(angle) >= 0 else -1].append((_polar(angle, _RADIUS + 30)[1], angle, one.found.region))
    for side, names in sides.items():
        room = int((_SIZE[1] - 16) / _ROW)
        levels = _apart([y for y, _, _ in sorted(names)][:room], _ROW, 12, _SIZE[1] - 6)
        for (_, angle, region), y in zip(sorted(names), levels, strict=False):
            x = _MIDDLE[0] + side * (_RADIUS + 44)
            (ax, ay), (bx, by) = _polar(angle, _RADIUS + 15), _polar(angle, _RADIUS + 26)
            lead = f"M{number(ax)} {number(ay)}L{number(bx)} {number(by)}L{number(x - side * 5)} {number(y - 4)}"
            yield path(lead, "lead")
            yield _link(text(x, y, region, "name", "start" if side > 0 else "end"), region, linked)


def _apart(levels: list[float], gap: float, low: float, high: float) -> list[float]:
    """Return ascending levels at least `gap` apart between two limits, near to where they were.

    >>> _apart([10, 11, 50], 16, 0, 60)
    [10, 26, 50]
    """
    found: list[float] = []
    for level in levels:
        found.append(max(level, low, found[-1] + gap if found else low))
    for i in range(len(found) - 1, -1, -1):
        found[i] = min(found[i], found[i + 1] - gap if i + 1 < len(found) else high)
    return found
