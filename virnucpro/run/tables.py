"""The files of a run. A file appears whole or not at all: it is written under a temporary name and renamed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from virnucpro.config import FrameRule
from virnucpro.files import atomic_writer
from virnucpro.scores.composition import Composition, evidence
from virnucpro.seq import frames_of, iter_chunks
from virnucpro.types import Call, Record, RecordResult

RECORD_COLUMNS = (
    "seq_name", "length", "n_chunks", "n_frames", "prediction", "virus_score", "fdr", "best_frame", "status", "reason",
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
# The files of `predict`, each with its first line: of single records, and of pairs.
TABLES = {**_TABLES, "viral.fasta": "", "viral.fastq": ""}
PAIR_TABLES = {**_TABLES, "viral_1.fasta": "", "viral_2.fasta": "", "viral_1.fastq": "", "viral_2.fastq": ""}
# Only of input that has FASTQ in it: all hits are in viral.fasta, those that came with qualities in viral.fastq too.
FASTQ_HITS = ("viral.fastq", "viral_1.fastq", "viral_2.fastq")
# What is made of the tables.
REPORTS = REPORT, MULTIQC = "report.html", "virnucpro_mqc.json"
PARQUET = {f"{name}.tsv": f"{name}.parquet" for name in ("records", "chunks", "frames")}
FRAME_FILES = ("chunks.fa", "frames.fna", "frames.faa")
FASTA_WIDTH = 60
_FDR = RECORD_COLUMNS.index("fdr")
# The evidence of a record in a unit, in steps of 0.01; what a record without any has in its place.
EVIDENCE = np.dtype("<i2")
NO_EVIDENCE = -(1 << 15)


def _row(values: Iterable[object]) -> str:
    return "\t".join("NA" if value is None else str(value) for value in values) + "\n"


def _score(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _prediction(call: Call) -> str | None:
    return None if call.is_virus is None else ("virus" if call.is_virus else "other")


def record_row(call: Call) -> str:
    """Return a line of records.tsv, in which `fdr` is NA."""
    verdict = (_prediction(call), _score(call.virus_score), None, call.best_frame, call.status, call.reason or None)
    return _row((call.id, call.length, call.n_chunks, call.n_frames, *verdict))


def _fasta_lines(record: Record) -> Iterator[str]:
    """Yield a record with its header as it was, the sequence upper-case in lines of 60."""
    yield f">{record.id} {record.description}".rstrip(" ") + "\n"
    for begin in range(0, len(record.sequence), FASTA_WIDTH):
        yield record.sequence[begin : begin + FASTA_WIDTH].decode("ascii") + "\n"


def _fastq_lines(record: Record) -> Iterator[str]:
    if record.quality:
        header = f"{record.id} {record.description}".rstrip(" ")
        yield f"@{header}\n{record.sequence.decode('ascii')}\n+\n{record.quality.decode('ascii')}\n"


def _chunk_rows(result: RecordResult) -> Iterator[str]:
    for chunk in result.chunks:
        call = chunk.call
        verdict = (_prediction(call), _score(call.virus_score), call.best_frame, call.status, call.reason or None)
        yield _row((call.id, result.call.id, chunk.start, chunk.end, call.n_frames, *verdict))


def _frame_rows(result: RecordResult) -> Iterator[str]:
    for chunk in result.chunks:
        for p in chunk.predictions:
            scores = (f"{p.score_other:.4f}", f"{p.score_virus:.4f}", f"{p.weight:.4f}")
            yield _row((p.frame_id, chunk.call.id, "+" if p.strand > 0 else "-", p.offset, p.aa_length, *scores))


def table_lines(results: Sequence[RecordResult]) -> tuple[Iterator[str], ...]:
    """Return the lines of `results` for each of `TABLES` or `PAIR_TABLES`, without the tables' headers.

    `fdr`, which follows from all records of a run, is NA in them; `FdrFiller` fills it.
    """
    parts = range(len(results[0].record.parts))
    return (
        (record_row(result.call) for result in results),
        (row for result in results for row in _chunk_rows(result)),
        (row for result in results for row in _frame_rows(result)),
        *(_hit_lines(results, part, _fasta_lines) for part in parts),
        *(_hit_lines(results, part, _fastq_lines) for part in parts),
    )


def _hit_lines(results: Sequence[RecordResult], part: int, lines: Callable[[Record], Iterator[str]]) -> Iterator[str]:
    for result in results:
        if result.call.is_virus:
            yield from lines(result.record.parts[part])


class FdrFiller:
    """Writes rows of records.tsv on to a table, with the `fdr` of each that follows from its evidence.

    A unit has its evidence before its rows: `evidence.write` and `write` take the bytes of either in any pieces.
    """

    def __init__(self, table: IO[bytes], composition: Composition) -> None:
        self._table, self._rest = table, b""
        self._text = {step: b"%.4f" % fdr for step, fdr in composition.fdr.items()}
        self._evidence: deque[int] = deque()
        self.evidence = EvidenceReader(self._evidence.extend)

    def write(self, data: bytes) -> None:
        """Take the next bytes of rows."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            evidence = self._evidence.popleft()
            if evidence != NO_EVIDENCE:
                fields = line.split(b"\t")
                fields[_FDR] = self._text[evidence]
                line = b"\t".join(fields)
            self._table.write(line + b"\n")


class EvidenceReader:
    """Takes the bytes of the evidence of records in any pieces and hands it on, a list of steps at a time."""

    def __init__(self, take: Callable[[list[int]], object]) -> None:
        self._take, self._rest = take, b""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        data = self._rest + data
        whole = len(data) - len(data) % EVIDENCE.itemsize
        self._rest = data[whole:]
        self._take(np.frombuffer(data[:whole], EVIDENCE).tolist())


def evidence_bytes(calls: Iterable[Call]) -> bytes:
    """Return the evidence of records, in steps, as a unit has it: `EVIDENCE`, `NO_EVIDENCE` where there is none."""
    steps = (evidence(call) for call in calls)
    return np.array([NO_EVIDENCE if step is None else step for step in steps], EVIDENCE).tobytes()


def count_evidence(histogram: Counter[int]) -> EvidenceReader:
    """Return what counts the evidence of records."""

    def take(steps: list[int]) -> None:
        histogram.update(steps)
        del histogram[NO_EVIDENCE]

    return EvidenceReader(take)


def write_frames(records: Iterable[Record], chunk_length: int, directory: Path) -> tuple[int, int]:
    """Write chunks.fa, frames.fna and frames.faa by the published frame rule; return counts of chunks and frames."""
    n_chunks = n_frames = 0
    with ExitStack() as stack:
        chunk_file, nucleotides, proteins = (
            stack.enter_context(atomic_writer(directory / name)) for name in FRAME_FILES
        )
        for record in records:
            chunks = list(iter_chunks(record, chunk_length))
            for chunk, frames in zip(chunks, frames_of(chunks, FrameRule("stop_free")), strict=True):
                n_chunks += 1
                n_frames += len(frames)
                chunk_file.write(f">{chunk.id}\n{chunk.sequence.decode('ascii')}\n")
                for frame in frames:
                    nucleotides.write(f">{frame.id}\n{frame.nucleotide.decode('ascii')}\n")
                    proteins.write(f">{frame.id}\n{frame.protein.decode('ascii')}\n")
    return n_chunks, n_frames
