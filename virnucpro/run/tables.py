"""The tables of a run, and the columns that are filled in when all units are known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt

from virnucpro.run.numbers import four_digits
from virnucpro.scores.composition import Composition
from virnucpro.scores.evidence import evidence_type
from virnucpro.seq.strings import Bytes, Ints, Strings

RECORD_COLUMNS = (
    "seq_name", "length", "n_chunks", "n_frames", "prediction", "virus_score", "fdr", "sample_score", "host_class",
    "best_frame", "status", "reason",
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
# The files of `predict`, each with its header line: for single records, and for pairs.
TABLES = {**_TABLES, "viral.fasta": "", "viral.fastq": ""}
PAIR_TABLES = {**_TABLES, "viral_1.fasta": "", "viral_2.fasta": "", "viral_1.fastq": "", "viral_2.fastq": ""}
# Only for input with FASTQ: viral.fasta has all hits, viral.fastq those with qualities.
FASTQ_HITS = ("viral.fastq", "viral_1.fastq", "viral_2.fastq")
# Files made from the tables.
REPORTS = REPORT, MULTIQC, MULTIQC_COMPOSITION = "report.html", "virnucpro_mqc.json", "virnucpro_composition_mqc.json"
PARQUET = {f"{name}.tsv": f"{name}.parquet" for name in ("records", "chunks", "frames")}
FRAME_FILES = ("chunks.fa", "frames.fna", "frames.faa")
# Placeholder for `sample_score` and `fdr` of a record with evidence, until the whole run is known.
BLANK = b"0.0000"


class Sink(Protocol):
    """A destination for the bytes of a section of a unit."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


class RecordFiller:
    """Copies the rows and hits of units to the files of a run, and fills in what follows from the whole sample.

    These are `sample_score` and `fdr` of records with evidence, and if calls follow from the composition, `prediction`
    and which records are hits. A unit has the evidence of its records before their rows, and their hits last. The
    sinks take bytes in pieces of any size.
    """

    def __init__(self, table: Sink, hits: Sequence[IO[bytes] | None], composition: Composition) -> None:
        self._table, self._composition, self._rest = table, composition, b""
        by_sample = composition.thresholds is not None
        self._type = evidence_type(len(composition.shares), len(hits) if by_sample else 0)
        self._evidence, self._unread = np.zeros(0, self._type), b""
        self.evidence = _Calling(self._take_evidence)
        self.rows = _Calling(self._take_rows)
        self._filters = [None if file is None else _HitFilter(file) for file in hits] if by_sample else []
        self.hits: list[Sink | None] = [*self._filters] if by_sample else [*hits]
        self.viral: int | None = 0 if by_sample else None

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
        evidence, self._evidence = self._evidence[: len(ends)], self._evidence[len(ends) :]
        found = self._composition.judge(evidence)
        tabs = np.flatnonzero(text == ord("\t")).reshape(len(ends), -1)[found.known]
        for name, values in (("fdr", found.fdr), ("sample_score", found.posterior)):
            _fill(text, tabs[:, RECORD_COLUMNS.index(name) - 1] + 1, four_digits(values[found.known]).data)
        if found.is_virus is not None:
            is_virus = found.is_virus & found.known
            words = Strings.of([b"other", b"virus"]).take(is_virus[found.known].astype(np.int64))
            _fill(text, tabs[:, RECORD_COLUMNS.index("prediction") - 1] + 1, words.data)
            self.viral = (self.viral or 0) + int(is_virus.sum())
            for number, one in enumerate(self._filters):
                if one is not None:
                    one.expect(evidence["hits"][:, number], is_virus)
        self._table.write(text.tobytes())


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
    """A sink that copies those records of a file of hits which are wanted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._spans, self._place, self._end = file, deque[tuple[int, int]](), 0, 0

    def expect(self, sizes: npt.NDArray[np.int32], wanted: npt.NDArray[np.bool_]) -> None:
        """Take the sizes of the next records (N,), in bytes, and which of them are wanted."""
        ends = self._end + np.cumsum(sizes, dtype=np.int64)
        chosen = wanted & (sizes > 0)
        self._spans.extend(zip((ends - sizes)[chosen].tolist(), ends[chosen].tolist(), strict=True))
        self._end = int(ends[-1]) if len(ends) else self._end

    def write(self, data: bytes) -> None:
        end = self._place + len(data)
        while self._spans and self._spans[0][0] < end:
            first, last = self._spans[0]
            self._file.write(data[max(0, first - self._place) : last - self._place])
            if last > end:
                break
            self._spans.popleft()
        self._place = end
