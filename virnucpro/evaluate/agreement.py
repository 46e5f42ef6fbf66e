"""Compare the calls of several tools: the sequences that each calls virus, and how far the tools agree.

A tool's own verdict counts, not a threshold on its score. A sequence that a tool does not list counts as not virus if
the tool lists viruses only (geNomad summary, VirSorter2), and otherwise as not called.

Sequences are joined by id. If no other table has an id, the suffix that its tool adds to parts of a sequence is removed
first: `|provirus_1_700` of geNomad, `||full` and `||0_partial` of VirSorter2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from virnucpro.errors import ConfigError
from virnucpro.evaluate.columns import read_first_line
from virnucpro.evaluate.kraken import is_output, read_output
from virnucpro.evaluate.tools import KRAKEN2, Tool, Verdict, read_verdicts

Verdicts = dict[str, Verdict]
Named = tuple[str, Verdicts, bool]  # the tool, its verdicts, whether it lists viruses only


def read_tables(paths: Sequence[Path], kraken_report: Path | None = None) -> list[Named]:
    """Read tables of calls; return for each its tool, its verdicts by id, and whether it lists viruses only.

    The ids are those by which the tables are joined, see the docstring of this module.

    Raises:
        MissingInputError: a file does not exist.
        InputError: a table is of no known tool, repeats an id, or has a cell that the tool does not write.
        ConfigError: a table is of Kraken2 and its report is not given.
    """
    return _joined([_read(path, kraken_report) for path in paths])


def _read(path: Path, kraken_report: Path | None) -> tuple[Tool, Verdicts]:
    """Return the verdicts of a table by the ids in the table."""
    if not is_output(read_first_line(path)):
        return read_verdicts(path)
    if kraken_report is None:
        raise ConfigError(f"{path} is of Kraken2, which gives taxa as numbers; give its report with --kraken-report")
    return KRAKEN2, dict(read_output(path, kraken_report))


def _either(a: Verdict, b: Verdict) -> Verdict:
    """Combine two verdicts on parts of a sequence: virus if one is."""
    return b if a is None else a if b is None else a or b


def _joined(tables: Sequence[tuple[Tool, Verdicts]]) -> list[Named]:
    known = Counter(name for _, verdicts in tables for name in verdicts)  # how many tables have an id
    joined: list[Named] = []
    for tool, verdicts in tables:
        own: Verdicts = {}
        for given, verdict in verdicts.items():
            name = given if known[given] > 1 else tool.without_suffix(given)
            own[name] = _either(own.get(name), verdict)
        joined.append((tool.name, own, tool.lists == "viruses"))
    return joined


def compare(tables: Sequence[Named]) -> tuple[list[str], dict[str, list[Verdict]]]:
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


def summary(tools: Sequence[str], calls: dict[str, list[Verdict]]) -> Iterator[str]:
    """Yield two tables: one of the tools, one of pairs of tools with both, one, neither and Cohen's kappa or NA."""
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
