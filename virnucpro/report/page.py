"""Render report.html: one page that needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from virnucpro.report import charts
from virnucpro.report.counts import confidence_limits
from virnucpro.report.entries import Entry
from virnucpro.report.figures import figure_data, length_class
from virnucpro.report.html import Table, environment, record_name
from virnucpro.report.load import LONG_RECORDS, Run
from virnucpro.report.origin import input_files, plain_command, settings

PAGE_SIZE = 25  # hits that are shown at a time, as in page.js
MAX_BYTES = 1_500_000  # of the page
_SCRIPTS = ("page.js", "plot.js", "figures.js")
# The columns of records.tsv that hits are shown with if the run has them: name, words, kind of value, explanation.
_HIT_COLUMNS = (
    ("length", "length, nt", "number", "number of nucleotides"),
    ("virus_score", "virus score", "number", "score of the record alone"),
    ("sample_score", "sample score", "number", "probability of virus in this sample"),
    (
        "fdr",
        "FDR",
        "number",
        "false discovery rate: share of false hits to expect among records with at least this evidence",
    ),
    ("confidence", "confidence", "text", "by FDR: high is at most 0.05, medium at most 0.2, low above"),
    ("host_class", "host class", "text", "most likely class if the record is not viral"),
    ("file", "file", "text", "input file"),
)
# The meaning of each status, for readers who have not read the documentation.
_STATUS = {
    "ok": "has a score",
    "empty": "has no sequence",
    "too_short": "shorter than the minimum length of this run",
    "too_ambiguous": "too many ambiguous letters, such as N",
    "low_complexity": "repeats a few letters, so its origin cannot be predicted",
    "no_frame": "no reading frame without a stop codon",
    "screened": "the small model of the screen judged it no virus, so the large one did not see it",
    "failed": "the model failed on it",
}
_MAX_REASONS = 3
_LEAST_SHARE = 0.02  # of a host class that is named


@dataclass(frozen=True, slots=True)
class Script:
    """A script of the page, and the hash by which the page's security policy allows it and no other."""

    text: Markup
    hash: str


