"""A finished run, read from its directory in one pass over its tables: in memory stays what is shown.

The tables have the records in input order, so a record's rows in chunks.tsv and frames.tsv follow from the counts of
chunks and frames of the records before it. Ids are not unique and decide nothing. A track is a record cut into
`BINS` equal parts.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from virnucpro.errors import InputError, MissingInputError
from virnucpro.report.table_columns import Rows, iter_rows, skip_lines

RUN_FILES = ("run.json", "records.tsv", "chunks.tsv", "frames.tsv")  # what a report is made of
TOP_HITS = 250
LONG_RECORDS = 20
LONG_CHUNKS = 4  # a record of so many has a track of its own
LENGTHS = (0, 150, 300, 500, 1000, 5000)  # nt, where a class begins
SCORE_BINS = 20
BINS = 120
_MOST_REASONS = 100
_NUMBER = re.compile(r"(?<![\d.,])(?<!needs )\d[\d.,]*")  # what a run needs is the same for all


@dataclass(slots=True)
class Entry:
    """A row of records.tsv, where its chunks and frames begin in their tables, and what they say along it.

    `lanes` (6, BINS) is the best virus score of the frames F1..F3, R1..R3, -1 where there is none; `strip` (BINS,) is
    the mean score of the chunks, NaN where none has one; `viral_chunks` are those called virus.
    """

    index: int
    row: dict[str, str]
    first_chunk: int
    first_frame: int
    lanes: npt.NDArray[np.float32] = field(default_factory=lambda: np.full((6, BINS), -1, np.float32))
    strip: npt.NDArray[np.float32] = field(default_factory=lambda: np.full(BINS, np.nan, np.float32))
    viral_chunks: int = 0

    @property
    def name(self) -> str:
        return self.row["seq_name"]

    @property
    def length(self) -> int:
        return int(self.row["length"])

    @property
    def score(self) -> float | None:
        return None if self.row["virus_score"] == "NA" else float(self.row["virus_score"])


@dataclass(slots=True)
class Run:
    """What run.json tells, and the records counted.

    `outcomes` counts (status, prediction), `reasons` (status, reason without its numbers); `histogram`
    (len(LENGTHS), SCORE_BINS, 2) the others and the viruses; `weakest` is the least score of a virus by length class,
    `fdr` the largest of a virus, None if the run has none. `hits` are the best viruses, `long` the longest records.
    """

    told: dict[str, Any]
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
        return unit_of(self.told)

    @property
    def records(self) -> int:
        return sum(self.outcomes.values())


def read_run(directory: Path) -> Run:
    """Read a finished run.

    Raises:
        MissingInputError: there is no run, or one of its tables is gone.
        InputError: it is not complete, or its files contradict each other.
    """
    run = Run(read_told(directory))
    _count(run, directory)
    if run.records != (said := run.told["counts"]["records"]):
        raise InputError(
            f"{directory}/records.tsv has {run.records} rows, run.json tells of {said} records; "
            "the directory holds two runs or was edited: run `virnucpro predict` again with --restart"
        )
    shown = {entry.index: entry for entry in (*run.hits, *run.long)}  # one object for each, see `_count`
    draw_tracks(directory, [shown[index] for index in sorted(shown)], pairs=run.unit == "pair")
    return run


def unit_of(told: dict[str, Any]) -> str:
    """Return what a row of the run stands for: record or pair."""
    return "pair" if told.get("fingerprint", {}).get("--paired") else "record"


def read_told(directory: Path) -> dict[str, Any]:
    """Return run.json of a complete run, see `read_run`."""
    path = directory / "run.json"
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        status = told["status"]
    except OSError as error:
        raise MissingInputError(
            f"{directory} holds no run: {path} {error.strerror}; name an --output of predict"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not what `virnucpro predict` writes: {error!r}; run it again") from None
    if status != "complete":
        raise InputError(f"the run in {directory} is not complete but {status}; predict --resume goes on with it")
    return told


@contextmanager
def open_table(path: Path) -> Iterator[tuple[list[str], BinaryIO]]:
    """Open a table; give the names of its columns and the file, of which the rows are left.

    Raises:
        MissingInputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield _cells(file.readline()), file
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror}; run `virnucpro predict` again") from error


def _cells(line: bytes) -> list[str]:
    """Return the cells of a line of a table."""
    return line.decode(errors="surrogateescape").rstrip("\n").split("\t")


def iter_entries(directory: Path) -> Iterator[Entry]:
    """Yield all rows of records.tsv, without tracks."""
    first_chunk = first_frame = 0
    with open_table(directory / "records.tsv") as (columns, file):
        for index, line in enumerate(file):
            row = dict(zip(columns, _cells(line), strict=True))
            yield Entry(index, row, first_chunk, first_frame)
            first_chunk += int(row["n_chunks"])
            first_frame += int(row["n_frames"])


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
            for some in np.unique(kind[viral]).tolist():
                least = float(score[viral][kind[viral] == some].min())
                run.weakest[some] = min(least, run.weakest.get(some, 1.0))
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
    # A long record may be a hit, too: both lists then have the same entry, whose tracks are drawn once.
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


