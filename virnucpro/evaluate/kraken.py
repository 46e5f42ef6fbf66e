"""Read the two files of Kraken2: its output, with one line per read and no header, and its report, with the taxa."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.evaluate.columns import first_word, quoted, read_lines
from virnucpro.words import counted

_VIRUSES = "10239"  # the taxid of Viruses
_TAXID = re.compile(r"\d+", re.ASCII)
_NAMED_TAXID = re.compile(r".* \(taxid (\d+)\)", re.ASCII)  # with --use-names
_LENGTH = re.compile(r"\d+(\|\d+)?", re.ASCII)  # of a pair, both mates'
_SHARE = re.compile(r" *\d{1,3}(\.\d+)?", re.ASCII)
_COUNT = re.compile(r" *\d+", re.ASCII)
_RANK = re.compile(r"-|[A-Z]\d*", re.ASCII)
_WHAT = "expected a report of Kraken2, of six or eight columns with names indented by their depth"
# The beginnings of other tables, and what they are.
_OTHERS = (
    (re.compile(r">"), "this is FASTA"),
    (re.compile(r"[CU]\t"), "this is an output of Kraken2, not its report"),
    (re.compile(r"[dkr]__[^\t]*\t\d+$"), "this is a report of --use-mpa-style"),
    (re.compile(r"name\ttaxonomy_id\t"), "this is a table of Bracken"),
    (re.compile(r"# |%\treads\t"), "this is a report of KrakenUniq"),
)


def is_output(line: str) -> bool:
    """Return whether the first line of a file is of Kraken2's output, even if the line is cut."""
    return line.startswith(("C\t", "U\t"))


def read_output(path: Path, report: Path) -> Iterator[tuple[str, bool]]:
    """Yield the id of each read, or pair, and whether its taxon is below Viruses.

    Raises:
        MissingInputError: a file does not exist.
        InputError: a file is not of Kraken2, or the output names a taxon that the report lacks.
    """
    viral = read_report(report)
    lines: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}: line {number}"
        cells = line.split("\t")
        if len(cells) != 5:
            raise InputError(
                f"{where} has {counted(len(cells), 'columns')}; "
                "expected the five of Kraken2's output, from C or U to the k-mers; "
                "the file was cut or edited, make it again"
            )
        state, name, taxon, length, _ = cells
        named = _NAMED_TAXID.fullmatch(taxon)
        taxid = named[1] if named else taxon
        if state not in ("C", "U") or not _TAXID.fullmatch(taxid) or not _LENGTH.fullmatch(length):
            found = ", ".join(map(quoted, (state, taxon, length)))
            raise InputError(f"{where}: expected C or U, a taxid and a length in columns 1, 3 and 4, found {found}")
        if (state == "U") != (int(taxid) == 0):
            raise InputError(f"{where}: {state} with taxid {taxid}; expected U and 0 for a read without a class")
        if state == "C" and taxid not in viral:
            raise InputError(f"{where}: taxid {taxid} is not in {report}; give the report of the same run of Kraken2")
        if not (name := first_word(name)):
            raise InputError(f"{where}: no id in column 2; expected one on each line")
        if lines.setdefault(name, number) != number:
            raise InputError(
                f"{path} has more than one row for {quoted(name)}, on lines {lines[name]} and {number}; "
                "give every sequence its own name"
            )
        yield name, viral.get(taxid, False)


@dataclass(slots=True)
class _Reading:
    """The state while reading a report: depth of the previous row, and the depth of Viruses while inside it."""

    depth: int = -1
    viruses: int | None = None
    viral: dict[str, bool] = field(default_factory=dict)


def read_report(path: Path) -> dict[str, bool]:
    """Read a report of Kraken2; return its taxids, and whether each is Viruses or below it.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it is not a report of Kraken2.
    """
    reading = _Reading()
    width = 0
    for number, line in enumerate(read_lines(path), start=1):
        cells = line.split("\t")
        if number == 1:
            width = len(cells)
        if fault := _fault(cells, line, width) or _place(reading, cells):
            raise InputError(f"{path}: line {number}: {fault}; {_WHAT}")
    if not width:
        raise InputError(f"{path} is empty; {_WHAT}")
    return reading.viral


def _fault(cells: list[str], line: str, width: int) -> str:
    """Return why a line does not belong to a report of `width` columns, "" if it does."""
    if len(cells) != width or width not in (6, 8):
        other = next((what for begin, what in _OTHERS if begin.match(line)), "")
        return other or counted(len(cells), "columns") + (f", line 1 has {width}" if len(cells) != width else "")
    share, *counts, rank, taxid, name = cells
    if not _SHARE.fullmatch(share) or float(share) > 100:
        return f"{quoted(share)} in column 1, which must be a percentage"
    if wrong := next((cell for cell in counts if not _COUNT.fullmatch(cell)), None):
        return f"{quoted(wrong)} among the counts"
    if not _RANK.fullmatch(rank) or not _TAXID.fullmatch(taxid.strip(" ")) or not name.strip(" "):
        return f"no rank, taxid and name in the last three columns but {', '.join(map(quoted, cells[-3:]))}"
    return ""


def _place(reading: _Reading, cells: list[str]) -> str:
    """Add the taxon of a row to the taxonomy; return its fault, "" if it has none."""
    taxid, name = cells[-2].strip(" "), cells[-1]
    depth = len(name) - len(name.lstrip(" "))
    if taxid in reading.viral:
        return f"taxid {taxid} occurs a second time"
    if depth > max(reading.depth, 0) + 2:
        return f"{quoted(name)} is indented by {depth} under {max(reading.depth, 0)}: a line above it is missing"
    if depth == 0 and taxid not in ("0", "1"):
        return f"{quoted(name)} is not indented, but only 'unclassified' and 'root' may be so"
    if reading.viruses is not None and depth <= reading.viruses:
        reading.viruses = None
    if taxid == _VIRUSES:
        reading.viruses = depth
    reading.viral[taxid] = reading.viruses is not None
    reading.depth = depth
    return ""
