"""Read tab-separated tables with a header line, plain or compressed; errors name the file and the line."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from xopen import xopen

from virnucpro.errors import InputError, MissingInputError
from virnucpro.words import counted

Row = dict[str, str]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_LENGTH = re.compile(r"\d{1,15}", re.ASCII)
_BLANK = re.compile("[ \v\f]+")  # ends an id; a tab ends the cell
_MAX_COLUMNS = 12  # in a message
_short = reprlib.Repr()
_short.maxstring = 60


@dataclass(frozen=True, slots=True)
class Table:
    """The columns and rows of a table; row i is on line i + 2, because no line is blank."""

    path: Path
    columns: list[str]
    rows: list[Row]

    def line(self, row: int) -> str:
        """Return the file and line of a row, for messages."""
        return f"{self.path}: line {row + 2}"

    def names(self, column: str, name_of: Callable[[str], str] = str) -> list[str]:
        """Return the id of each row: `name_of` applied to its cell.

        Raises:
            InputError: an id is empty or repeated.
        """
        names = [name_of(row[column]) for row in self.rows]
        first: dict[str, int] = {}
        for number, name in enumerate(names):
            if not name:
                raise InputError(f"{self.line(number)}: no id in the column {column}; expected one in each row")
            if first.setdefault(name, number) != number:
                raise InputError(
                    f"{self.path} has {counted(len(names), 'rows')} for {counted(len(set(names)), 'names')}: "
                    f"more than one row for {quoted(name)}, on lines {first[name] + 2} and {number + 2}; "
                    "give every sequence a name of its own"
                )
        return names

    def lengths(self) -> list[int] | None:
        """Return the column `length` (nt), or None if there is no such column or no row.

        Raises:
            InputError: a length is not a whole number.
        """
        if not self.rows or "length" not in self.columns:
            return None
        for number, row in enumerate(self.rows):
            if not _LENGTH.fullmatch(row["length"]):
                raise InputError(
                    f"{self.line(number)}: length must be a whole number of bases, got {quoted(row['length'])}"
                )
        return [int(row["length"]) for row in self.rows]


def read_table(path: Path, columns: tuple[str, ...] = (), check: Callable[[list[str]], object] = bool) -> Table:
    """Read a table, which must have at least `columns`; `check` gets all column names before the rows are read.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it cannot be read, lacks or repeats a column, or a line is blank or has another number of columns.
    """
    lines = read_lines(path)
    names = next(lines, "").split("\t")
    names = [] if names == [""] else names
    if names and names[0].startswith(">"):
        raise InputError(f"{path}: line 1: this is FASTA; expected a table whose first line names its columns")
    if lacking := [name for name in columns if name not in names]:
        empty = "" if names else ": the file is empty"
        raise InputError(f"{path} has no column {lacking[0]!r}; its columns are {listed(names)}{empty}")
    check(names)
    if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise InputError(f"{path}: line 1: two columns are named {quoted(twice)}; give each column its own name")
    rows = []
    for number, line in enumerate(lines, start=2):
        cells = line.split("\t")
        if len(cells) != len(names):
            raise InputError(
                f"{path}: line {number}: the row of {quoted(cells[0])} has {counted(len(cells), 'columns')}, "
                f"the header has {len(names)}; the file was cut or edited, make it again"
            )
        rows.append(dict(zip(names, cells, strict=True)))
    return Table(path, names, rows)


def read_first_line(path: Path) -> str:
    """Return the first line of a text file, "" if it is empty; see `read_lines`."""
    with closing(read_lines(path)) as lines:
        return next(lines, "")


def read_lines(path: Path) -> Generator[str, None, None]:
    """Yield the lines of a text file, plain or compressed, without their ends (LF or CRLF).

    Bytes that are not UTF-8 become surrogates. A byte order mark is left out.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it cannot be read, is not text, or has a blank line.
    """
    for number, line in enumerate(_raw_lines(path), start=1):
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        if b"\0" in line:
            raise InputError(
                f"{path}: line {number}: this is not text (it has a NUL byte); expected a table as UTF-8 text"
            )
        if b"\r" in line:
            raise InputError(f"{path}: line {number}: a CR within the line; convert CR line ends to LF")
        if not line.strip():
            raise InputError(f"{path}: line {number} is blank; remove it, each line must be a row")
        yield line.decode("utf-8", "surrogateescape")


def _raw_lines(path: Path) -> Generator[bytes, None, None]:
    try:
        file = xopen(path, "rb", threads=0)
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file; check the path") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    with file:
        while True:
            try:
                line = file.readline()
            except Exception as error:  # each decoder has its own error class, without a common base
                raise InputError(f"{path} cannot be read as a table: {error}") from error
            if not line:
                return
            yield line


def finite(row: Row, column: str, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """Return the finite number in a cell.

    Raises:
        ValueError: it is not a finite number, or lies outside `minimum` to `maximum`.
    """
    text = row[column]
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{column} must be a number, got {quoted(text)}")
    value = float(text)
    if not (math.isfinite(value) and minimum <= value <= maximum):
        wanted = "be finite" if math.isinf(minimum) else f"be {minimum:g} or more"
        wanted = wanted if math.isinf(maximum) else f"lie between {minimum:g} and {maximum:g}"
        raise ValueError(f"{column} must {wanted}, got {quoted(text)[1:-1]}")
    return value


def first_word(name: str) -> str:
    """Return a name up to the first blank, which is the id in FASTA headers."""
    return _BLANK.split(name.lstrip(" \v\f"), maxsplit=1)[0]


def quoted(text: str) -> str:
    """Return text from a file for messages: in quotes, on one line, shortened."""
    return _short.repr(text)


def listed(columns: Sequence[str]) -> str:
    """Return names of columns as a list for messages, `none` if there are none."""
    shown = [quoted(name)[1:-1] for name in columns[:_MAX_COLUMNS]]
    more = [f"{len(columns) - _MAX_COLUMNS} more"] if len(columns) > _MAX_COLUMNS else []
    return ", ".join(shown + more) or "none"
