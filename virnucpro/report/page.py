"""Render report.html: one page that needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from virnucpro.report import figures
from virnucpro.report.html import Table, environment, record_name
from virnucpro.report.load import LONG_CHUNKS, LONG_RECORDS, SCORE_BINS, TOP_HITS, Run
from virnucpro.report.origin import input_files, plain_command, settings

# The meaning of each status, for readers who have not read the documentation.
_STATUS = {
    "ok": "has a score",
    "empty": "has no sequence",
    "too_short": "shorter than the minimum length of this run",
    "too_ambiguous": "too many ambiguous letters, such as N",
    "low_complexity": "repeats a few letters, so its origin cannot be predicted",
    "no_frame": "no reading frame without a stop codon",
    "failed": "the model failed on it",
}
_MAX_REASONS = 3


def render(run: Run) -> str:
    """Return the page. It shows no times, so a resumed run has the same page."""
    folder = files("virnucpro.report")
    page, style, script = ((folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    names = [Path(given.path).name for given in run.manifest.inputs]
    virus, other, uncalled = (run.count(called) for called in ("virus", "other", "NA"))
    jinja = environment()
    jinja.filters["frames"] = figures.frames
    return jinja.from_string(page).render(
        run=run,
        options=run.manifest.setup.options,
        inputs=" and ".join(names if len(names) < 3 else [names[0], f"{len(names) - 1} more"]),
        virus=virus,
        other=other,
        uncalled=uncalled,
        share_bar=figures.share_bar([("virus", virus), ("other", other), ("none", uncalled)]),
        outcomes=_outcomes(run),
        scale=figures.scale(),
        by_length=(by_length := _by_length(run)),
        lengths=Table(
            "Records with a score, by length.",
            ("length", "records with a score", "called virus", "share", "lowest score called virus"),
            [row[:-1] for row in by_length],
        ),
        long=_long(run),
        command=plain_command(run.manifest.command),
        files=input_files(run.manifest),
        settings=settings(run.manifest),
        top_hits=TOP_HITS,
        score_bins=SCORE_BINS,
        long_chunks=LONG_CHUNKS,
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
    )


def _hash(content: str) -> str:
    """Return the hash by which the page's security policy allows this script or style and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


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


def _by_length(run: Run) -> list[tuple[Any, ...]]:
    """Return for each length class: name, records, viruses, their share, lowest score of a virus, histogram."""
    rows = []
    for number, counts in enumerate(run.histogram):
        virus, total = int(counts[:, 1].sum()), int(counts.sum())
        if not total:
            continue
        kind = figures.length_class(number)
        lowest = f"{run.weakest[number]:.4f}" if virus else "none"
        label = f"scores of {total} records of {kind}, {virus} of them called virus; the table below has the counts"
        rows.append((kind, total, virus, f"{virus / total:.1%}", lowest, figures.histogram(counts, label)))
    return rows


def _long(run: Run) -> Table:
    rows = []
    for entry in run.long:
        viral = f"{entry.viral_chunks:,} of {int(entry.row['n_chunks']):,}"
        name, called, score = record_name(entry.name), entry.row["prediction"], entry.row["virus_score"]
        rows.append((name, entry.length, called, score, viral, figures.strip(entry)))
    head = ("record", "length, nt", "called", "score", "windows called virus", "score along the record")
    return Table(f"The longest records, at most {LONG_RECORDS}.", head, rows)
