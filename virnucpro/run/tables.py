"""The tables of a run, and the columns that are filled in when all units are known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from virnucpro.run.numbers import four_digits
from virnucpro.scores.composition import Composition, Judgements
from virnucpro.scores.evidence import evidence_type
from virnucpro.seq.strings import Bytes, Ints, Strings, gather
from virnucpro.types import CONFIDENCE

RECORD_COLUMNS = (
    "seq_name", "length", "n_chunks", "n_frames", "prediction", "virus_score", "fdr", "confidence",
    "sample_score", "host_class", "best_frame", "status", "reason",
)  # fmt: skip
CHUNK_COLUMNS = (
    "chunk", "seq_name", "start", "end", "n_frames", "prediction", "virus_score", "best_frame", "status", "reason",
)  # fmt: skip
FRAME_COLUMNS = (
    "frame", "chunk", "strand", "offset", "aa_length", "score_other", "score_virus", "weight",
)  # fmt: skip
_TABLES = {
    "records.tsv": "\t".join(RECORD_COLUMNS) + "\n",
    "chunks.tsv": "\t".join(CHUNK_COLUMNS) + "\n",
    "frames.tsv": "\t".join(FRAME_COLUMNS) + "\n",
}
# The files of `predict`, each with its header line: for single records, and for pairs. viral.fasta has all hits,
# viral.fastq those with qualities; it is written only for input with FASTQ.
TABLES = {**_TABLES, "viral.fasta": "", "viral.fastq": ""}
PAIR_TABLES = {**_TABLES, "viral_1.fasta": "", "viral_2.fasta": "", "viral_1.fastq": "", "viral_2.fastq": ""}
# Files made from the tables.
REPORTS = REPORT, MULTIQC, MULTIQC_COMPOSITION = "report.html", "virnucpro_mqc.json", "virnucpro_composition_mqc.json"
PARQUET = {f"{name}.tsv": f"{name}.parquet" for name in ("records", "chunks", "frames")}
FRAME_FILES = ("chunks.fa", "frames.fna", "frames.faa")
# Placeholder for `fdr`, `confidence` and `sample_score` of a record with evidence, until the whole run is known.
BLANK = b"0.0000"
# The cells of `confidence` for the tiers and for a record that is no virus, as long as `BLANK`.
_TIERS = Strings.of([name.encode().ljust(len(BLANK)) for name in (*CONFIDENCE, "NA")])
_TIER_LENGTHS = np.array([len(name) for name in (*CONFIDENCE, "NA")])
# The number of the tab before each column that is filled in.
_BEFORE = {name: RECORD_COLUMNS.index(name) - 1 for name in ("prediction", "fdr", "confidence", "sample_score")}


class Sink(Protocol):
    """A destination for the bytes of a section of a unit."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


class RecordFiller:
    """Copies the rows and hits of units to the files of a run, and fills in what follows from the whole sample.

    These are `fdr`, `confidence` and `sample_score` of records with evidence, and if calls follow from the composition,
    `prediction` and which records are hits. A unit has the evidence of its records before their rows, and their hits
    last. The sinks take bytes in pieces of any size; None takes nothing.

    Args:
        table: the file of rows.
        hits: the files of hits; None: its section is skipped.
        composition: that of the run, None if no record has evidence.
        others: for each file of hits the one that gets its other records, if units have all of them.
        names: a file for the names of viruses, one a line.
        n_hosts: the number of host classes in the evidence.
    """

    def __init__(
        self,
        table: Sink,
        hits: Sequence[Sink | None],
        composition: Composition | None,
        others: Sequence[Sink | None] = (),
        names: Sink | None = None,
        n_hosts: int | None = None,
    ) -> None:
        self._table, self._composition, self._names, self._rest = table, composition, names, b""
        decides = composition is not None and composition.decides
        late = decides or bool(others)
        if n_hosts is None:
            n_hosts = len(composition.shares) if composition else 1
        self._type = evidence_type(n_hosts, len(hits) if late else 0)
        self._evidence, self._unread = np.zeros(0, self._type), b""
        self.evidence: Sink | None = _Calling(self._take_evidence) if late or composition else None
        as_they_are = composition is None and not late and names is None
        self.rows: Sink = table if as_they_are else _Calling(self._take_rows)
        pairs = zip(hits, others or [None] * len(hits), strict=True)
        self._filters = [None if file is None else _HitFilter(file, other) for file, other in pairs] if late else []
        self.hits: list[Sink | None] = [*self._filters] if late else [*hits]
        self.viral: int | None = 0 if decides else None

    def _take_evidence(self, data: bytes) -> None:
        data = self._unread + data
        whole = len(data) - len(data) % self._type.itemsize
        self._unread = data[whole:]
        self._evidence = np.concatenate((self._evidence, np.frombuffer(data[:whole], self._type)))

    def _take_rows(self, data: bytes) -> None:
        whole, mark, self._rest = (self._rest + data).rpartition(b"\n")
        if not mark:
            return
        text = np.frombuffer(whole + mark, np.uint8).copy()
        ends = np.flatnonzero(text == mark[0])
        tabs = np.flatnonzero(text == ord("\t")).reshape(len(ends), -1)  # (N, columns - 1)
        evidence, self._evidence = self._evidence[: len(ends)], self._evidence[len(ends) :]
        kept = np.ones(len(text), bool)
        if self._composition is not None:
            _fill_in(text, kept, tabs, self._composition.judge(evidence))
        is_virus = _are_virus(text, tabs)
        if self.viral is not None:
            self.viral += int(is_virus.sum())
        for number, one in enumerate(self._filters):
            if one is not None:
                one.expect(evidence["hits"][:, number], is_virus)
        if self._names is not None:
            begins = np.append(0, ends[:-1] + 1)[is_virus]
            lines = gather(text, begins, tabs[is_virus, 0] + 1 - begins)
            self._names.write(lines.data.tobytes().replace(b"\t", b"\n"))
        self._table.write(text[kept].tobytes())


