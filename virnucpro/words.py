"""Counts and sizes as people write them, for messages and reports."""

from __future__ import annotations

_SINGULAR = {"classes": "class", "taxa": "taxon", "processes": "process", "qualities": "quality", "viruses": "virus"}
_STEP = 1000


def counted(number: int, things: str) -> str:
    """Return a number with the name of what is counted, given in the plural.

    >>> counted(1, "records"), counted(0, "records"), counted(1200, "frames"), counted(1, "viral classes")
    ('1 record', '0 records', '1,200 frames', '1 viral class')
    """
    if number == 1:
        before, blank, last = things.rpartition(" ")
        things = before + blank + _SINGULAR.get(last, last.removesuffix("s"))
    return f"{number:,} {things}"


def in_bytes(size: float) -> str:
    """Return a size in bytes with a decimal unit and two or three digits.

    >>> in_bytes(1), in_bytes(29_635_840), in_bytes(2_500_000), in_bytes(999_999), in_bytes(12e9)
    ('1 byte', '30 MB', '2.5 MB', '1 MB', '12 GB')
    """
    if round(size) < _STEP:
        return counted(round(size), "bytes")
    units = iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    value = size / _STEP
    while round(value) >= _STEP and (larger := next(units, None)):
        value, unit = value / _STEP, larger
    digits = f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
    return f"{digits} {unit}"
