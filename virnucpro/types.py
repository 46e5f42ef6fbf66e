"""The frozen types that travel between stages. Nothing here imports torch.

Record -> Chunk -> Frame -> EmbeddingBatch -> Prediction -> Call; lengths are in nucleotides (nt)
unless the name says amino acids (aa).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported by commands that need no numpy
    import numpy as np
    import numpy.typing as npt


class Status(str, Enum):
    """Why a record, a chunk or a call has a score, or has none."""

    OK = "ok"
    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_AMBIGUOUS = "too_ambiguous"
    LOW_COMPLEXITY = "low_complexity"
    NO_FRAME = "no_frame"
    FAILED = "failed"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Record:
    """One FASTA or FASTQ entry, or a pair of them, which is called as one.

    `id` is the header up to the first white space, as given; `description` is the rest of the header;
    `sequence` is upper-case ASCII; `source` names the file; `index` counts records from 0 over all
    input files, and tells apart records that share an id. `quality` is that of FASTQ as it stands there, empty of
    FASTA; it decides nothing and is only handed on. A pair has no sequence of its own but two `mates`; its `id` is
    what theirs have in common.
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
        """The entries that it is made of: itself, or its mates."""
        return self.mates or (self,)

    @property
    def length(self) -> int:
        """Nucleotides of all its parts."""
        return sum(len(part.sequence) for part in self.parts)

    def __reduce__(self) -> tuple[type[Record], tuple[Any, ...]]:
        # Several times as fast to send to another process as by the fields' names.
        return Record, (self.id, self.sequence, self.source, self.index, self.description, self.quality, self.mates)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A window of a record: `index` counts from 1, `start` is 0-based in the record.

    `sequence` is what is read of it; `skipped` letters of the window are not in it (runs of N).
    """

    record_id: str
    index: int
    start: int
    sequence: bytes
    skipped: int = 0

    @property
    def end(self) -> int:
        """Where the window ends in the record, half-open."""
        return self.start + len(self.sequence) + self.skipped

    @property
    def id(self) -> str:
        return f"{self.record_id}_chunk_{self.index}"


@dataclass(frozen=True, slots=True)
class Frame:
    """One of the six reading frames of a chunk, with what it gives to the two encoders.

    `strand` is +1 or -1, `offset` 0, 1 or 2 nt from the 5' end of that strand; `nucleotide` is read on
    that strand; `protein` is its translation (or the part of it that the frame rule keeps).
    """

    chunk_id: str
    strand: int
    offset: int
    nucleotide: bytes
    protein: bytes

    @property
    def id(self) -> str:
        """Chunk id with F1..F3 or R1..R3 appended, with no separator, as the published tool does."""
        return f"{self.chunk_id}{'F' if self.strand > 0 else 'R'}{self.offset + 1}"


@dataclass(frozen=True, slots=True)
class EmbeddingBatch:
    """Pooled vectors on the host: `vectors` is float32 of shape (N, D), row i belongs to `sequence_ids[i]`."""

    sequence_ids: tuple[str, ...]
    vectors: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores of one frame; they sum to 1. `weight` is the frame's share in its chunk's call.

    Of the frame it keeps the place (`strand`, `offset`) and the protein's length, not the sequences.
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

    `log_ratio` is the natural logarithm of P(what was seen | virus) / P(what was seen | host), None of a model that is
    not calibrated; `virus_score` is the probability that follows from it at the prevalence of the run. `fdr` is the
    share of others expected among the records with as much evidence or more, None before all records are called.
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

    @property
    def seq_name(self) -> str:
        """The id, by the name of its column in records.tsv."""
        return self.id

    @property
    def prediction(self) -> str | None:
        """The call as records.tsv has it: virus or other; None without a score."""
        return None if self.is_virus is None else "virus" if self.is_virus else "other"


@dataclass(frozen=True, slots=True)
class Letters:
    """What was done to the letters of a record.

    It had `ambiguous` letters other than A, C, G, T and U. Of these, `resolved` lay within pieces and were filled or
    left out. It was cut at `gaps` runs of them, and `trimmed` nt of homopolymer were taken from ends.
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
        """Return in words what was done, "" if nothing was."""
        parts = [
            f"{self.resolved} ambiguous letter{'s' * (self.resolved > 1)} filled or left out" if self.resolved else "",
            f"cut at {self.gaps} run{'s' * (self.gaps > 1)} of N" if self.gaps else "",
            f"{self.trimmed} nt of homopolymer trimmed" if self.trimmed else "",
        ]
        return "; ".join(part for part in parts if part)


NO_LETTERS = Letters()


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """A chunk's place in its record (0-based, half-open, nt), its call, and the predictions of its frames.

    The `length` of the call is that of what was read, without runs of N.
    """

    start: int
    end: int
    call: Call
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class RecordResult:
    """A record, its call, its chunks, and what was done to its letters; without `chunks` it was not scored."""

    record: Record
    call: Call
    chunks: tuple[ChunkResult, ...]
    letters: Letters = NO_LETTERS
