"""Parts of drawings as SVG: escaped text, lines with few points, axes, labels that do not overlap."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from markupsafe import Markup

from virnucpro.report.html import readable

_NO_XML = re.compile("[\ufffe\uffff]")
_LETTER = 7.2  # mean width of a bold letter of 12 px
Point = tuple[float, float]


def shown(text: str, most: int = 60) -> str:
    """Return text for a drawing: shortened, and with codes for characters that cannot be shown or are not XML."""
    known = _NO_XML.sub(lambda found: ascii(found[0])[1:-1], readable(text[: most + 1]))
    known = known.replace("\n", "\\n").replace("\t", "\\t")
    return known if len(text) <= most else f"{known[:most]}…"


def number(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> Markup:
    """Return a text whose baseline begins ("start"), has its middle ("middle") or ends ("end") at (x, y)."""
    classes = css if anchor == "start" else f"{css} {anchor}"
    return Markup('<text x="{}" y="{}" class="{}">{}</text>').format(number(x), number(y), classes, words)


def rect(x: float, y: float, width: float, height: float, css: str) -> Markup:
    """Return a rectangle."""
    place = map(number, (x, y, width, height))
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(*place, css)


def path(steps: str, css: str, title: str = "") -> Markup:
    """Return a path; a browser shows its title when the pointer is on it."""
    if not title:
        return Markup('<path d="{}" class="{}"/>').format(steps, css)
    return Markup('<path d="{}" class="{}"><title>{}</title></path>').format(steps, css, title)


def steps_of(points: Iterable[Point], base: float | None = None) -> str:
    """Return the steps of a path through points, to a tenth of a px; a y that is not a number interrupts it.

    Points on a level line between two others are left out. With `base`, the path goes on to that y and closes, so that
    it is the area between line and base.

    >>> steps_of([(0, 5), (1, 5), (2, 5), (3, 4.5)])
    'M0 5l2 0 1-.5'
    """
    steps: list[str] = []
    for run in _runs(points):
        inner = zip(run, run[1:], run[2:], strict=False)
        kept = [
            run[0],
            *(point for before, point, after in inner if not before[1] == point[1] == after[1]),
            *run[1:][-1:],
        ]
        (x, y), *rest = kept if len(kept) > 1 else kept * 2
        numbers = [f"M{_tenths(x)} {_tenths(y)}l"]
        for to_x, to_y in rest:
            numbers += [_tenths(to_x - x), _tenths(to_y - y)]
            x, y = to_x, to_y
        joined = " ".join(numbers[1:]).replace(" -", "-")
        close = "" if base is None else f"V{number(base)}H{_tenths(run[0][0])}z"
        steps.append(f"{numbers[0]}{joined}{close}")
    return "".join(steps)


def _tenths(value: int) -> str:
    """Return tenths of a px in px, as short as SVG allows."""
    return f"{value / 10:.1f}".removesuffix(".0").replace("0.", ".", 1) if abs(value) < 10 else number(value / 10)


def _runs(points: Iterable[Point]) -> Iterator[list[tuple[int, int]]]:
    """Yield points in tenths of a px, up to each y that is not a number."""
    run: list[tuple[int, int]] = []
    for x, y in points:
        if y == y:
            run.append((round(10 * x), round(10 * y)))
        elif run:
            yield run
            run = []
    if run:
        yield run


def ticks(start: int, end: int, most: int = 8) -> tuple[list[int], str, int]:
    """Return round places between two, and the unit of an axis: its name and its nt.

    >>> ticks(0, 48502)
    ([0, 10000, 20000, 30000, 40000], 'kb', 1000)
    """
    step = next(
        step for power in count() for step in (10**power, 2 * 10**power, 5 * 10**power) if end - start <= most * step
    )
    name, unit = ("Mb", 1_000_000) if end >= 2_000_000 and step >= 100_000 else ("kb", 1000)
    return list(range(-(-start // step) * step, end + 1, step)), name, unit


def width_of(words: str, letter: float = _LETTER) -> float:
    """Return an estimate of the width of a text, px."""
    return len(words) * letter


class Rows:
    """Rows of labels, filled one label at a time so that none overlaps another."""

    def __init__(self, rows: int, left: float, right: float) -> None:
        self._taken: list[list[tuple[float, float]]] = [[] for _ in range(rows)]
        self._left, self._right = left, right

    def place(self, middle: float, width: float, gap: float = 4) -> tuple[int, float] | None:
        """Return the row and the new middle of a label, None if there is no room with gaps on both sides."""
        middle = min(max(middle, self._left + width / 2), self._right - width / 2)
        start, end = middle - width / 2, middle + width / 2
        for row, taken in enumerate(self._taken):
            if all(end + gap <= a or start >= b + gap for a, b in taken):
                taken.append((start, end))
                return row, middle
        return None


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing with its width and height (px), and a title and a description for readers who cannot see it.

    `name` is an id that no other drawing of the page has; `css` is its class.
    """

    width: float
    height: float
    name: str
    title: str
    description: str
    css: str
    parts: Sequence[Markup]

    def markup(self, place: Point | None = None) -> Markup:
        """Return it as an SVG element, at a place if it is inside another drawing."""
        corner = Markup('x="{}" y="{}" width="{}" height="{}" ')
        opening = Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" {}viewBox="0 0 {} {}" role="img" '
            'aria-labelledby="{}-t {}-d" class="{}"><title id="{}-t">{}</title><desc id="{}-d">{}</desc>'
        )
        size = number(self.width), number(self.height)
        at = corner.format(number(place[0]), number(place[1]), *size) if place else ""
        name = self.name
        return (
            opening.format(at, *size, name, name, self.css, name, self.title, name, self.description)
            + Markup("\n").join(self.parts)
            + Markup("</svg>\n")
        )