def _keep(heap: list[Any], item: Any, most: int) -> None:
    """Keep the `most` greatest items; the index in them tells equal ones apart."""
    if len(heap) < most:
        heapq.heappush(heap, item)
    elif item > heap[0]:
        heapq.heapreplace(heap, item)


def _entry(columns: list[str], index: int, first_chunk: int, first_frame: int, fields: list[str]) -> Entry:
    return Entry(index, dict(zip(columns, fields, strict=True)), first_chunk, first_frame)


def _count_reason(run: Run, status: str, reason: str, number: int) -> None:
    kind = status, _NUMBER.sub("…", reason)
    if kind not in run.reasons and len(run.reasons) >= _MOST_REASONS:
        kind = status, "other reasons"
    run.reasons[kind] += number


Details = tuple[dict[str, str], list[dict[str, str]]]  # a row of chunks.tsv and those of its frames


def iter_details(directory: Path, entries: Sequence[Entry]) -> Iterator[tuple[Entry, Iterator[Details]]]:
    """Yield each entry with its chunks, which must be used up before the next; entries are in input order."""
    with (
        open_table(directory / "chunks.tsv") as (chunk_columns, chunk_file),
        open_table(directory / "frames.tsv") as (frame_columns, frame_file),
    ):

        def rows(file: BinaryIO, columns: list[str], number: int) -> Iterator[dict[str, str]]:
            for line in islice(file, number):
                yield dict(zip(columns, _cells(line), strict=True))

        def details(entry: Entry) -> Iterator[Details]:
            for chunk in rows(chunk_file, chunk_columns, int(entry.row["n_chunks"])):
                yield chunk, list(rows(frame_file, frame_columns, int(chunk["n_frames"])))

        chunks = frames = 0  # rows that are behind
        for entry in entries:
            skip_lines(chunk_file, entry.first_chunk - chunks)
            skip_lines(frame_file, entry.first_frame - frames)
            chunks = entry.first_chunk + int(entry.row["n_chunks"])
            frames = entry.first_frame + int(entry.row["n_frames"])
            yield entry, details(entry)


def second_mate(spans: Sequence[tuple[int, int]]) -> int:
    """Return which of a pair's chunks is the first one of the second mate, counted from 0.

    chunks.tsv has no column for the mate. Each mate has a chunk at least, which begins later than at 0 where the mate's
    end was trimmed; the starts of a mate's chunks increase. Where the starts of both mates' chunks increase too,
    the second mate begins where two chunks overlap most.

    Args:
        spans: (start, end) of all chunks of the pair in order, at least two.

    >>> second_mate([(0, 100), (50, 150)])
    1
    """
    following = range(1, len(spans))
    smaller = (i for i in following if spans[i][0] <= spans[i - 1][0])
    return next(smaller, max(following, key=lambda i: spans[i - 1][1] - spans[i][0]))


def draw_tracks(directory: Path, entries: Sequence[Entry], pairs: bool = False) -> None:
    """Fill in lanes and strips of entries, which are in input order; of `pairs`, read 2 follows read 1.

    Raises:
        InputError: chunks.tsv does not go with records.tsv.
    """
    for entry, chunks in iter_details(directory, entries):
        total, number = np.zeros(BINS), np.zeros(BINS)
        for shift, (chunk, frames) in _shifted(entry, list(chunks)) if pairs else zip(repeat(0), chunks):
            if chunk["seq_name"] != entry.name:
                raise InputError(
                    f"{directory}/chunks.tsv has a chunk of {chunk['seq_name']!r} where records.tsv has "
                    f"{entry.name!r}; the tables are not of one run: run `virnucpro predict` again with --restart"
                )
            span = _bins(shift + int(chunk["start"]), shift + int(chunk["end"]), entry.length)
            if chunk["virus_score"] != "NA":
                total[span] += float(chunk["virus_score"])
                number[span] += 1
            entry.viral_chunks += chunk["prediction"] == "virus"
            for frame in frames:
                lane = entry.lanes[int(frame["offset"]) + 3 * (frame["strand"] == "-"), span]
                np.maximum(lane, float(frame["score_virus"]), out=lane)
        scored = number > 0
        entry.strip[scored] = total[scored] / number[scored]


def _shifted(entry: Entry, chunks: Sequence[Details]) -> Iterator[tuple[int, Details]]:
    """Yield the chunks of a pair, each with where its mate begins in the drawing (nt)."""
    spans = [(int(chunk["start"]), int(chunk["end"])) for chunk, _ in chunks]
    first = second_mate(spans) if len(spans) > 1 else len(spans)
    ends = [max((end for _, end in part), default=0) for part in (spans[:first], spans[first:])]
    # The tables have the length of both mates. Where ends were trimmed, mates are taken to be of the same length.
    border = min(max(entry.length // 2, ends[0]), max(entry.length - ends[1], 0))
    yield from ((0 if i < first else border, chunk) for i, chunk in enumerate(chunks))


def _bins(start: int, end: int, length: int) -> slice:
    first = start * BINS // length
    return slice(first, max(first + 1, end * BINS // length))
