"""The files of a run. A file appears whole or not at all: it is written under a temporary name and renamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import IO

import numpy as np
import numpy.typing as npt

from virnucpro.scores.composition import Composition

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
# The evidence of a record in a unit, in steps of 0.01; what a record without any has in its place.
EVIDENCE = np.dtype("<i2")
NO_EVIDENCE = -(1 << 15)
Evidence = npt.NDArray[np.int16]
# Stands for the `fdr` of a record with evidence until all of a run is known; a false discovery rate takes its place.
BLANK_FDR = b"0.0000"


class FdrFiller:
    """Writes rows of records.tsv on to a table, with the `fdr` of each that follows from its evidence.

    A unit has its evidence before its rows: `evidence.write` and `write` take the bytes of either in any pieces. Rows
    with evidence have `BLANK_FDR` where `fdr` is to stand.
    """

    def __init__(self, table: IO[bytes], composition: Composition) -> None:
        self._table, self._rest = table, b""
        largest = max(composition.fdr, default=0)
        least = min(composition.fdr, default=0)
        self._least = least
        self._text = np.zeros((largest - least + 1, len(BLANK_FDR)), np.uint8)  # of each step of evidence
        for step, fdr in composition.fdr.items():
            self._text[step - least] = list(b"%.4f" % fdr)
        self._evidence: list[Evidence] = []
        self.evidence = EvidenceReader(self._evidence.append)

    def write(self, data: bytes) -> None:
        """Take the next bytes of rows."""
        whole, mark, self._rest = (self._rest + data).rpartition(b"\n")
        if not mark:
            return
        text = np.frombuffer(whole + mark, np.uint8).copy()
        ends = np.flatnonzero(text == mark[0])
        evidence = self._next(len(ends))
        known = np.flatnonzero(evidence != NO_EVIDENCE)
        tabs = np.flatnonzero(text == ord("\t")).reshape(len(ends), -1)
        places = tabs[known, _FDR - 1, None] + 1 + np.arange(len(BLANK_FDR))
        text[places] = self._text[evidence[known].astype(np.int64) - self._least]
        self._table.write(text.data)

    def _next(self, number: int) -> Evidence:
        """Take the evidence of the next records."""
        evidence = np.concatenate(self._evidence)
        self._evidence[:] = [evidence[number:]]
        return evidence[:number]


class EvidenceReader:
    """Takes the bytes of the evidence of records in any pieces and hands it on as arrays of steps."""

    def __init__(self, take: Callable[[Evidence], object]) -> None:
        self._take, self._rest = take, b""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        data = self._rest + data
        whole = len(data) - len(data) % EVIDENCE.itemsize
        self._rest = data[whole:]
        self._take(np.frombuffer(data[:whole], EVIDENCE))


def count_evidence(histogram: Counter[int]) -> EvidenceReader:
    """Return what counts the evidence of records."""

    def take(steps: Evidence) -> None:
        known, numbers = np.unique(steps[steps != NO_EVIDENCE], return_counts=True)
        histogram.update(dict(zip(known.tolist(), numbers.tolist(), strict=True)))

    return EvidenceReader(take)
