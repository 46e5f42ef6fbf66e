"""Which sequences each of several tools calls virus, and how far the tools agree.

A tool's own verdict counts, not a threshold on its score. A sequence that a tool does not list is not virus if the
tool lists viruses only (geNomad summary, VirSorter2), else not called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

from xopen import xopen

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.train.calls import DEEPMICROCLASS_CLASSES
from virnucpro.train.tables import Row, read_header_and_rows

Verdicts = dict[str, "bool | None"]
_VIRUSES = "10239"  # the taxid of Viruses


def _highest(names: Sequence[str], viral: Sequence[str]) -> Callable[[Row], bool | None]:
    """Return a verdict by the highest of several scores; without any, none."""

    def verdict(row: Row) -> bool | None:
        scores = {name: float(row[name]) for name in names}
        return max(scores, key=lambda name: scores[name]) in viral if any(scores.values()) else None

    return verdict


# Tool, the columns that tell its table from others (the first holds the names), verdict, whether it lists viruses only.
_TOOLS: tuple[tuple[str, tuple[str, ...], Callable[[Row], bool | None], bool], ...] = (
    ("virnucpro", ("seq_name", "prediction", "virus_score", "status"),
     lambda row: None if row["prediction"] == "NA" else row["prediction"] == "virus", False),
    ("geNomad", ("seq_name", "chromosome_score", "plasmid_score", "virus_score"),
     _highest(("chromosome_score", "plasmid_score", "virus_score"), ("virus_score",)), False),
    ("geNomad", ("seq_name", "virus_score", "n_hallmarks", "taxonomy"), lambda row: True, True),
    ("Jaeger", ("contig_id", "prediction", "entropy", "window_summary"),
     lambda row: row["prediction"].lower() in ("phage", "virus"), False),
    ("DeepMicroClass", ("Sequence Name", *DEEPMICROCLASS_CLASSES),
     _highest(DEEPMICROCLASS_CLASSES, ("EukaryoteVirus", "ProkaryoteVirus")), False),
    ("VirSorter2", ("seqname", "max_score", "max_score_group", "hallmark"), lambda row: True, True),
)  # fmt: skip


def read_verdicts(path: Path, kraken_report: Path | None = None) -> tuple[str, Verdicts, bool]:
    """Return the tool that wrote a table, its verdict on each sequence, and whether it lists viruses only.

    Raises:
        InputError: it is of no known tool, or a cell is not what the tool writes.
        ConfigError: it is of Kraken2 and its report is not given.
    """
    with _opened(path) as file:
        fields = file.readline().rstrip("\n").split("\t")
    if len(fields) == 5 and fields[0] in ("C", "U"):
        return "Kraken2", dict(_kraken(path, kraken_report)), False
    header, rows = read_header_and_rows(path)
    found = next((tool for tool in _TOOLS if set(tool[1]) <= set(header)), None)
    if found is None:
        known = "; ".join(f"{tool} ({', '.join(columns)})" for tool, columns, _, _ in _TOOLS)
        raise InputError(
            f"{path} is of no known tool: its columns are {', '.join(header) or 'none'}; known by their columns are "
            f"{known}; and Kraken2's output, which has no header"
        )
    tool, columns, verdict, viruses_only = found
    verdicts: Verdicts = {}
    for row in rows:
        name = row[columns[0]]
        if tool != "virnucpro":  # others keep the description, or name a part of the sequence
            name = (name.split() or [""])[0].split("|provirus_")[0].split("||")[0]
        try:
            verdicts[name] = _either(verdicts.get(name), verdict(row))
        except ValueError as error:
            raise InputError(f"{path}: the row of {name!r} is not what {tool} writes: {error}") from None
    return tool, verdicts, viruses_only


def _either(a: bool | None, b: bool | None) -> bool | None:
    """Return whether one of two verdicts on sequences that share a name is virus."""
    return b if a is None else a if b is None else a or b


def _opened(path: Path):  # type: ignore[no-untyped-def]
    try:
        return xopen(path, "rt", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise MissingInputError(f"{path}: {error.strerror}; check the path") from None


def _kraken(path: Path, report: Path | None) -> Iterator[tuple[str, bool]]:
    if report is None:
        raise ConfigError(f"{path} is of Kraken2, which names taxa by number; give its report with --kraken-report")
    viral = _viral_taxa(report)
    with _opened(path) as file:
        for line in file:
            _, name, taxon, *_ = line.split("\t")
            yield name, taxon.rpartition("taxid ")[2].rstrip(")") in viral  # with --use-names: "Name (taxid 1)"


def _viral_taxa(report: Path) -> set[str]:
    """Return the taxids below Viruses in a Kraken2 report, where names are indented by their depth."""
    taxa: set[str] = set()
    depth: int | None = None
    with _opened(report) as file:
        for line in file:
            *_, taxid, name = line.rstrip("\n").split("\t")
            indent = len(name) - len(name.lstrip(" "))
            if depth is not None and indent <= depth:
                depth = None
            if taxid.strip() == _VIRUSES:
                depth = indent
            if depth is not None:
                taxa.add(taxid.strip())
    return taxa


def compare(tables: Sequence[tuple[str, Verdicts, bool]]) -> tuple[list[str], dict[str, list[bool | None]]]:
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
