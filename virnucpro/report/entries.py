"""The records of a finished run, with their chunks and frames, from its tables.

The tables have the records in input order, so a record's rows in chunks.tsv and frames.tsv follow from the counts of
chunks and frames of the records before it. Ids are not unique and are not used to find rows. A track is a record cut
into `BINS` equal parts, with the mean score of the chunks in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.errors import InputError, MissingInputError
from virnucpro.report.table_columns import skip_lines
from virnucpro.run.outputs import find_output
from virnucpro.seq.decompress import content_of

BINS = 100
Details = tuple[dict[str, str], list[dict[str, str]]]  # a row of chunks.tsv and those of its frames


@dataclass(slots=True)
class Entry:
    """A row of records.tsv, the first rows of its chunks and frames in their tables, and its track.

    `hit` is its number among the hits of the run, from 0, or -1; `fasta` is its sequence if the page has it. `track`
    (BINS,) is NaN without a score; `viral_chunks` counts the chunks called virus.
    """

    index: int
    row: dict[str, str]
    first_chunk: int
    first_frame: int
    hit: int = -1
    fasta: str = ""
    track: npt.NDArray[np.float64] = field(default_factory=lambda: np.full(BINS, np.nan))
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


@contextmanager
def open_table(path: Path) -> Iterator[tuple[list[str], BufferedReader]]:
    """Open a table, plain or compressed; give the names of its columns and its content from the first row.

    Raises:
        MissingInputError: it cannot be read.
    """
    try:
        with path.open("rb") as raw, content_of(raw) as file:
            yield read_cells(file.readline()), file
    except OSError as error:
        reason = error.strerror or error
        raise MissingInputError(f"{path} cannot be read: {reason}; run `virnucpro predict` again") from error


def read_cells(line: bytes) -> list[str]:
    """Return the cells of a table's line."""
    return line.decode(errors="surrogateescape").rstrip("\n").split("\t")


def iter_entries(directory: Path) -> Iterator[Entry]:
    """Yield all rows of records.tsv, without tracks."""
    first_chunk = first_frame = 0
    with open_table(find_output(directory, "records.tsv")) as (columns, file):
        for index, line in enumerate(file):
            row = dict(zip(columns, read_cells(line), strict=True))
            yield Entry(index, row, first_chunk, first_frame)
            first_chunk += int(row["n_chunks"])
            first_frame += int(row["n_frames"])


def iter_chunks(directory: Path, entries: Sequence[Entry]) -> Iterator[tuple[Entry, Iterator[dict[str, str]]]]:
    """Yield each entry with its rows of chunks.tsv, which must be read before the next entry; in input order."""
    with open_table(find_output(directory, "chunks.tsv")) as (columns, file):
        read = 0
        for entry in entries:
            skip_lines(file, entry.first_chunk - read)
            number = int(entry.row["n_chunks"])
            read = entry.first_chunk + number
            yield entry, _iter_rows(file, columns, number)


def iter_details(directory: Path, entries: Sequence[Entry]) -> Iterator[tuple[Entry, Iterator[Details]]]:
    """Yield each entry with its chunks and frames, which must be read before the next entry; in input order."""
    with open_table(find_output(directory, "frames.tsv")) as (columns, file):

        def details(chunks: Iterator[dict[str, str]]) -> Iterator[Details]:
            for chunk in chunks:
                yield chunk, list(_iter_rows(file, columns, int(chunk["n_frames"])))

        read = 0
        for entry, chunks in iter_chunks(directory, entries):
            skip_lines(file, entry.first_frame - read)
            read = entry.first_frame + int(entry.row["n_frames"])
            yield entry, details(chunks)


def _iter_rows(file: BufferedReader, columns: list[str], number: int) -> Iterator[dict[str, str]]:
    for line in islice(file, number):
        yield dict(zip(columns, read_cells(line), strict=True))


def second_mate(spans: Sequence[tuple[int, int]]) -> int:
    """Return the index of the first chunk of a pair's second mate.

    chunks.tsv has no column for the mate. Each mate has at least one chunk, and the starts of its chunks increase; the
    first starts after 0 if the mate's end was trimmed. If the starts increase over both mates, the second mate begins
    where two successive chunks overlap most.

    Args:
        spans: (start, end) of all chunks of the pair in order, at least two.

    >>> second_mate([(0, 100), (50, 150)])
    1
    """
    following = range(1, len(spans))
    smaller = (i for i in following if spans[i][0] <= spans[i - 1][0])
    return next(smaller, max(following, key=lambda i: spans[i - 1][1] - spans[i][0]))


def draw_tracks(directory: Path, entries: Sequence[Entry], paired: bool = False) -> None:
    """Set tracks and viral chunks of entries, which are in input order; in pairs, read 2 is drawn after read 1.

    Raises:
        InputError: chunks.tsv and records.tsv are of different runs.
    """
    for entry, chunks in iter_chunks(directory, entries):
        total, number = np.zeros(BINS), np.zeros(BINS)
        for shift, chunk in _shifted(entry, list(chunks)) if paired else zip(repeat(0), chunks):
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
        scored = number > 0
        entry.track[scored] = total[scored] / number[scored]


def _shifted(entry: Entry, chunks: Sequence[dict[str, str]]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the chunks of a pair, each with the start of its mate in the drawing (nt)."""
    spans = [(int(chunk["start"]), int(chunk["end"])) for chunk in chunks]
    first = second_mate(spans) if len(spans) > 1 else len(spans)
    ends = [max((end for _, end in part), default=0) for part in (spans[:first], spans[first:])]
    # The tables have the sum of both lengths. If ends were trimmed, the mates are assumed to be equally long.
    border = min(max(entry.length // 2, ends[0]), max(entry.length - ends[1], 0))
    yield from ((0 if i < first else border, chunk) for i, chunk in enumerate(chunks))


def _bins(start: int, end: int, length: int) -> slice:
    first = start * BINS // length
    return slice(first, max(first + 1, end * BINS // length))
