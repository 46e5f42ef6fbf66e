"""Print lines and tables for people on standard output; on a terminal, tables are aligned in columns.

All text goes through `printable`. Data tables such as records.tsv are written elsewhere, byte for byte.
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

    With `bytes_to_files`, letters that are not UTF-8 go to a file or pipe byte for byte. Otherwise, and always on a
    terminal, they are escaped.
    """
    _accept_all_text()
    print(printable(line, keep_bytes=bytes_to_files and not sys.stdout.isatty()))


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
    """Encode what a stream's encoding cannot: surrogates as the bytes that were read, other letters as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    char = error.object[error.start]
    handler = "surrogateescape" if 0xDC80 <= ord(char) < 0xDD00 else "backslashreplace"
    return char.encode("ascii", handler), error.start + 1


codecs.register_error(_ESCAPING, _bytes_or_escapes)
