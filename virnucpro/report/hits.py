"""The part of the page that lists the best hits, which page.js filters and sorts."""

from __future__ import annotations

from virnucpro.report import figures
from virnucpro.report.html import Html, element, join, paragraph, record_name, section, wide
from virnucpro.report.load import TOP_HITS, Entry, Run

# Name of the column, how it is sorted, the column of records.tsv. page.js filters by the first three.
_COLUMNS = (
    ("record", "text", "seq_name"),
    ("length, nt", "number", "length"),
    ("virus score", "number", "virus_score"),
    ("false discovery rate", "number", "fdr"),
)
_FILTERS = (
    ("Name contains", {"type": "search", "name": "name_part"}),
    ("Least length, nt", {"type": "number", "name": "least_length", "min": 0}),
    ("Least score", {"type": "number", "name": "least_score", "min": 0, "max": 1, "step": "any"}),
)
_LANES = (
    ". The lanes are the reading frames F1, F2, F3 (forward) and R1, R2, R3 (reverse), from top to bottom; a bar is a "
    "frame that was read, over its window of the record; its colour is the virus score of that frame alone: "
)


def hits(run: Run) -> Html:
    """Return the section of the hits."""
    if not run.hits:
        return section("hits", "Hits", paragraph("No record was called virus."))
    virus = run.count("virus")
    which = f"All {virus:,} hits"
    if virus > TOP_HITS:
        which = f"The {TOP_HITS} hits with the highest scores, of {virus:,}; records.tsv has all"
    columns = [column for column in _COLUMNS if column[2] in run.hits[0].row]
    head = element("tr", *(_head(*column) for column in columns), element("th", "frames along the record", scope="col"))
    rows = join(*(_row(entry, [column[2] for column in columns]) for entry in run.hits))
    mates = ". Read 2 of a pair is drawn to the right of read 1" if run.unit == "pair" else ""
    lead = paragraph(which, mates, _LANES, figures.scale(), ".")
    return section("hits", "Hits", lead, _form(), wide("Hits; the name of a column sorts by it.", head, rows))


def _head(name: str, kind: str, column: str) -> Html:
    button = element("button", name, type="button")
    return element("th", button, scope="col", data_sort=kind, class_="n" if kind == "number" else None)


def _row(entry: Entry, columns: list[str]) -> Html:
    name = element("th", record_name(entry.name), scope="row", data_value=entry.name[:1000])
    cells = (element("td", entry.row[column], class_="n", data_value=entry.row[column]) for column in columns[1:])
    return element("tr", name, *cells, element("td", figures.frames(entry)))


def _form() -> Html:
    """Return the fields to filter by, which are hidden where scripts do not run."""
    fields = (element("label", words, element("input", **attributes)) for words, attributes in _FILTERS)
    shown = element("output", id="shown", aria_live="polite")
    return element("form", *fields, element("button", "Show all", type="reset"), shown, id="filter", hidden="")
