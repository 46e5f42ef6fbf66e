"""Which sequences each of several tools calls virus, and how far the tools agree.

A tool's own verdict counts, not a threshold on its score. A sequence that a tool does not list is not virus if the
tool lists viruses only (geNomad summary, VirSorter2), else not called.

Sequences are joined by their ids as they are given. Only an id that no other table has is read without the suffix that
its tool adds to parts of a sequence: `|provirus_1_700` of geNomad, `||full` and `||0_partial` of VirSorter2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

from virnucpro.errors import ConfigError, InputError
from virnucpro.evaluate.calls import DEEPMICROCLASS_CLASSES
from virnucpro.evaluate.columns import (
    Row,
    finite,
    first_word,
    listed,
    quoted,
    read_first_line,
    read_table,
    without_suffix,
)
from virnucpro.evaluate.kraken import is_output, read_output

Verdicts = dict[str, "bool | None"]
Named = tuple[str, Verdicts, bool]  # the tool, its verdicts, whether it lists viruses only


def _highest(names: Sequence[str], viral: Sequence[str], most: float) -> Callable[[Row], bool | None]:
    """Return a verdict by the highest of several scores from 0 to `most`; without any, none."""

    def verdict(row: Row) -> bool | None:
        scores = {name: finite(row, name, 0, most) for name in names}
        return max(scores, key=lambda name: scores[name]) in viral if any(scores.values()) else None

    return verdict


def _ours(row: Row) -> bool | None:
    prediction, score = row["prediction"], row["virus_score"]
    if prediction not in ("virus", "other", "NA"):
        raise ValueError(f"prediction must be virus, other or NA, got {quoted(prediction)}")
    if score != "NA":
        finite(row, "virus_score", 0, 1)
    if (prediction == "NA") != (score == "NA"):
        raise ValueError(f"prediction {prediction} with virus_score {score}; expected NA in both or in none")
    return None if prediction == "NA" else prediction == "virus"


def _genomad_summary(row: Row) -> bool:
    finite(row, "virus_score", 0, 1)
    finite(row, "n_hallmarks", 0)
    return True


def _jaeger(row: Row) -> bool:
    if not row["prediction"].strip():
        raise ValueError("prediction is empty; expected the name of a class")
    finite(row, "entropy", 0)
    return row["prediction"].lower() in ("phage", "virus")


def _virsorter(row: Row) -> bool:
    if row["max_score"] != "nan":  # as of a sequence with too few genes for a score, found by a hallmark gene
        finite(row, "max_score", 0, 1)
    finite(row, "hallmark", 0)
    return True


_Tool = tuple[str, tuple[str, ...], Callable[[Row], "bool | None"], bool]

# Tool, the columns that tell its table from others (the first holds the names), verdict, whether it lists viruses only.
_TOOLS: tuple[_Tool, ...] = (
    ("virnucpro", ("seq_name", "prediction", "virus_score", "status"),
     _ours, False),
    ("geNomad", ("seq_name", "chromosome_score", "plasmid_score", "virus_score"),
     _highest(("chromosome_score", "plasmid_score", "virus_score"), ("virus_score",), 1), False),
    ("geNomad", ("seq_name", "virus_score", "n_hallmarks", "taxonomy"), _genomad_summary, True),
    ("Jaeger", ("contig_id", "prediction", "entropy", "window_summary"),
     _jaeger, False),
    ("DeepMicroClass", ("Sequence Name", *DEEPMICROCLASS_CLASSES),
     _highest(DEEPMICROCLASS_CLASSES, ("EukaryoteVirus", "ProkaryoteVirus"), math.inf), False),
    ("VirSorter2", ("seqname", "max_score", "max_score_group", "hallmark"), _virsorter, True),
)  # fmt: skip


def read_verdicts(path: Path, kraken_report: Path | None = None) -> Named:
    """Return the verdicts of one table alone, see `read_tables`."""
    return read_tables([path], kraken_report)[0]


def read_tables(paths: Sequence[Path], kraken_report: Path | None = None) -> list[Named]:
    """Return of each table the tool that wrote it, its verdicts, and whether it lists viruses only.

    The ids of the verdicts are those by which the tables are joined, see above.

    Raises:
        MissingInputError: a file is not there.
        InputError: a table is of no known tool, has an id twice, or a cell is not what the tool writes.
        ConfigError: one is of Kraken2 and its report is not given.
    """
    return _joined([_read(path, kraken_report) for path in paths])


def _read(path: Path, kraken_report: Path | None) -> Named:
    """Return a table by its ids as they are given."""
    if is_output(read_first_line(path)):
        if kraken_report is None:
            raise ConfigError(f"{path} is of Kraken2, which names taxa by number; give its report with --kraken-report")
        return "Kraken2", dict(read_output(path, kraken_report)), False
    table = read_table(path, check=lambda columns: _tool_of(columns, path))
    tool, columns, verdict, viruses_only = _tool_of(table.columns, path)
    verdicts: Verdicts = {}
    # Others than we may keep the description.
    for place, name in enumerate(table.names(columns[0], str if tool == "virnucpro" else first_word)):
        try:
            verdicts[name] = verdict(table.rows[place])
        except ValueError as error:
            what = f"the row of {quoted(name)} is not what {tool} writes"
            raise InputError(f"{table.line(place)}: {what}: {error}") from None
    return tool, verdicts, viruses_only


def _tool_of(columns: Sequence[str], path: Path) -> _Tool:
    found = next((tool for tool in _TOOLS if set(tool[1]) <= set(columns)), None)
    if found is None:
        known = "; ".join(f"{tool} ({', '.join(named)})" for tool, named, _, _ in _TOOLS)
        raise InputError(
            f"{path} is {'of no known tool' if columns else 'empty'}: its columns are {listed(columns)}; "
            f"known by their columns are {known}; and Kraken2's output, which has no header"
        )
    return found


def _either(a: bool | None, b: bool | None) -> bool | None:
    """Return whether one of two verdicts on parts of a sequence is virus."""
    return b if a is None else a if b is None else a or b


def _joined(tables: Sequence[Named]) -> list[Named]:
    known = Counter(name for _, verdicts, _ in tables for name in verdicts)  # how many tables have an id
    joined: list[Named] = []
    for tool, verdicts, viruses_only in tables:
        own: Verdicts = {}
        for given, verdict in verdicts.items():
            name = given if known[given] > 1 else without_suffix(tool, given)
            own[name] = _either(own.get(name), verdict)
        joined.append((tool, own, viruses_only))
    return joined


def compare(tables: Sequence[Named]) -> tuple[list[str], dict[str, list[bool | None]]]:
    """Return the names of the tools, made unique, and for every sequence of any table the verdict of each tool."""
    tools: list[str] = []
    for tool, _, _ in tables:
        number = sum(name.split("#")[0] == tool for name in tools)
        tools.append(f"{tool}#{number + 1}" if number else tool)
    names = dict.fromkeys(name for _, verdicts, _ in tables for name in verdicts)
    return tools, {
        name: [verdicts.get(name, False if viruses_only else None) for _, verdicts, viruses_only in tables]
        for name in names
    }


def summary(tools: Sequence[str], calls: dict[str, list[bool | None]]) -> Iterator[str]:
    """Yield two tables: of each tool, and of each pair with both, one, neither and Cohen's kappa, NA if undefined."""
    yield "tool\tcalled\tvirus\tvirus_by_it_alone"
    for number, tool in enumerate(tools):
        own = [row for row in calls.values() if row[number] is not None]
        alone = sum(row[number] is True and sum(cell is True for cell in row) == 1 for row in own)
        yield f"{tool}\t{len(own)}\t{sum(row[number] is True for row in own)}\t{alone}"
    yield ""
    yield "tool_a\ttool_b\tboth\tonly_a\tonly_b\tneither\tagreement\tkappa"
    for a, b in combinations(range(len(tools)), 2):
        pairs = [(row[a], row[b]) for row in calls.values() if row[a] is not None and row[b] is not None]
        cells = [pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))]
        yield "\t".join(map(str, (tools[a], tools[b], *cells, *_agreement(cells))))


def _agreement(cells: Sequence[int]) -> tuple[str, str]:
    both, only_a, only_b, neither = cells
    total = sum(cells)
    if not total:
        return "NA", "NA"
    seen = (both + neither) / total
    chance = ((both + only_a) * (both + only_b) + (only_b + neither) * (only_a + neither)) / total**2
    return f"{seen:.4f}", "NA" if chance == 1 else f"{(seen - chance) / (1 - chance):.4f}"
