"""What commands print on standard output for people: lines, and tables that are in columns on a terminal.

Both go through `printable`; tables that are data, such as records.tsv, are written elsewhere, byte for byte.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable
from itertools import groupby

from virnucpro.printable import printable

_ESCAPING = "virnucpro_escapes"


def print_line(line: str, bytes_to_files: bool = False) -> None:
    """Print a line for people.

    With `bytes_to_files`, letters that are not UTF-8 go byte for byte to a file or pipe; on a terminal, and
    everywhere without it, they are escapes.
    """
    _accept_all_text()
    print(printable(line, keep_bytes=bytes_to_files and not sys.stdout.isatty()))


def print_progress(line: str) -> None:
    """Print a line on stderr, of a command that reports by itself how far it is."""
    print(printable(line), file=sys.stderr, flush=True)


def print_tables(lines: Iterable[str]) -> None:
    """Print lines of tab-separated cells; an empty line ends a table."""
    _accept_all_text()
    if not sys.stdout.isatty():
        for line in lines:
            print("\t".join(map(printable, line.split("\t"))))
        return
    for _, table in groupby(lines, bool):
        rows = [[printable(cell) for cell in line.split("\t")] for line in table]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _accept_all_text() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPING)


def _bytes_or_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode what a stream cannot: bytes that were read as they came, letters that its encoding lacks as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    char = error.object[error.start]
    handler = "surrogateescape" if 0xDC80 <= ord(char) < 0xDD00 else "backslashreplace"
    return char.encode("ascii", handler), error.start + 1


codecs.register_error(_ESCAPING, _bytes_or_escapes)
