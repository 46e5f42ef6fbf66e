"""What MultiQC shows of a run: counts by result, and the estimated composition, of the sample and its input files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from virnucpro.report.html import readable
from virnucpro.report.load import FileFigures, Run
from virnucpro.types import CONFIDENCE, Status

# Colours of the bars: those of the page for virus and other, paler for less confidence.
COLOURS = {
    "virus": "#b5472a", "virus, high confidence": "#b5472a", "virus, medium confidence": "#d58a72",
    "virus, low confidence": "#ecc4b6", "other": "#7d97a8",
}  # fmt: skip
_OF_MODULE = {"parent_id": "virnucpro", "parent_name": "virnucpro"}


def calls(run: Run) -> dict[str, Any]:
    """Return the records of a run by result as MultiQC's custom content: bars, one for the sample and for each file."""
    screened = run.outcomes["screened", "other"]
    counts = {**_virus(run), "other": run.count("other") - screened}
    counts |= {"screened": screened} if screened else {}
    left_out = "were screened out or not called" if screened else "were not called"
    counts |= {status: n for (status, called), n in sorted(run.outcomes.items()) if called == "NA"}
    data = {run.manifest.sample: counts}
    for name, one in _named_files(run, data):
        data[name] = {"virus": one.virus, "other": one.other, "not called": one.uncalled}
    # MultiQC draws all samples with the categories of the last file that it reads, so every file has all of them.
    categories = (*COLOURS, *(str(status) for status in Status if status is not Status.OK), "not called")
    return {
        "id": "virnucpro",
        "section_name": "virnucpro",
        "description": f"records called virus or other, and those that {left_out}, by status",
        "plot_type": "bargraph",
        "pconfig": {"id": "virnucpro_calls", "title": "virnucpro: calls", "ylab": "records"},
        "categories": {name: {"name": name, "color": COLOURS.get(name, "#c9c4ba")} for name in categories},
        "data": data,
    }


def _virus(run: Run) -> dict[str, int]:
    """Return the number of viruses, by confidence if the model is calibrated."""
    confidence = run.counts.confidence
    if run.manifest.outcome.prevalence is None or confidence.total() != run.count("virus"):
        return {"virus": run.count("virus")}
    return {f"virus, {name} confidence": confidence[name] for name in CONFIDENCE}


def composition(run: Run) -> dict[str, Any]:
    """Return counts, expected errors and estimated shares as MultiQC's custom content: a table with the same rows."""
    virus, counts = run.count("virus"), run.counts
    row = _row(run.records, virus, run.expected_false)
    row |= {"bases": sum(counts.bases.values()), "virus_bases": counts.bases["virus"]}
    data = {run.manifest.sample: row | _shares(run.virus_share, run.host_shares)}
    for name, one in _named_files(run, data):
        data[name] = _row(one.records, one.virus, one.expected_false) | _shares(one.virus_share, one.host_shares)
    hosts = dict.fromkeys(name for row in data.values() for name in row if name.startswith("host_"))
    return {
        "id": "virnucpro_composition",
        **_OF_MODULE,
        "section_name": "Estimated composition",
        "description": "what the scores of each sample say: calls that may be wrong, and shares of virus and of hosts "
        "among the records with a score; if the interval of virus begins at zero, there may be no virus",
        "plot_type": "table",
        "pconfig": {"id": "virnucpro_shares", "title": "virnucpro: estimated composition", "namespace": "virnucpro"},
        "headers": {
            **_HEADERS,
            **{name: _percent(name.removeprefix("host_"), "share of a host class") for name in hosts},
        },
        "data": data,
    }


def _plain(name: str) -> str:
    """Return a name that MultiQC neither shortens, as it does before ".fastq", nor reads as markup."""
    return re.sub(r"[^0-9A-Za-z-]+", "_", readable(name)).strip("_")


def _percent(title: str, description: str) -> dict[str, Any]:
    return {"title": title, "description": description, "suffix": " %", "format": "{:,.2f}", "min": 0, "max": 100}


def _number(title: str, description: str) -> dict[str, Any]:
    return {"title": title, "description": description, "format": "{:,.0f}", "min": 0}


_HEADERS = {
    "records": _number("records", "records, or pairs"),
    "virus": _number("virus", "records called virus"),
    "expected_false": _number("false", "records called virus that are expected to be false"),
    "bases": {**_number("nt", "nucleotides of all records"), "hidden": True},
    "virus_bases": {**_number("nt in virus", "nucleotides of records called virus"), "hidden": True},
    "virus_share": _percent("est. virus", "estimated share of virus among the records with a score"),
    "virus_low": _percent("from", "lower end of its interval, 90 %"),
    "virus_high": _percent("to", "upper end of its interval, 90 %"),
}


def _row(records: int, virus: int, false: float | None) -> dict[str, Any]:
    return {"records": records, "virus": virus, **({} if false is None else {"expected_false": round(false, 2)})}


def _shares(virus: tuple[float, float | None, float | None] | None, hosts: dict[str, float]) -> dict[str, float]:
    """Return shares as columns, in percent; those that were not estimated are left out."""
    found = dict(zip(("virus_share", "virus_low", "virus_high"), virus or (), strict=False))
    found |= {f"host_{_plain(name)}": share for name, share in hosts.items()}
    return {name: round(100 * share, 4) for name, share in found.items() if share is not None}


def _named_files(run: Run, taken: dict[str, Any]) -> Iterator[tuple[str, FileFigures]]:
    """Yield the input files of a run with several, each with a name for its row."""
    for one in run.files:
        name = f"{run.manifest.sample} {_plain(one.name)}"
        while name in taken:
            name += "_"
        yield name, one
