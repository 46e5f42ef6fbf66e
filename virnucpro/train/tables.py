"""Tab-separated tables with a header line, plain or compressed, read whole."""

from __future__ import annotations

import csv
from pathlib import Path

from xopen import xopen

from virnucpro.errors import InputError, MissingInputError

Row = dict[str, str]


def read_table(path: Path, columns: tuple[str, ...] = ()) -> list[Row]:
    """Return the rows of a table as column -> value; it must have at least `columns`.

    Raises:
        MissingInputError: the file is not there.
        InputError: it cannot be read, lacks a column, or has a row of another width.
    """
    return read_header_and_rows(path, columns)[1]


def read_header_and_rows(path: Path, columns: tuple[str, ...] = ()) -> tuple[list[str], list[Row]]:
    """Return the names of the columns and the rows of a table, see `read_table`."""
    try:
        with xopen(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = next(reader, [])
            if lacking := [name for name in columns if name not in names]:
                raise InputError(f"{path} has no column {lacking[0]!r}; its columns are {', '.join(names) or 'none'}")
            rows = [row for row in reader if row]
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except (OSError, EOFError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    if uneven := next((row for row in rows if len(row) != len(names)), None):
        raise InputError(f"{path}: the row of {uneven[0]!r} has {len(uneven)} columns, the header has {len(names)}")
    return names, [dict(zip(names, row, strict=True)) for row in rows]


def lengths_of(rows: list[Row], path: Path) -> list[int] | None:
    """Return the column `length` (nt) of a table's rows, or None where there is no such column.

    Raises:
        InputError: one is not a whole number.
    """
    if not rows or "length" not in rows[0]:
        return None
    if wrong := next((row["length"] for row in rows if not row["length"].isdecimal()), None):
        raise InputError(f"{path}: length must be a whole number of bases, got {wrong!r}")
    return [int(row["length"]) for row in rows]
