"""Tables on standard output: tab-separated for programs, in columns on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby


def print_tables(lines: Iterable[str]) -> None:
    """Print lines of tab-separated cells; an empty line ends a table."""
    if not sys.stdout.isatty():
        for line in lines:
            print(line)
        return
    for _, table in groupby(lines, bool):
        rows = [line.split("\t") for line in table]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