def _are_virus(text: Bytes, tabs: Ints) -> npt.NDArray[np.bool_]:
    """Return which rows of records.tsv are called virus; `tabs` (N, columns - 1) are the places of tabs in the text."""
    return np.asarray(text[tabs[:, _BEFORE["prediction"]] + 1] == ord("v"))


def _fill_in(text: Bytes, kept: npt.NDArray[np.bool_], tabs: Ints, found: Judgements) -> None:
    """Fill in what follows from the sample into rows of records.tsv; unset `kept` where a cell is shorter than before.

    Args:
        text: the rows, (B,).
        kept: the bytes of the text that are to stay, (B,).
        tabs: the places of tabs in the text, (N, columns - 1).
        found: what the composition says about the records, N.
    """
    known = found.known
    places = {name: tabs[known, before] + 1 for name, before in _BEFORE.items()}
    for name, values in (("fdr", found.fdr), ("sample_score", found.posterior)):
        _fill(text, places[name], four_digits(values[known]).data)
    if found.is_virus is not None:
        words = Strings.of([b"other", b"virus"]).take(found.is_virus[known].astype(np.int64))
        _fill(text, places["prediction"], words.data)
    tiers = np.where(_are_virus(text, tabs[known]), found.tier[known], len(CONFIDENCE))
    _fill(text, places["confidence"], _TIERS.take(tiers).data)
    width = np.arange(len(BLANK))
    kept[places["confidence"][:, None] + width] = width < _TIER_LENGTHS[tiers, None]


def _fill(text: Bytes, begins: Ints, data: Bytes) -> None:
    """Write strings of one length, end to end in `data`, into a text at these places (N,)."""
    if len(begins):
        width = len(data) // len(begins)
        text[begins[:, None] + np.arange(width)] = data.reshape(-1, width)


class _Calling:
    """A sink that calls a function with the bytes."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.write = take


class _HitFilter:
    """A sink that copies those records of a file of hits which are wanted, and the others to another file, if any."""

    def __init__(self, file: Sink, other: Sink | None) -> None:
        self._files = other, file
        self._spans, self._place, self._end = deque[tuple[int, int, Sink]](), 0, 0

    def expect(self, sizes: npt.NDArray[np.int32], wanted: npt.NDArray[np.bool_]) -> None:
        """Take the sizes of the next records (N,), in bytes, and which of them are wanted."""
        ends = self._end + np.cumsum(sizes, dtype=np.int64)
        runs = np.append(np.flatnonzero(np.diff(wanted)), len(wanted) - 1)  # the last record of each run of equals
        for last, is_wanted in zip(runs.tolist(), wanted[runs].tolist(), strict=True):
            begin, self._end = self._end, int(ends[last])
            if (file := self._files[is_wanted]) is not None and self._end > begin:
                self._spans.append((begin, self._end, file))

    def write(self, data: bytes) -> None:
        end = self._place + len(data)
        while self._spans and self._spans[0][0] < end:
            first, last, file = self._spans[0]
            file.write(data[max(0, first - self._place) : last - self._place])
            if last > end:
                break
            self._spans.popleft()
        self._place = end
