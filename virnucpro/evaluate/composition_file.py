"""Read the composition of a sample: a table with the columns class and share."""

from __future__ import annotations

from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.evaluate.columns import finite, quoted, read_table


def read_composition(path: Path) -> dict[str, float]:
    """Read shares of classes by name; they need not have the sum 1.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it is no table with these columns, a class is named twice, or a share is not a number of at least 0.
    """
    table = read_table(path, ("class", "share"))
    found: dict[str, float] = {}
    for number, row in enumerate(table.rows):
        if row["class"] in found:
            raise InputError(f"{table.line(number)}: the class {quoted(row['class'])} again; give each class one share")
        try:
            found[row["class"]] = finite(row, "share", 0)
        except ValueError as error:
            raise InputError(f"{table.line(number)}: {error}") from error
    if not found:
        raise InputError(f"{path} has no row; give the share of at least one host class")
    return found
