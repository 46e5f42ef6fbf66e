"""The counts of units and runs, which add up."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from virnucpro.pipeline.calls import CallTable
from virnucpro.seq.chunk_table import STATUSES
from virnucpro.seq.strings import Strings
from virnucpro.types import Status


class Counts(Protocol):
    """Counts of units, which add up."""

    def __add__(self, other: Any, /) -> Any: ...


C = TypeVar("C", bound=Counts)
C_co = TypeVar("C_co", bound=Counts, covariant=True)

# The maximum number of ids to compare: 8 bytes are kept of each, 128 MB in all.
MAX_IDS = 1 << 24


@dataclass(slots=True)
class Tally:
    """Records by status, hits, chunks, frames and bases.

    `ambiguous` records have letters other than A, C, G, T and U; `trimmed` ones had a homopolymer at an end.
    Of all `chunks`, `screened_chunks` were screened out.
    """

    status: Counter[str] = field(default_factory=Counter)
    viral: int = 0
    chunks: int = 0
    frames: int = 0
    bases: int = 0
    ambiguous: int = 0
    trimmed: int = 0
    screened_chunks: int = 0

    @classmethod
    def of(cls, calls: CallTable) -> Tally:
        """Count the records of a block."""
        record, letters = calls.record, calls.chunks.letters
        statuses, counts = np.unique(record.status, return_counts=True)
        return cls(
            Counter({str(STATUSES[status]): count for status, count in zip(statuses, counts.tolist(), strict=True)}),
            int(record.is_virus.sum()),
            int(calls.n_chunks.sum()),
            int(record.n_frames.sum()),
            int(calls.block.lengths.sum()),
            int((letters[:, 0] > 0).sum()),
            int((letters[:, 3] > 0).sum()),
            int(calls.n_screened.sum()),
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.status + other.status,
            self.viral + other.viral,
            self.chunks + other.chunks,
            self.frames + other.frames,
            self.bases + other.bases,
            self.ambiguous + other.ambiguous,
            self.trimmed + other.trimmed,
            self.screened_chunks + other.screened_chunks,
        )

    @property
    def records(self) -> int:
        return sum(self.status.values())

    @property
    def screened(self) -> int:
        """The records that were screened out, which are called other."""
        return self.status[Status.SCREENED.value]

    @property
    def other(self) -> int:
        """The records called other."""
        return self.status[Status.OK.value] + self.screened - self.viral

    def to_json(self) -> dict[str, Any]:
        """Return the counts for run.json."""
        return {
            "records": self.records,
            "viral": self.viral,
            "chunks": self.chunks,
            "screened_chunks": self.screened_chunks,
            "frames": self.frames,
            "bases": self.bases,
            "ambiguous": self.ambiguous,
            "trimmed": self.trimmed,
            "status": {str(status): self.status[str(status)] for status in Status},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Tally:
        """Make a tally from the result of `to_json`."""
        # Counts of 0 stay: they name the statuses that the writing version knew.
        status = Counter({str(name): int(count) for name, count in values["status"].items()})
        viral, chunks, frames, bases = (int(values[name]) for name in ("viral", "chunks", "frames", "bases"))
        ambiguous, trimmed = int(values["ambiguous"]), int(values["trimmed"])
        screened = int(values.get("screened_chunks", 0))  # a run of an earlier version
        return cls(status, viral, chunks, frames, bases, ambiguous, trimmed, screened)


@dataclass(frozen=True, slots=True)
class EmbedTally:
    """The number of embedded sequences, and of those embedded in windows."""

    sequences: int = 0
    windowed: int = 0

    def __add__(self, other: EmbedTally) -> EmbedTally:
        return EmbedTally(self.sequences + other.sequences, self.windowed + other.windowed)


def hashes(texts: Strings) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each string, (N,): the sum of its bytes, each mixed with its position, mixed again."""
    places = np.arange(len(texts.data)) - np.repeat(texts.starts[:-1], texts.lengths)
    mixed = _mix(texts.data + (places.astype(np.uint64) << np.uint64(8)))
    sums = np.zeros(len(texts.data) + 1, np.uint64)
    np.cumsum(mixed, out=sums[1:])  # modulo 2 ** 64
    return _mix(sums[texts.starts[1:]] - sums[texts.starts[:-1]] + texts.lengths.astype(np.uint64))


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix the bits of each number (Steele et al. 2014, the finaliser of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


class RepeatedIds:
    """Counts records that repeat an earlier id, among the first `MAX_IDS`, by a 64-bit hash of the id."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, ids: Strings) -> None:
        """Add the ids of some records."""
        if len(self._hashes) < MAX_IDS:
            self._hashes.frombytes(hashes(ids).tobytes())

    def count(self) -> int:
        """Return the number of repetitions so far."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        hashes.sort()  # in place, because a copy of 10 million would take a third of the run's memory
        return int(np.count_nonzero(hashes[1:] == hashes[:-1]))
