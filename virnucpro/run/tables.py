"""The files of a run. A file appears whole or not at all: it is written under a temporary name and renamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from virnucpro.config import FrameRule
from virnucpro.files import atomic_writer
from virnucpro.scores.composition import Composition
from virnucpro.seq import frames_of, iter_chunks
from virnucpro.types import Record

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
_FDR = RECORD_COLUMNS.index("fdr")


class _Rows:
    """A file to write to that takes bytes in any pieces and hands on whole lines, divided at the tabs."""

    def __init__(self, take: Callable[[list[bytes]], object]) -> None:
        self._take, self._rest = take, b""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.split(b"\t"))


def count_evidence(histogram: Counter[int]) -> _Rows:
    """Return what counts the evidence in rows of records.tsv, which stands where `fdr` is to stand."""

    def take(fields: list[bytes]) -> None:
        if fields[_FDR] != b"NA":
            histogram[int(fields[_FDR])] += 1

    return _Rows(take)


def fill_fdr(table: IO[bytes], composition: Composition) -> _Rows:
    """Return what writes rows of records.tsv on to `table`, with `fdr` in place of the evidence."""
    text = {b"%d" % step: b"%.4f" % fdr for step, fdr in composition.fdr.items()} | {b"NA": b"NA"}

    def take(fields: list[bytes]) -> None:
        fields[_FDR] = text[fields[_FDR]]
        table.write(b"\t".join(fields) + b"\n")

    return _Rows(take)


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
