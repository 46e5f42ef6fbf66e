"""report.html: one page that needs no network, no other file and no knowledge of the tables."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from string import Template

from virnucpro.report import figures
from virnucpro.report.hits import hits
from virnucpro.report.html import Html, element, join, paragraph, record_name, section, table, text
from virnucpro.report.load import LONG_CHUNKS, LONG_RECORDS, SCORE_BINS, Run
from virnucpro.report.origin import origin

# What a status means to somebody who has not read the documents.
_STATUS = {
    "ok": "has a score",
    "empty": "has no sequence",
    "too_short": "shorter than the least length of this run",
    "too_ambiguous": "too many letters that are no base, such as N",
    "low_complexity": "repeats a few letters, which tells nothing about its origin",
    "no_frame": "no reading frame without a stop codon",
    "failed": "the model failed on it",
}
_MOST_REASONS = 3
_CONFIRM = " A call is a model's opinion on one sequence: confirm what matters with an independent method."
_STRICTER = (
    " For fewer false ones, take the hits below from the top, as far as their false discovery rate suits you, or run "
    "with --preset strict."
)
_NOT_CALIBRATED = (
    "Not estimated: the model of this run is not calibrated, so its scores rank records but are no probabilities. Take "
    "the records with the highest scores first."
)
_HISTOGRAMS = (
    f" The longer a record, the more it can tell. A bar is the number of records in one of {SCORE_BINS} steps of the "
    "score; each drawing has a scale of its own: "
)
_WINDOWS = (
    "A long record is read in windows. A virus inside a genome shows as a red stretch, though the genome as a whole "
    "is called other; chunks.tsv has the places. Colours: "
)


def render(run: Run) -> str:
    """Return the page. It follows from the tables and from run.json without times, so a resumed run has the same."""
    folder = files("virnucpro.report")
    page, style, script = ((folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    names = [Path(given["path"]).name for given in run.told["inputs"]]
    shown = " and ".join(names if len(names) < 3 else [names[0], f"{len(names) - 1} more"])
    return Template(page).substitute(
        title=text(f"virnucpro: {shown}"),
        heading=text(f"Viral sequences in {shown}"),
        version=text(run.told["virnucpro"]),
        body="\n".join((_summary(run), hits(run), _scores(run), _long(run), origin(run.told))),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
    )


def _hash(content: str) -> str:
    """Return what tells a browser that this script or style is ours, and that it may use no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _share(number: int, total: int) -> str:
    return f"{number / total:.1%}"


def _summary(run: Run) -> Html:
    if not run.records:
        return section(
            "summary", "Summary", paragraph("The input has no record: there is nothing to call.", class_="lead")
        )
    virus, other, none = (run.count(called) for called in ("virus", "other", "NA"))
    parts = (("virus", "called virus", virus), ("other", "called other", other), ("none", "not called", none))
    tiles = (
        element("li", element("b", f"{number:,}"), f"{words} ({_share(number, run.records)})", class_=kind)
        for kind, words, number in parts
    )
    records = f"{run.records:,} {run.unit}{'s' if run.records > 1 else ''}"
    verbs = "looks" if virus == 1 else "look", "does" if other == 1 else "do"
    lead = f"Of {records}, {virus:,} {verbs[0]} viral, {other:,} {verbs[1]} not, and {none:,} could not be called."
    return section(
        "summary",
        "Summary",
        paragraph(lead, class_="lead"),
        element("ul", *tiles, class_="tiles"),
        figures.share_bar([(kind, number) for kind, _, number in parts]),
        element("h3", "How many of the viral calls may be wrong?"),
        paragraph(*_false_calls(run, virus)),
        element("h3", f"Where every {run.unit} went"),
        _outcomes(run),
    )


def _false_calls(run: Run, virus: int) -> tuple[object, ...]:
    if not virus:
        return ("No record was called virus, which does not prove that there is none in the sample.",)
    if run.fdr is None:
        return _NOT_CALIBRATED, _CONFIRM
    expected = run.fdr * virus
    number = f"{expected:,.0f}" if expected >= 1 else "1"
    prevalence = run.told.get("prevalence")
    seen = "" if prevalence is None else f", by which {prevalence:.2%} of the records with a score are viral"
    return (
        element("strong", f"Expect at most about {number} of the {virus:,} viral calls to be false"),
        f": the false discovery rate of the weakest of them is {run.fdr:.2%}, estimated from all scores{seen}. "
        "Organisms unlike those that the model was calibrated on can make it worse.",
        _STRICTER if run.told["options"].get("preset") in ("sensitive", "balanced") else "",
        _CONFIRM,
    )


def _outcomes(run: Run) -> Html:
    rows: list[tuple[object, ...]] = []
    for (status, called), number in sorted(run.outcomes.items(), key=lambda item: (-item[1], item[0])):
        counted = [(reason, n) for (kind, reason), n in run.reasons.most_common() if kind == status]
        found = [f"{reason} ({n:,})" if len(counted) > 1 else reason for reason, n in counted]
        reasons = found[:_MOST_REASONS] + ["others"] * (len(found) > _MOST_REASONS)
        result = "not called" if called == "NA" else called
        rows.append((result, status, _STATUS.get(status, ""), "; ".join(reasons) if called == "NA" else "", number))
    head = ("result", "status", "what it means", "reasons given (… stands for a number)", f"{run.unit}s")
    rows.append((f"all {run.unit}s", "", "", "", run.records))
    return table(f"{run.unit.title()}s by result and status; the last row is their sum.", head, rows)


def _scores(run: Run) -> Html:
    drawn, rows = [], []
    for number, counts in enumerate(run.histogram):
        virus, total = int(counts[:, 1].sum()), int(counts.sum())
        if not total:
            continue
        kind = figures.length_class(number)
        least = f"{run.weakest[number]:.4f}" if virus else "none"
        rows.append((kind, total, virus, _share(virus, total), least))
        caption = element("figcaption", element("h3", kind), f"{total:,} records, {virus:,} called virus")
        label = f"scores of {total} records of {kind}, {virus} of them called virus; the table below has the counts"
        drawn.append(element("figure", caption, figures.histogram(counts, label)))
    if not rows:
        return section("scores", "Scores by length", paragraph("No record has a score."))
    key = join(*(element("span", element("span", class_=f"key {name}"), name) for name in ("other", "virus")))
    head = ("length", "records with a score", "called virus", "share", "least score called virus")
    return section(
        "scores",
        "Scores by length",
        paragraph(_rule(run), _HISTOGRAMS, key),
        element("div", *drawn, class_="grid"),
        table("Records with a score, by length.", head, rows),
    )


def _rule(run: Run) -> str:
    options = run.told["options"]
    if options.get("min_score") is not None:
        return f"A record with a score of {options['min_score']:g} or more is called virus."
    return f"The preset {options.get('preset')} decides: it asks for another least score at each length."


def _long(run: Run) -> Html:
    if not run.long:
        return section("long", "Long records", paragraph(f"No record was read in {LONG_CHUNKS} or more windows."))
    rows = []
    for entry in run.long:
        name, score = record_name(entry.name), entry.row["virus_score"]
        viral = f"{entry.viral_chunks:,} of {int(entry.row['n_chunks']):,}"
        rows.append((name, entry.length, entry.row["prediction"], score, viral, figures.strip(entry)))
    head = ("record", "length, nt", "called", "score", "windows called virus", "score along the record")
    caption = f"The longest records, at most {LONG_RECORDS}."
    return section("long", "Long records", paragraph(_WINDOWS, figures.scale(), "."), table(caption, head, rows))
