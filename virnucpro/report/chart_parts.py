"""Parts of the charts of a run as SVG. Colours are attributes, for a chart alone, and classes of page.css."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

COLOURS = {"virus": "#b5472a", "other": "#7d97a8", "none": "#c9c4ba", "quiet": "#566068", "line": "#dcdfe1"}
WIDTH = 360  # of a drawing, so that its text can be read on a phone and in a column of a printed page


def svg(height: float, label: str, parts: Iterable[Markup], name: str = "static", width: float = WIDTH) -> Markup:
    """Return a drawing with a text label of the same content; `strip` and `share` fill the width of their place."""
    shape = Markup(' preserveAspectRatio="none"') if name in ("strip", "share") else ""
    opening = Markup('<svg viewBox="0 0 {} {}"{} role="img" aria-label="{}" class="{}">')
    return opening.format(_digits(width), _digits(height), shape, label, name) + Markup().join(parts) + Markup("</svg>")


def rect(x: float, y: float, width: float, height: float, name: str, opacity: float = 1) -> Markup:
    """Return a rectangle in the colour `name`."""
    shade = Markup(' fill-opacity="{}"').format(_digits(opacity)) if opacity < 1 else ""
    sizes = (_digits(value) for value in (x, y, width, height))
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}" fill="{}"{}></rect>').format(
        *sizes, name, COLOURS[name], shade
    )


def line(points: Sequence[tuple[float, float]], name: str = "line", width: float = 1, dashed: bool = False) -> Markup:
    """Return a line through points in the colour `name`."""
    steps = "L".join(f"{_digits(x)} {_digits(y)}" for x, y in points)
    dashes = Markup(' stroke-dasharray="4 3"') if dashed else ""
    return Markup('<path d="M{}" class="stroke {}" fill="none" stroke="{}" stroke-width="{}"{}></path>').format(
        steps, name, COLOURS[name], width, dashes
    )


def dot(x: float, y: float, radius: float, name: str) -> Markup:
    """Return a circle in the colour `name`."""
    sizes = (_digits(value) for value in (x, y, radius))
    return Markup('<circle cx="{}" cy="{}" r="{}" class="{}" fill="{}"></circle>').format(*sizes, name, COLOURS[name])


def text(x: float, y: float, words: str, anchor: str = "start", name: str = "quiet") -> Markup:
    """Return text that begins, is centred or ends at x; its baseline is at y."""
    return Markup('<text x="{}" y="{}" text-anchor="{}" class="{}" fill="{}" font-size="11">{}</text>').format(
        _digits(x), _digits(y), anchor, name, COLOURS[name], words
    )


def ticks(low: float, high: float, number: int = 4) -> list[float]:
    """Return about `number` round values in low..high.

    >>> ticks(0, 1), ticks(0, 37, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    power = 10.0 ** math.floor(math.log10((high - low) / number))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs((high - low) / step - number))
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _digits(value: float) -> str:
    """Return a coordinate with as few digits as a drawing needs."""
    return f"{round(value, 2):g}"