def render(run: Run) -> str:
    """Return the page. It shows no times, so a resumed run has the same page.

    It has fewer hits where their names, tracks and sequences would make it larger than MAX_BYTES.
    """
    while len((page := _render(run)).encode()) > MAX_BYTES and len(run.hits) > PAGE_SIZE:
        run = replace(run, hits=run.hits[: len(run.hits) // 2])
    return page


def _render(run: Run) -> str:
    style = _read("page.css")
    names = [Path(given.path).name for given in run.manifest.inputs]
    virus, other, uncalled = (run.count(called) for called in ("virus", "other", "NA"))
    figures, bases = figure_data(run), run.counts.bases
    jinja = environment()
    jinja.filters |= {
        "draw": lambda data, name: charts.draw(name, data), "track": charts.track,
        "has_track": lambda entry: _has_track(run, entry),
    }  # fmt: skip
    return jinja.from_string(_read("page.html")).render(
        run=run,
        options=run.manifest.setup.options,
        download_name=re.sub(r"[^A-Za-z0-9.-]+", "_", f"virnucpro_{run.manifest.sample}")[:80],
        inputs=" and ".join(names if len(names) < 3 else [names[0], f"{len(names) - 1} more"]),
        virus=virus,
        other=other,
        uncalled=uncalled,
        bases=bases,
        all_bases=sum(bases.values()),
        share_bar=charts.share_bar([("virus", virus), ("other", other), ("none", uncalled)]),
        bases_bar=charts.share_bar([("virus", bases["virus"]), ("other", bases["other"]), ("none", bases["NA"])]),
        figures=figures,
        threshold=_threshold(run),
        confidence=[(name, run.counts.confidence[name], words) for name, words in confidence_limits().items()],
        columns=[column for column in _HIT_COLUMNS if run.hits and column[0] in run.hits[0].row],
        has_tracks=any(_has_track(run, entry) for entry in run.hits),
        page_size=PAGE_SIZE,
        outcomes=_outcomes(run),
        lengths=_lengths(run),
        by_file=_by_file(run),
        long=_long(run),
        command=plain_command(run.manifest.command),
        files=input_files(run.manifest),
        settings=settings(run.manifest),
        data=_json(figures),
        style=Markup(style),
        style_hash=_hash(style),
        scripts=[Script(Markup(text), _hash(text)) for text in map(_read, _SCRIPTS)] if run.records else [],
    )


def _read(name: str) -> str:
    return (files("virnucpro.report") / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _json(data: dict[str, Any]) -> Markup:
    """Return data as JSON that cannot end the element that holds it."""
    text = json.dumps(data, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _has_track(run: Run, entry: Entry) -> bool:
    """Return whether a track of this record would say more than its score: it has several chunks, or its mates have."""
    return int(entry.row["n_chunks"]) > (2 if run.unit == "pair" else 1)


def _threshold(run: Run) -> str:
    options = run.manifest.setup.options
    if options.max_fdr is not None:
        return f"A record with an FDR of {options.max_fdr!r} or less is called virus."
    if options.min_score is not None:
        return f"A record with a virus score of {options.min_score!r} or more is called virus."
    return f"The preset {options.preset} decides: it sets a minimum score for each length."


def _outcomes(run: Run) -> Table:
    rows: list[tuple[object, ...]] = []
    for (status, called), number in sorted(run.outcomes.items(), key=lambda item: (-item[1], item[0])):
        counted = [(reason, n) for (kind, reason), n in run.reasons.most_common() if kind == status]
        found = [f"{reason} ({n:,})" if len(counted) > 1 else reason for reason, n in counted]
        reasons = found[:_MAX_REASONS] + ["others"] * (len(found) > _MAX_REASONS)
        result = "not called" if called == "NA" else called
        rows.append((result, status, _STATUS.get(status, ""), "; ".join(reasons) if called == "NA" else "", number))
    head = ("result", "status", "what it means", "reasons given (… stands for a number)", f"{run.unit}s")
    rows.append((f"all {run.unit}s", "", "", "", run.records))
    return Table(f"{run.unit.title()}s by result and status; the last row is their sum.", head, rows)


def _lengths(run: Run) -> Table:
    rows = []
    for number, counts in enumerate(run.counts.histogram):
        virus, total = int(counts[:, 1].sum()), int(counts.sum())
        edges = (
            "none" if (edge := of.get(number)) is None else f"{edge:.4f}"
            for of in (run.counts.lowest, run.counts.highest)
        )
        if total:
            rows.append((length_class(number), total, virus, f"{virus / total:.1%}", *edges))
    head = ("length", "records with a score", "called virus", "share", "lowest score of a virus", "highest of an other")
    return Table("Records with a score, by length.", head, rows)


def _by_file(run: Run) -> Table:
    rows = []
    for one in run.files:
        share = "" if one.virus_share is None else f"{one.virus_share[0]:.2%}"
        if one.virus_share and one.virus_share[1] is not None:
            share += f" ({one.virus_share[1]:.1%} to {one.virus_share[2]:.1%})"
        false = "" if one.expected_false is None else f"{one.expected_false:.1f}"
        ranked = sorted(one.host_shares.items(), key=lambda item: -item[1])
        named = [(name, part) for name, part in ranked if part >= _LEAST_SHARE]
        if len(named) < len(ranked):
            named.append(("others", sum(part for _, part in ranked[len(named) :])))
        hosts = ", ".join(f"{name} {part:.0%}" for name, part in named)
        rows.append((record_name(one.name), one.records, one.virus, false, share, hosts))
    head = ("file", f"{run.unit}s", "called virus", "of these false", "estimated share of virus", "estimated hosts")
    used = [place for place in range(len(head)) if place < 3 or any(row[place] for row in rows)]
    caption = (
        "Results by input file. False calls are those to expect in the whole run; shares are of records with a score, "
        "as the scores of the file alone suggest."
    )
    return Table(caption, [head[place] for place in used], [[row[place] for place in used] for row in rows])


def _long(run: Run) -> Table:
    rows = []
    for entry in run.long:
        viral = f"{entry.viral_chunks:,} of {int(entry.row['n_chunks']):,}"
        name, called, score = record_name(entry.name), entry.row["prediction"], entry.row["virus_score"]
        rows.append((name, entry.length, called, score, viral, charts.track(entry)))
    head = ("record", "length, nt", "called", "score", "windows called virus", "score along the record")
    return Table(f"The longest records, at most {LONG_RECORDS}.", head, rows)
