"""The frozen types that travel between stages. Nothing here imports torch.

Lengths are in nucleotides (nt) unless the name says amino acids (aa).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # commands without numpy import this module
    import numpy as np
    import numpy.typing as npt


# The highest `fdr` of a virus of each confidence, and the words in order.
CONFIDENCE = {"high": 0.05, "medium": 0.2, "low": 1.0}


class Status(str, Enum):
    """Why a record, a chunk or a call has a score, or has none."""

    OK = "ok"
    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_AMBIGUOUS = "too_ambiguous"
    LOW_COMPLEXITY = "low_complexity"
    NO_FRAME = "no_frame"
    SCREENED = "screened"
    FAILED = "failed"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Record:
    """One FASTA or FASTQ entry, or a pair of them with one call.

    `id` is the header up to the first white space, unchanged; `description` is the rest of the header; `sequence` is
    upper-case ASCII; `source` names the file; `index` counts records from 0 over all input files and distinguishes
    records with the same id. `quality` is the quality line of FASTQ, empty for FASTA; it does not affect calls and is
    only passed on. A pair has no sequence but two `mates`; its `id` is the common part of their ids.
    """

    id: str
    sequence: bytes
    source: str = "-"
    index: int = 0
    description: str = ""
    quality: bytes = field(default=b"", compare=False, repr=False)
    mates: tuple[Record, ...] = ()

    @property
    def parts(self) -> tuple[Record, ...]:
        """The entries of the record: itself, or its mates."""
        return self.mates or (self,)

    @property
    def length(self) -> int:
        """The nucleotides of all parts."""
        return sum(len(part.sequence) for part in self.parts)

    def __reduce__(self) -> tuple[type[Record], tuple[Any, ...]]:
        # Pickling by position is several times as fast as by field names.
        return Record, (self.id, self.sequence, self.source, self.index, self.description, self.quality, self.mates)


@dataclass(frozen=True, slots=True)
class EmbeddingBatch:
    """Pooled vectors on the host: `vectors` is (N, D) float32; row i belongs to `sequence_ids[i]`."""

    sequence_ids: tuple[str, ...]
    vectors: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores of one frame; they sum to 1. `weight` is the frame's share in its chunk's call.

    It keeps the frame's `strand`, `offset` and protein length, but not its sequences.
    """

    frame_id: str
    strand: int
    offset: int
    aa_length: int
    score_other: float
    score_virus: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """The decision on a chunk or a record. Without a score, `status` and `reason` say why.

    `is_virus` is None without a score, but False with the status `screened`: a screen has judged it no virus.

    `log_ratio` is the natural logarithm of P(data | virus) / P(data | host), None without a calibration; `virus_score`
    is the probability of virus that it gives at the prevalence of the run.
    `host_class` is the most likely host class if it is no virus, None if the model knows only one.
    `sample_score` is the probability of virus in this sample, and `fdr` the expected share of others among the records
    with at least this evidence; both are None before all records are called.
    """

    id: str
    length: int
    is_virus: bool | None
    virus_score: float | None
    n_chunks: int
    n_frames: int
    best_frame: str | None
    status: Status
    reason: str = ""
    log_ratio: float | None = None
    fdr: float | None = None
    sample_score: float | None = None
    host_class: str | None = None

    @property
    def seq_name(self) -> str:
        """The id, by the name of its column in records.tsv."""
        return self.id

    @property
    def prediction(self) -> str | None:
        """The call as records.tsv has it: virus or other; None without a score."""
        return None if self.is_virus is None else "virus" if self.is_virus else "other"

    @property
    def confidence(self) -> str | None:
        """The confidence of a virus by its `fdr`: high (at most 0.05), medium (0.2) or low; None if it has none."""
        if not self.is_virus or self.fdr is None:
            return None
        return next(name for name, limit in CONFIDENCE.items() if round(self.fdr, 4) <= limit)


@dataclass(frozen=True, slots=True)
class Letters:
    """Counts of the letters of a record that were ambiguous or changed.

    `ambiguous` letters are not A, C, G, T or U. Of these, `resolved` are inside pieces and were filled or left out. The
    record was cut at `gaps` runs of them, and `trimmed` nt of homopolymer were removed from ends.
    """

    ambiguous: int = 0
    resolved: int = 0
    gaps: int = 0
    trimmed: int = 0

    def __add__(self, other: Letters) -> Letters:
        return Letters(
            self.ambiguous + other.ambiguous,
            self.resolved + other.resolved,
            self.gaps + other.gaps,
            self.trimmed + other.trimmed,
        )

    def describe(self) -> str:
        """Return the changes in words, "" if there are none."""
        parts = [
            f"{self.resolved} ambiguous letter{'s' * (self.resolved > 1)} filled or left out" if self.resolved else "",
            f"cut at {self.gaps} run{'s' * (self.gaps > 1)} of N" if self.gaps else "",
            f"{self.trimmed} nt of homopolymer trimmed" if self.trimmed else "",
        ]
        return "; ".join(part for part in parts if part)


NO_LETTERS = Letters()


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """A chunk's position in its record (0-based, half-open, nt), its call, and the predictions of its frames.

    The `length` of the call counts the letters that were read, without runs of N.
    """

    start: int
    end: int
    call: Call
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class RecordResult:
    """A record with its call, its chunks and the changes of its letters; a record without `chunks` was not scored."""

    record: Record
    call: Call
    chunks: tuple[ChunkResult, ...]
    letters: Letters = NO_LETTERS
