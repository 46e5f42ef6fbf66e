"""CallTable: the scores and calls of a block's frames, chunks and records, as flat arrays. No torch here.

F frames of C chunks of R records, K classes. A missing score or log ratio is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from virnucpro.pipeline.aggregate import margins_of, softmax, vote_max, vote_weighted
from virnucpro.pipeline.frame_tokens import FrameScores
from virnucpro.scores.calibration import Floats
from virnucpro.scores.decision import Decision
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import STATUSES, ChunkTable
from virnucpro.seq.frame_table import FrameTable
from virnucpro.seq.screen import Limits
from virnucpro.types import Call, ChunkResult, Letters, Prediction, Record, RecordResult, Status

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

FRAME_NAMES = ("F1", "F2", "F3", "R1", "R2", "R3")
OK = STATUSES.index(Status.OK)
NO_FRAME = STATUSES.index(Status.NO_FRAME)
SCREENED = STATUSES.index(Status.SCREENED)
FAILED = STATUSES.index(Status.FAILED)
NO_FRAME_REASON = "none of the six reading frames is free of stop codons"


@dataclass(frozen=True, slots=True, eq=False)
class FrameCalls:
    """F frames in order: row of the chunk, column (F1 F2 F3 R1 R2 R3), protein length, scores and weight of each.

    `scores` is (F, 2), other and virus; `weight` (F,) is the frame's share in its chunk's call. Before the vote they
    hold the classifier's output: values (F, K) and gates (F,).
    """

    chunk: Ints
    column: npt.NDArray[np.int8]
    aa_length: Ints
    scores: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.chunk)

    @classmethod
    def of(cls, frames: FrameTable, rows: Ints, scores: FrameScores) -> FrameCalls:
        """Return frames with the classifier's output; `rows` are the rows of their chunks in the block."""
        return cls(rows[frames.chunk], frames.column, frames.proteins.lengths, scores.values, scores.gates)

    @classmethod
    def concat(cls, parts: Sequence[FrameCalls]) -> FrameCalls:
        """Return the frames of all parts."""
        if len(parts) == 1:
            return parts[0]
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0))
        several = parts or [none]
        return cls(
            np.concatenate([part.chunk for part in several]),
            np.concatenate([part.column for part in several]),
            np.concatenate([part.aa_length for part in several]),
            np.concatenate([part.scores for part in several]),
            np.concatenate([part.weight for part in several]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """N chunks or records: score, log likelihood ratios (NaN without a calibration), and whether it is called virus.

    `log_ratio` is that against the default mixture of hosts, `ratios` (N, H) are those against each host class (H is 0
    without a calibration).

    `n_frames` counts frames; `best_frame` is the row of the best one, -1 without a frame; `status` is an index into
    `STATUSES`.
    """

    score: Floats
    log_ratio: Floats
    ratios: Floats
    is_virus: Flags
    n_frames: Ints
    best_frame: Ints
    status: Small

    @property
    def is_called(self) -> Flags:
        """Which ones are called virus or other, (N,): those with a score, and those that a screen judged no virus."""
        return np.asarray(~np.isnan(self.score) | (self.status == SCREENED))


@dataclass(frozen=True, slots=True, eq=False)
class CallTable:
    """The calls of a block.

    `n_chunks`, `n_scored` and `n_screened` (R,) count the chunks of each record, its chunks with a score, and those
    that were screened out. `judged_length` (R,) is the length, nt, for which the decision has a threshold. `sums`
    (C, S) are the numbers of 9-mers of each chunk, see `KmerFilter.sums`; S is 0 without a filter. `failed` says why
    the model failed on all records of the block, "" if it did not.
    """

    block: RecordBlock
    chunks: ChunkTable
    frame: FrameCalls
    chunk: Verdicts
    record: Verdicts
    n_chunks: Ints
    n_scored: Ints
    n_screened: Ints
    judged_length: Ints
    sums: Floats
    failed: str = ""

    def record_reason(self, row: int) -> str:
        """Return why a record has no score, or which parts were left out or changed; "" if neither."""
        if self.failed:
            return self.failed
        if not self.n_chunks[row]:
            return self.chunks.record_reason(row)
        n_chunks, screened = self.n_chunks[row], self.n_screened[row]
        if not self.n_scored[row] and (n_chunks == 1 or not screened):
            return self.chunk_reason(int(np.searchsorted(self.chunks.record, row)))
        unscored = n_chunks - self.n_scored[row] - screened
        out = f"{screened} of {n_chunks} chunks were screened out" if screened else ""
        left_out = f"{unscored} of {n_chunks} chunks have no score" if unscored else ""
        return "; ".join(filter(None, (out, left_out, self.letters(row).describe())))

    @property
    def has_reason(self) -> Flags:
        """Which records have a `record_reason`, (R,)."""
        changed = self.chunks.letters[:, 1:].any(axis=1)
        flags: Flags = (self.record.status != OK) | (self.n_chunks != self.n_scored) | changed
        return flags

    def chunk_reason(self, row: int) -> str:
        """Return why a chunk has no score, "" if it has one."""
        return NO_FRAME_REASON if self.chunk.status[row] == NO_FRAME else self.chunks.reason(row)

    def letters(self, row: int) -> Letters:
        """Return how many letters of a record were ambiguous, left out, filled or trimmed."""
        return Letters(*self.chunks.letters[row].tolist())

    def results(self, records: Iterable[Record] | None = None) -> Iterator[RecordResult]:
        """Yield the records with their calls as objects; pass the block's `records` if they exist as objects."""
        chunk_ends = np.cumsum(self.n_chunks).tolist()
        frame_starts = np.searchsorted(self.frame.chunk, np.arange(len(self.chunks) + 1)).tolist()
        begin = 0
        for row, (record, end) in enumerate(zip(records or self.block.records(), chunk_ends, strict=True)):
            ids = [f"{record.id}_chunk_{index}" for index in self.chunks.index[begin:end].tolist()]
            frames = {
                chunk: self._predictions(name, frame_starts[chunk], frame_starts[chunk + 1])
                for chunk, name in zip(range(begin, end), ids, strict=True)
            }
            own = tuple(self._chunk_result(chunk, ids[chunk - begin], frames[chunk]) for chunk in range(begin, end))
            best = int(self.record.best_frame[row])
            best_id = None if best < 0 else self._frame_id(ids[int(self.frame.chunk[best]) - begin], best)
            call = self._call(self.record, row, record.id, record.length, end - begin, best_id, self.record_reason(row))
            yield RecordResult(record, call, own, self.letters(row))
            begin = end

    def calls(self) -> Iterator[Call]:
        """Yield the call of each record as an object."""
        names = (name.decode(errors="surrogateescape") for name in self.block.ids)
        columns = self.block.lengths, self.n_chunks, self.record.best_frame, self.has_reason
        for row, (name, length, n_chunks, best, has_reason) in enumerate(
            zip(names, *(column.tolist() for column in columns), strict=True)
        ):
            chunk_id = "" if best < 0 else f"{name}_chunk_{self.chunks.index[self.frame.chunk[best]]}"
            best_id = None if best < 0 else self._frame_id(chunk_id, best)
            reason = self.record_reason(row) if has_reason else ""
            yield self._call(self.record, row, name, length, n_chunks, best_id, reason)

    def _frame_id(self, chunk_id: str, row: int) -> str:
        return chunk_id + FRAME_NAMES[self.frame.column[row]]

    def _predictions(self, chunk_id: str, begin: int, end: int) -> tuple[Prediction, ...]:
        frame = self.frame
        return tuple(
            Prediction(
                self._frame_id(chunk_id, row),
                1 if frame.column[row] < 3 else -1,
                int(frame.column[row]) % 3,
                int(frame.aa_length[row]),
                float(frame.scores[row, 0]),
                float(frame.scores[row, 1]),
                float(frame.weight[row]),
            )
            for row in range(begin, end)
        )

    def _chunk_result(self, row: int, chunk_id: str, predictions: tuple[Prediction, ...]) -> ChunkResult:
        best = int(self.chunk.best_frame[row])
        best_id = None if best < 0 else self._frame_id(chunk_id, best)
        length = int(self.chunks.length[row])
        call = self._call(self.chunk, row, chunk_id, length, 1, best_id, self.chunk_reason(row))
        return ChunkResult(int(self.chunks.start[row]), int(self.chunks.end[row]), call, predictions)

    @staticmethod
    def _call(of: Verdicts, row: int, name: str, length: int, n_chunks: int, best: str | None, reason: str) -> Call:
        scored, called = not np.isnan(of.score[row]), of.is_called[row]
        log_ratio = None if np.isnan(of.log_ratio[row]) else float(of.log_ratio[row])
        return Call(
            name, length, bool(of.is_virus[row]) if called else None, float(of.score[row]) if scored else None,
            n_chunks, int(of.n_frames[row]), best, STATUSES[of.status[row]], reason, log_ratio,
        )  # fmt: skip


def call_chunks(
    chunks: ChunkTable, given: FrameCalls, vote: str, decision: Decision, sums: Floats
) -> tuple[FrameCalls, Verdicts]:
    """Combine the frames of each chunk; return the frames with scores and weights, and the verdicts of the chunks.

    Args:
        chunks: C chunks.
        given: their frames, with values (F, K) and gates (F,) of the classifier.
        vote: max or weighted, see `pipeline.aggregate`.
        decision: how the run decides.
        sums: the numbers of 9-mers of each chunk, (C, S).
    """
    n = len(chunks)
    n_frames = np.bincount(given.chunk, minlength=n)
    score, log_ratio, best = np.full(n, np.nan), np.full(n, np.nan), np.full(n, -1)
    ratios = np.full((n, decision.n_hosts), np.nan)
    if len(given):
        voted = np.flatnonzero(n_frames)
        if vote == "max":
            scores, (votes, weights) = given.scores, vote_max(given.scores, given.chunk)
        else:
            margins = margins_of(given.scores[:, -1:] - given.scores[:, :-1])  # (F,)
            scores = softmax(np.stack((np.zeros_like(margins), margins), axis=1))
            differences, weights = vote_weighted(given.scores, given.weight, given.chunk)
            if decision.calibration:
                ratios[voted] = decision.calibration.ratios(differences, chunks.length[voted], sums[voted])
                votes = log_ratio[voted] = decision.log_ratios(ratios[voted])
            else:
                votes = margins_of(differences)
            votes = decision.scores(votes)
        score[voted] = votes
        given = replace(given, scores=scores, weight=weights)
        best[voted] = _first_greatest(weights * scores[:, 1], n_frames[voted])
    is_virus = decision.are_virus(score, log_ratio, chunks.length)
    status = np.where((chunks.status == OK) & (n_frames == 0), np.uint8(NO_FRAME), chunks.status)
    return given, Verdicts(score, log_ratio, ratios, is_virus, n_frames, best, status)


def call_records(
    block: RecordBlock, chunks: ChunkTable, frame: FrameCalls, chunk: Verdicts, decision: Decision, sums: Floats
) -> CallTable:
    """Combine the chunks of each record: pool their evidence (`Calibration.pool`) and compute the score from it.

    Without evidence, the score is the mean of the chunks' scores, weighted by chunk length; chunks that were screened
    out count as scores of 0. A record without a scored chunk is screened out if one of its chunks is; otherwise it gets
    the status of its first chunk. The decision counts the length of scored chunks only: a long record with
    one scored chunk needs as much evidence as a short record.
    """
    n = len(block)
    n_chunks = np.bincount(chunks.record, minlength=n)
    n_frames = np.bincount(chunks.record, weights=chunk.n_frames, minlength=n).astype(np.int64)
    score, log_ratio, best = np.full(n, np.nan), np.full(n, np.nan), np.full(n, -1)
    ratios = np.full((n, decision.n_hosts), np.nan)
    status = chunks.record_status.copy()
    first = np.flatnonzero(n_chunks)
    status[first] = chunk.status[(np.cumsum(n_chunks) - n_chunks)[first]]
    out = np.flatnonzero(chunk.status == SCREENED)
    n_screened = np.bincount(chunks.record[out], minlength=n)
    out_length = np.bincount(chunks.record[out], weights=chunks.length[out], minlength=n)
    status[n_screened > 0] = SCREENED
    scored = np.flatnonzero(~np.isnan(chunk.score))
    n_scored = np.bincount(chunks.record[scored], minlength=n)
    length = np.zeros(n, np.int64)
    if len(scored):
        rows = np.flatnonzero(n_scored)
        counts = n_scored[rows]
        starts = np.cumsum(counts) - counts
        lengths, scores = chunks.length[scored], chunk.score[scored]
        status[rows] = OK
        length[rows] = np.add.reduceat(lengths, starts)
        best[rows] = chunk.best_frame[scored[_first_greatest(scores, counts)]]
        if decision.calibration:
            ratios[rows] = decision.calibration.pool(chunk.ratios[scored], lengths, starts)
            log_ratio[rows] = decision.log_ratios(ratios[rows])
            score[rows] = decision.scores(log_ratio[rows])
        else:
            score[rows] = np.add.reduceat(scores * lengths, starts) / (length[rows] + out_length[rows])
            alone = (counts == 1) & (n_screened[rows] == 0)
            score[rows[alone]] = scores[starts[alone]]
    length = np.minimum(block.lengths, length)  # chunks may overlap
    is_virus = decision.are_virus(score, log_ratio, length)
    record = Verdicts(score, log_ratio, ratios, is_virus, n_frames, best, status)
    return CallTable(block, chunks, frame, chunk, record, n_chunks, n_scored, n_screened, length, sums)


def _first_greatest(values: Floats, counts: Ints) -> Ints:
    """Return the index of the greatest value, the first of equal ones, in each consecutive group of `counts` values."""
    starts = np.cumsum(counts) - counts
    is_greatest = values == np.repeat(np.maximum.reduceat(values, starts), counts)
    places = np.where(is_greatest, np.arange(len(values)), len(values))
    found: Ints = np.minimum.reduceat(places, starts)
    return found


def failed_calls(block: RecordBlock, reason: str, n_hosts: int) -> CallTable:
    """Return calls without scores for records on which a model with a decision of `n_hosts` failed."""
    n = len(block)
    nothing, none, zeros = np.full(n, np.nan), np.zeros(0, np.int64), np.zeros(n, np.int64)
    chunks = ChunkTable(
        Limits(), none, none, none, none, none, none, none.astype(np.uint8), none.astype(float), none.astype(bool),
        none.astype(bool), np.full(n, FAILED, np.uint8), zeros, np.zeros((n, 4), np.int64),
    )  # fmt: skip
    no_chunks = Verdicts(
        none.astype(float), none.astype(float), np.zeros((0, n_hosts)), none.astype(bool), none, none,
        none.astype(np.uint8),
    )  # fmt: skip
    ratios = np.full((n, n_hosts), np.nan)
    record = Verdicts(nothing, nothing, ratios, np.zeros(n, bool), zeros, zeros - 1, np.full(n, FAILED, np.uint8))
    return CallTable(
        block, chunks, FrameCalls.concat([]), no_chunks, record, zeros, zeros, zeros, zeros, np.zeros((0, 0)), reason
    )
