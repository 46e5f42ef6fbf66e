"""Read the records of a finished run in one pass over records.tsv; only what the report shows stays in memory."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from virnucpro.errors import InputError
from virnucpro.report.counts import Counts, is_virus
from virnucpro.report.entries import Entry, draw_tracks, open_table
from virnucpro.report.finished import FinishedRun, read_finished
from virnucpro.report.hit_sequences import read_hit_sequences
from virnucpro.report.table_columns import Rows, iter_rows
from virnucpro.run.manifest import PredictOutcome
from virnucpro.run.outputs import find_output
from virnucpro.run.sample_report import MAX_FILES, FileReport
from virnucpro.words import counted

TOP_HITS = 500
LONG_RECORDS = 20
HIT_FILES, PAIR_HIT_FILES = ("viral.fasta",), ("viral_1.fasta", "viral_2.fasta")
LONG_CHUNKS = 4  # the smallest number that makes a record a long one
RUN_FILES = ("run.json", "records.tsv", "chunks.tsv", *HIT_FILES, *PAIR_HIT_FILES)  # the input of a report
_MAX_REASONS = 100
_NUMBER = re.compile(r"(?<![\d.,])(?<!needs )\d[\d.,]*")  # the limit itself is the same for all records


@dataclass(frozen=True, slots=True)
class Share:
    """The estimated share of a class among the records of the sample, in 0..1, with the limits of its interval."""

    name: str
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FileFigures:
    """The counts of one of several input files, and what its scores say.

    `expected_false`, `virus_share` and `host_shares` are as in `Run`.
    """

    name: str
    other: int
    virus: int
    uncalled: int
    expected_false: float | None
    virus_share: tuple[float, float | None, float | None] | None
    host_shares: dict[str, float]

    @property
    def records(self) -> int:
        return self.other + self.virus + self.uncalled


@dataclass(slots=True)
class Run:
    """A finished run: its manifest, and counts of its records.

    `outcomes` counts (status, prediction), `reasons` (status, reason without its numbers), `counts` everything else.
    `hits` are the best viruses, `long` the longest records, `composition` the shares of classes if they were estimated.
    """

    manifest: FinishedRun
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    counts: Counts = field(default_factory=Counts)
    hits: list[Entry] = field(default_factory=list)
    long: list[Entry] = field(default_factory=list)
    composition: list[Share] = field(default_factory=list)

    def count(self, prediction: str) -> int:
        """Return the number of records with this prediction: virus, other or NA."""
        return sum(n for (_, called), n in self.outcomes.items() if called == prediction)

    @property
    def fdr(self) -> float | None:
        """The expected share of false hits among the records called virus, None if it was not estimated.

        Without the column `sample_score` it is an upper limit: the highest `fdr` of a hit.
        """
        virus, false = self.count("virus"), self.counts.expected_false
        return self.counts.fdr if false is None or not virus else false / virus

    @property
    def expected_false(self) -> float | None:
        """The number of records called virus that are expected to be false, None if it was not estimated."""
        return None if self.fdr is None else self.fdr * self.count("virus")

    @property
    def virus_share(self) -> tuple[float, float | None, float | None] | None:
        """The estimated share of virus among the records with a score, and its interval at 90 %; None: unknown."""
        found = self.manifest.outcome
        return _virus_share(found.prevalence, found.composition.interval if found.composition else None)

    @property
    def host_shares(self) -> dict[str, float]:
        """The estimated shares of host classes among the records with a score, empty if they are unknown."""
        found = self.manifest.outcome
        return _host_shares(found.prevalence, found.composition.hosts if found.composition else None)

    @property
    def files(self) -> list[FileFigures]:
        """The input files of a run with several, those with records first; empty if there are more than MAX_FILES."""
        found = self.manifest.outcome.files
        return [self._file(one) for one in found] if len(found) <= MAX_FILES else []

    def _file(self, one: FileReport) -> FileFigures:
        other, virus, uncalled = self.counts.files.get(one.file, np.zeros(3, np.int64)).tolist()
        false = None if self.counts.expected_false is None else self.counts.false_by_file.get(one.file, 0.0)
        shares = _virus_share(one.prevalence, one.interval), _host_shares(one.prevalence, one.hosts)
        return FileFigures(one.file, other, virus, uncalled, false, *shares)

    @property
    def unit(self) -> str:
        return self.manifest.unit

    @property
    def records(self) -> int:
        return sum(self.outcomes.values())


def read_run(directory: Path) -> Run:
    """Read a finished run.

    Raises:
        MissingInputError: there is no run, or one of its tables is missing.
        InputError: the run is not complete, or its files contradict each other.
    """
    run = read_counts(directory)
    paired = run.unit == "pair"
    shown = {
        entry.index: entry for entry in (*run.hits, *run.long)
    }  # a hit that is also long is one object, see `_count`
    draw_tracks(directory, [shown[index] for index in sorted(shown)], paired)
    files = [find_output(directory, name) for name in (PAIR_HIT_FILES if paired else HIT_FILES)]
    read_hit_sequences(files, run.hits, paired)
    return run


def read_counts(directory: Path) -> Run:
    """Read a finished run without the tracks and sequences of its hits, from run.json and records.tsv alone.

    Raises:
        MissingInputError, InputError: as `read_run`.
    """
    run = Run(read_finished(directory))
    run.composition = _shares(run.manifest.outcome)
    _count(run, directory)
    if run.records != (expected := run.manifest.outcome.tally.records):
        raise InputError(
            f"{directory}/records.tsv has {counted(run.records, 'rows')}, "
            f"but run.json counts {counted(expected, 'records')}; the "
            "directory holds two runs or was edited: run `virnucpro predict` again with --restart"
        )
    return run


def _virus_share(
    prevalence: float | None, interval: list[float] | None
) -> tuple[float, float | None, float | None] | None:
    if prevalence is None:
        return None
    low, high = interval or (None, None)
    return prevalence, low, high


def _host_shares(prevalence: float | None, hosts: dict[str, float] | None) -> dict[str, float]:
    return {} if prevalence is None else {name: share * (1 - prevalence) for name, share in (hosts or {}).items()}


def _shares(outcome: PredictOutcome) -> list[Share]:
    """Return the shares of all classes among the records, the largest first; only that of virus has an interval."""
    found, virus = outcome.composition, outcome.prevalence
    if found is None or virus is None or not found.hosts:
        return []
    low, high = found.interval or (virus, virus)
    hosts = [Share(name, part, part, part) for name, part in _host_shares(virus, found.hosts).items()]
    return sorted([Share("virus", virus, low, high), *hosts], key=lambda one: -one.share)


def _count(run: Run, directory: Path) -> None:
    hits: list[Any] = []
    long: list[Any] = []
    index = first_chunk = first_frame = first_hit = 0
    path = find_output(directory, "records.tsv")
    with open_table(path) as (columns, file):
        place = {name: columns.index(name) for name in columns}
        for rows in iter_rows(path, file, len(columns)):
            _count_outcomes(run, rows, place)
            run.counts.add(rows, place)
            nt, score = rows.whole_numbers(place["length"]), rows.numbers(place["virus_score"])
            n_chunks, n_frames = (rows.whole_numbers(place[name]) for name in ("n_chunks", "n_frames"))
            viral = is_virus(rows, place)
            chunks_before, frames_before, hits_before = (
                first + np.cumsum(number) - number
                for first, number in ((first_chunk, n_chunks), (first_frame, n_frames), (first_hit, viral.astype(int)))
            )

            def item(row: int) -> tuple[int, tuple[int, int, int], list[str]]:
                hit = int(hits_before[row]) if viral[row] else -1  # noqa: B023
                return index + row, (int(chunks_before[row]), int(frames_before[row]), hit), rows.line(row)  # noqa: B023

            called = np.flatnonzero(viral & ~np.isnan(score))
            # In a sample of known hosts, the best record is the one that is most likely viral there.
            rank = rows.numbers(place["sample_score"]) if run.composition and "sample_score" in place else score
            for row in called[np.lexsort((-nt[called], -rank[called]))][:TOP_HITS].tolist():
                if len(hits) < TOP_HITS or rank[row] >= hits[0][0]:
                    _keep(hits, (float(rank[row]), int(nt[row]), -(index + row), item(row)), TOP_HITS)
            with_track = np.flatnonzero(n_chunks >= LONG_CHUNKS)
            for row in with_track[np.argsort(-nt[with_track], kind="stable")][:LONG_RECORDS].tolist():
                _keep(long, (int(nt[row]), -(index + row), item(row)), LONG_RECORDS)
            index += len(rows)
            first_chunk += int(n_chunks.sum())
            first_frame += int(n_frames.sum())
            first_hit += int(viral.sum())
    # A long record may also be a hit. Both lists then share its entry, so that its track is drawn once.
    made = {kept[-1][0]: _entry(columns, *kept[-1]) for kept in (*hits, *long)}
    run.hits, run.long = ([made[item[-1][0]] for item in sorted(kept, reverse=True)] for kept in (hits, long))


def _count_outcomes(run: Run, rows: Rows, place: dict[str, int]) -> None:
    """Count statuses with predictions, and reasons without their numbers."""
    statuses, status = rows.known(place["status"])
    predictions, prediction = rows.known(place["prediction"])
    pairs, numbers = np.unique(status * len(predictions) + prediction, return_counts=True)
    for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True):
        run.outcomes[statuses[pair // len(predictions)], predictions[pair % len(predictions)]] += number
    reasons, reason = rows.known(place["reason"])
    pairs, first, numbers = np.unique(status * len(reasons) + reason, return_index=True, return_counts=True)
    for _, pair, number in sorted(zip(first.tolist(), pairs.tolist(), numbers.tolist(), strict=True)):
        if (text := reasons[pair % len(reasons)]) != "NA":
            _count_reason(run, statuses[pair // len(reasons)], text, number)


def _keep(heap: list[Any], item: Any, size: int) -> None:
    """Keep the `size` greatest items; each item holds a unique index, so no two compare equal."""
    if len(heap) < size:
        heapq.heappush(heap, item)
    elif item > heap[0]:
        heapq.heapreplace(heap, item)


def _entry(columns: list[str], index: int, first: tuple[int, int, int], fields: list[str]) -> Entry:
    return Entry(index, dict(zip(columns, fields, strict=True)), *first)


def _count_reason(run: Run, status: str, reason: str, number: int) -> None:
    kind = status, _NUMBER.sub("…", reason)
    if kind not in run.reasons and len(run.reasons) >= _MAX_REASONS:
        kind = status, "other reasons"
    run.reasons[kind] += number
