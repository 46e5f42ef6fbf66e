"""Count the records of a finished run in one pass over records.tsv; only what the report shows stays in memory."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.errors import InputError
from virnucpro.report.entries import Entry, draw_tracks, open_table
from virnucpro.report.finished import FinishedRun, read_finished
from virnucpro.report.table_columns import Rows, iter_rows
from virnucpro.words import counted

RUN_FILES = ("run.json", "records.tsv", "chunks.tsv", "frames.tsv")  # the input of a report
TOP_HITS = 250
LONG_RECORDS = 20
LONG_CHUNKS = 4  # the smallest number that gives a record a track of its own
LENGTHS = (0, 150, 300, 500, 1000, 5000)  # nt, the lower bounds of the length classes
SCORE_BINS = 20
_MAX_REASONS = 100
_NUMBER = re.compile(r"(?<![\d.,])(?<!needs )\d[\d.,]*")  # the limit itself is the same for all records


@dataclass(slots=True)
class Run:
    """A finished run: its manifest, and counts of its records.

    `outcomes` counts (status, prediction), `reasons` (status, reason without its numbers); `histogram`
    (len(LENGTHS), SCORE_BINS, 2) counts others and viruses; `weakest` is the lowest score of a virus by length class,
    `fdr` the highest of a virus, None without the column. `hits` are the best viruses, `long` the longest records.
    """

    manifest: FinishedRun
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    histogram: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((len(LENGTHS), SCORE_BINS, 2), dtype=np.int64)
    )
    weakest: dict[int, float] = field(default_factory=dict)
    fdr: float | None = None
    hits: list[Entry] = field(default_factory=list)
    long: list[Entry] = field(default_factory=list)

    def count(self, prediction: str) -> int:
        """Return the number of records with this prediction: virus, other or NA."""
        return sum(n for (_, called), n in self.outcomes.items() if called == prediction)

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
    run = Run(read_finished(directory))
    _count(run, directory)
    if run.records != (expected := run.manifest.outcome.tally.records):
        raise InputError(
            f"{directory}/records.tsv has {counted(run.records, 'rows')}, "
            f"but run.json counts {counted(expected, 'records')}; the "
            "directory holds two runs or was edited: run `virnucpro predict` again with --restart"
        )
    shown = {
        entry.index: entry for entry in (*run.hits, *run.long)
    }  # a hit that is also long is one object, see `_count`
    draw_tracks(directory, [shown[index] for index in sorted(shown)], pairs=run.unit == "pair")
    return run


def _count(run: Run, directory: Path) -> None:
    hits: list[Any] = []
    long: list[Any] = []
    index = first_chunk = first_frame = 0
    path = directory / "records.tsv"
    with open_table(path) as (columns, file):
        place = {name: columns.index(name) for name in columns}
        for rows in iter_rows(path, file, len(columns)):
            _count_outcomes(run, rows, place)
            nt, n_chunks = rows.whole_numbers(place["length"]), rows.whole_numbers(place["n_chunks"])
            n_frames, score = rows.whole_numbers(place["n_frames"]), rows.numbers(place["virus_score"])
            is_virus = rows.initials(place["prediction"]) == ord("v")
            scored = np.flatnonzero(~np.isnan(score))
            kind = np.searchsorted(LENGTHS, nt, side="right") - 1
            step = np.minimum((score[scored] * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
            np.add.at(run.histogram, (kind[scored], step, is_virus[scored].astype(np.int64)), 1)
            viral = np.flatnonzero(is_virus & ~np.isnan(score))
            for number in np.unique(kind[viral]).tolist():
                lowest = float(score[viral][kind[viral] == number].min())
                run.weakest[number] = min(lowest, run.weakest.get(number, 1.0))
            if "fdr" in place and len(fdr := rows.numbers(place["fdr"])[viral]) and not np.isnan(fdr).all():
                run.fdr = max(run.fdr or 0.0, float(np.nanmax(fdr)))
            chunks_before = first_chunk + np.cumsum(n_chunks) - n_chunks
            frames_before = first_frame + np.cumsum(n_frames) - n_frames

            def item(row: int) -> tuple[int, int, int, list[str]]:
                return index + row, int(chunks_before[row]), int(frames_before[row]), rows.line(row)  # noqa: B023

            for row in viral[np.lexsort((-nt[viral], -score[viral]))][:TOP_HITS].tolist():
                if len(hits) < TOP_HITS or score[row] >= hits[0][0]:
                    _keep(hits, (float(score[row]), int(nt[row]), -(index + row), item(row)), TOP_HITS)
            with_track = np.flatnonzero(n_chunks >= LONG_CHUNKS)
            for row in with_track[np.argsort(-nt[with_track], kind="stable")][:LONG_RECORDS].tolist():
                _keep(long, (int(nt[row]), -(index + row), item(row)), LONG_RECORDS)
            index += len(rows)
            first_chunk += int(n_chunks.sum())
            first_frame += int(n_frames.sum())
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


def _entry(columns: list[str], index: int, first_chunk: int, first_frame: int, fields: list[str]) -> Entry:
    return Entry(index, dict(zip(columns, fields, strict=True)), first_chunk, first_frame)


def _count_reason(run: Run, status: str, reason: str, number: int) -> None:
    kind = status, _NUMBER.sub("…", reason)
    if kind not in run.reasons and len(run.reasons) >= _MAX_REASONS:
        kind = status, "other reasons"
    run.reasons[kind] += number
