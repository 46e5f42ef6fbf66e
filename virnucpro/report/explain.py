"""Explain the call of a record: the filters it passed, its chunks and its frames, from the tables of a run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import repeat
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.report.counts import confidence_limits
from virnucpro.report.entries import Details, Entry, iter_details, iter_entries, second_mate
from virnucpro.report.finished import FinishedRun, read_finished
from virnucpro.scores.decision import EQUAL

# The statuses of records that fail a filter, in the order of the filters, and what is true of a record that passes.
_FILTERS = (
    ("empty", "it has a sequence"),
    ("too_short", "it is long enough"),
    ("too_ambiguous", "few enough of its letters are ambiguous"),
    ("low_complexity", "it is not too repetitive"),
    ("no_frame", "it has a reading frame"),
    ("screened", "the screen let it through"),
    ("failed", "the model could score it"),
)


def explain(directory: Path, name: str) -> Iterator[str]:
    """Yield lines on every record of a run with this id.

    Raises:
        InputError: there is no such record, or no complete run.
    """
    run = read_finished(directory)
    entries = [entry for entry in iter_entries(directory) if entry.name == name]
    if not entries:
        raise InputError(f"{directory}/records.tsv has no record {name!r}; an id ends at the first blank of the header")
    for entry, chunks in iter_details(directory, entries):
        unit = run.unit
        yield f"{name}: {unit} {entry.index + 1} of the run, {entry.length:,} nt"
        hidden = set() if run.setup.screen else {"screened"}
        yield from _filters(entry, run.outcome.tally.status.keys() - hidden)
        yield from (f"  {line}" for line in _verdict(entry, run))
        for read, (chunk, frames) in _with_reads(list(chunks)) if unit == "pair" else zip(repeat(""), chunks):
            place = f"{read}window {int(chunk['start']) + 1:,}-{int(chunk['end']):,}"
            score = "no score" if chunk["virus_score"] == "NA" else f"score {chunk['virus_score']}"
            why = "" if chunk["reason"] == "NA" else f" ({chunk['status']}: {chunk['reason']})"
            yield f"  {place}: {chunk['prediction']}, {score}{why}"
            for frame in frames:
                best = f"  <- best of the {unit}" if frame["frame"] == entry.row["best_frame"] else ""
                lane = f"{'F' if frame['strand'] == '+' else 'R'}{int(frame['offset']) + 1}"
                yield (
                    f"    frame {lane}: {int(frame['aa_length']):>4} aa, virus score {frame['score_virus']}, "
                    f"weight {frame['weight']}{best}"
                )


def _with_reads(chunks: Sequence[Details]) -> Iterator[tuple[str, Details]]:
    """Yield the chunks of a pair, each with the name of its read."""
    spans = [(int(chunk["start"]), int(chunk["end"])) for chunk, _ in chunks]
    first = second_mate(spans) if len(spans) > 1 else len(spans)
    yield from (("read 1, " if i < first else "read 2, ", chunk) for i, chunk in enumerate(chunks))


def _filters(entry: Entry, known: Collection[str]) -> Iterator[str]:
    """Yield the filters of this run that the record passed, up to the one that it failed."""
    status, reason = entry.row["status"], entry.row["reason"]
    for filtered, passed in (pair for pair in _FILTERS if pair[0] in known):
        if filtered == status:
            yield f"  failed: {status}: {reason}"
            return
        yield f"  passed: {passed}"
    if status != "ok":  # a status of a newer version
        yield f"  failed: {status}: {reason}"


def _verdict(entry: Entry, run: FinishedRun) -> Iterator[str]:
    row, options = entry.row, run.setup.options
    if row["status"] == "screened" and run.setup.screen:
        yield f"called other by the screen: {run.setup.screen.name} found less evidence than in nearly all viruses"
        return
    if entry.score is None:
        yield "not called"
        return
    rule = f"the preset {options.preset} at this length"
    if options.min_score is not None:
        rule = f"the minimum score of a virus, {options.min_score!r}"
    side = "reaches" if row["prediction"] == "virus" else "is below"
    if options.max_fdr is not None:
        side = "at most" if row["prediction"] == "virus" else "above"
        yield f"called {row['prediction']}: its false discovery rate {row['fdr']} is {side} {options.max_fdr!r}"
    elif _decides(run):
        yield f"called {row['prediction']}: it {side} the preset {options.preset} for its length and this sample"
    else:
        yield f"called {row['prediction']}: its score {row['virus_score']} {side} {rule}"
    yield from _in_sample(row, run)
    if row.get("fdr", "NA") != "NA":
        yield f"false discovery rate {row['fdr']}, of this {run.unit} and all with a better score"
    if (confidence := row.get("confidence", "NA")) != "NA":
        yield f"confidence {confidence}: {confidence_limits()[confidence]}"


def _decides(run: FinishedRun) -> bool:
    """Return whether calls follow from the composition of the sample."""
    composition, options = run.outcome.composition, run.setup.options
    return bool(composition and composition.hosts and composition.source != EQUAL and options.min_score is None)


def _in_sample(row: dict[str, str], run: FinishedRun) -> Iterator[str]:
    """Yield how the sample moves the score of a record."""
    composition, score = run.outcome.composition, row.get("sample_score", "NA")
    if composition is None or score == "NA":
        return
    if composition.hosts:
        likely = sorted(composition.hosts.items(), key=lambda item: -item[1])[:3]
        hosts = ", ".join(f"{name} {share:.0%}" for name, share in likely if share >= 0.01)
        yield f"alone, all host classes alike: score {row['virus_score']}, likeliest host {row['host_class']}"
        yield f"hosts of the sample: {hosts}"
    yield f"in this sample, with {run.outcome.prevalence or 0:.1%} virus: probability of virus {score}"
