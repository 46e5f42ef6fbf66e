"""Tab-separated tables with a header line, plain or compressed, read whole."""

from __future__ import annotations

import csv
from pathlib import Path

from xopen import xopen

from virnucpro.errors import InputError, MissingInputError


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a table as column -> value; it must have at least `columns`.

    Raises:
        MissingInputError: the file is not there.
        InputError: it cannot be read, lacks a column, or has a row of another width.
    """
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
    return [dict(zip(names, row, strict=True)) for row in rows]
