"""Which records, and which of their chunks, a model scores, and why it does not score the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from virnucpro.seq.chunk import iter_chunks
from virnucpro.types import Chunk, Record, Status


@dataclass(frozen=True, slots=True)
class Limits:
    """What a record must be to be scored; the defaults are those of the bundled model.

    `min_length` and `chunk_length` are in nt; `max_ambiguous` is the largest share of letters other than A, C, G,
    T, U in a chunk.
    """

    min_length: int = 75
    chunk_length: int = 500
    max_ambiguous: float = 0.5


def screened_chunks(record: Record, limits: Limits) -> Iterator[tuple[Chunk | None, Status, str]]:
    """Yield every chunk of a record with its status, `ok` if it can be scored, and the reason if it cannot.

    A record that is not cut at all yields one item without a chunk.
    """
    length = len(record.sequence)
    if length == 0:
        yield None, Status.EMPTY, "the record has no sequence"
        return
    if length < limits.min_length:
        yield None, Status.TOO_SHORT, f"{length} nt, needs {limits.min_length}"
        return
    for chunk in iter_chunks(record, limits.chunk_length):
        ambiguous = len(chunk.sequence.translate(None, b"ACGTU")) / len(chunk.sequence)
        if ambiguous > limits.max_ambiguous:
            yield chunk, Status.TOO_AMBIGUOUS, f"{ambiguous:.0%} of the letters are not A, C, G, T or U"
        else:
            yield chunk, Status.OK, ""
