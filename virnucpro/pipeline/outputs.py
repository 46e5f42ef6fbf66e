"""The files of a run. A file appears whole or not at all: it is written under a temporary name and renamed."""

from __future__ import annotations

import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from virnucpro.config import FrameRule
from virnucpro.errors import OutputError
from virnucpro.seq import frames_of, iter_chunks
from virnucpro.types import Call, Record, Status

if TYPE_CHECKING:  # it imports torch, which `virnucpro frames` does without
    from virnucpro.pipeline.predict import RecordResult

RECORD_COLUMNS = (
    "seq_name", "length", "n_chunks", "n_frames", "prediction", "virus_score", "best_frame", "status", "reason",
)  # fmt: skip
CHUNK_COLUMNS = (
    "chunk", "seq_name", "start", "end", "n_frames", "prediction", "virus_score", "best_frame", "status", "reason",
)  # fmt: skip
FRAME_COLUMNS = (
    "frame", "chunk", "strand", "offset", "aa_length", "score_other", "score_virus", "weight",
)  # fmt: skip
FASTA_WIDTH = 60


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path that is renamed to `path` when the block ends well, and removed when it does not.

    Raises:
        OutputError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; choose another --output") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_writer(path: Path) -> Iterator[TextIO]:
    """Open a text file by `atomic_path`."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file,
    ):
        yield file


def prepare_directory(directory: Path, restart: bool) -> None:
    """Make the output directory; one that has files in it is taken only with `restart`.

    What is in it stays until it is replaced, file by file: it may hold the input.

    Raises:
        OutputError: it holds files and `restart` is not set, or it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()) and not restart:
            raise OutputError(f"{directory} is not empty; use --restart to replace what is there, or another --output")
    except OSError as error:
        raise OutputError(f"{directory} cannot be used: {error.strerror}; choose another --output") from error


def _row(values: Iterable[object]) -> str:
    return "\t".join("NA" if value is None else str(value) for value in values) + "\n"


def _score(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _prediction(call: Call) -> str | None:
    return None if call.is_virus is None else ("virus" if call.is_virus else "other")


def record_row(call: Call) -> str:
    """Return a line of records.tsv."""
    verdict = (_prediction(call), _score(call.virus_score), call.best_frame, call.status, call.reason or None)
    return _row((call.id, call.length, call.n_chunks, call.n_frames, *verdict))


def write_fasta(file: TextIO, record: Record) -> None:
    """Write a record with its header as it was, the sequence upper-case in lines of 60."""
    file.write(f">{record.id} {record.description}".rstrip(" ") + "\n")
    sequence = record.sequence.decode("ascii")
    for begin in range(0, len(sequence), FASTA_WIDTH):
        file.write(sequence[begin : begin + FASTA_WIDTH] + "\n")


def _chunk_rows(result: RecordResult) -> Iterator[str]:
    for chunk in result.chunks:
        call = chunk.call
        verdict = (_prediction(call), _score(call.virus_score), call.best_frame, call.status, call.reason or None)
        yield _row((call.id, result.call.id, chunk.start, chunk.start + call.length, call.n_frames, *verdict))


def _frame_rows(result: RecordResult) -> Iterator[str]:
    for chunk in result.chunks:
        for frame, p in zip(chunk.frames, chunk.predictions, strict=True):
            scores = (f"{p.score_other:.4f}", f"{p.score_virus:.4f}", f"{p.weight:.4f}")
            strand = "+" if frame.strand > 0 else "-"
            yield _row((frame.id, frame.chunk_id, strand, frame.offset, len(frame.protein), *scores))


class Tally:
    """Counts of a run: records by status, hits, chunks, frames, bases, and ids seen more than once."""

    def __init__(self) -> None:
        self.status: Counter[Status] = Counter()
        self.viral = self.chunks = self.frames = self.bases = self.duplicates = 0
        self._seen: set[int] = set()

    def add(self, result: RecordResult) -> None:
        """Count one record."""
        call = result.call
        self.status[call.status] += 1
        self.viral += bool(call.is_virus)
        self.chunks += call.n_chunks
        self.frames += call.n_frames
        self.bases += call.length
        name = hash(call.id)  # 8 bytes an id, not the id
        self.duplicates += name in self._seen
        self._seen.add(name)

    @property
    def records(self) -> int:
        return sum(self.status.values())

    def to_json(self) -> dict[str, Any]:
        """Return the counts as they stand in run.json."""
        return {
            "records": self.records,
            "viral": self.viral,
            "chunks": self.chunks,
            "frames": self.frames,
            "bases": self.bases,
            "records_with_a_repeated_id": self.duplicates,
            "status": {str(status): self.status[status] for status in Status},
        }


def write_run(results: Iterable[RecordResult], directory: Path) -> Iterator[RecordResult]:
    """Write records.tsv, chunks.tsv, frames.tsv and viral.fasta while passing the results on.

    The files appear when the last result has been taken.
    """
    names = ("records.tsv", "chunks.tsv", "frames.tsv", "viral.fasta")
    with ExitStack() as stack:
        records, chunks, frames, viral = (stack.enter_context(atomic_writer(directory / name)) for name in names)
        for file, columns in ((records, RECORD_COLUMNS), (chunks, CHUNK_COLUMNS), (frames, FRAME_COLUMNS)):
            file.write(_row(columns))
        for result in results:
            records.write(record_row(result.call))
            chunks.writelines(_chunk_rows(result))
            frames.writelines(_frame_rows(result))
            if result.call.is_virus:
                write_fasta(viral, result.record)
            yield result


def write_records_to_stdout(results: Iterable[RecordResult]) -> Iterator[RecordResult]:
    """Write records.tsv to standard output while passing the results on."""
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", "surrogateescape", newline="\n", write_through=True)
    try:
        out.write(_row(RECORD_COLUMNS))
        for result in results:
            out.write(record_row(result.call))
            yield result
    finally:
        out.detach()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    with atomic_writer(path) as file:
        file.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def write_frames(records: Iterable[Record], chunk_length: int, directory: Path) -> tuple[int, int]:
    """Write chunks.fa, frames.fna and frames.faa by the published frame rule; return counts of chunks and frames."""
    n_chunks = n_frames = 0
    with ExitStack() as stack:
        names = ("chunks.fa", "frames.fna", "frames.faa")
        chunk_file, nucleotides, proteins = (stack.enter_context(atomic_writer(directory / name)) for name in names)
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
