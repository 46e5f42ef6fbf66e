"""From frames with their scores to calls by plain loops over objects: what the array code must give."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import specification
from specified_letters import ambiguous, pieces_of
from specified_types import Chunk, Frame

from virnucpro.config import FrameRule
from virnucpro.scores.calibration import Calibration, Knot
from virnucpro.scores.decision import Decision
from virnucpro.seq import Limits
from virnucpro.types import Call, ChunkResult, Letters, Prediction, Record, RecordResult, Status


@dataclass
class Caller:
    """What calls follow from; `score` gives the values (K) and the gate of a frame.

    `evidence` gets the log likelihood ratio against each host class and the judged length of each record called.
    """

    limits: Limits
    rule: FrameRule
    vote: str
    decision: Decision
    score: Callable[[Frame], tuple[list[float], float]]
    evidence: list[tuple[list[float] | None, int]] = field(default_factory=list)

    def call(self, record: Record) -> RecordResult:
        found = list(specification.screened_chunks(record, self.limits))
        judged = [self.call_chunk(*one) for one in found if one[0]]
        chunks = tuple(chunk for chunk, _ in judged)
        letters = letters_of(record, self.limits.pieces)
        n_frames, scored = sum(c.call.n_frames for c in chunks), [c.call for c in chunks if c.call.status is Status.OK]
        size = len(chunks), n_frames
        if not scored:
            status, reason = (chunks[0].call.status, chunks[0].call.reason) if chunks else found[0][1:]
            self.evidence.append((None, 0))
            return RecordResult(record, no_call(record.id, record.length, *size, status, reason), chunks, letters)
        length = sum(call.length for call in scored)
        ratio, score = None, scored[0].virus_score
        pooled = None
        if self.decision.calibration:
            of_hosts = zip(*(ratios for _, ratios in judged if ratios), strict=True)
            pooled = [self.pool(list(ratios), [call.length for call in scored]) for ratios in of_hosts]
            ratio = self.against_hosts(pooled)
            score = probability(ratio, self.decision.prevalence)
        elif len(scored) > 1:
            score = sum(call.virus_score * call.length for call in scored) / length
        self.evidence.append((pooled, min(length, record.length)))
        is_virus = self.decide(score, ratio, min(length, record.length))
        best = max(scored, key=lambda call: call.virus_score).best_frame
        silent = len(chunks) - len(scored)
        left_out = f"{silent} of {len(chunks)} chunks have no score" if silent else ""
        reason = "; ".join(part for part in (left_out, letters.describe()) if part)
        call = Call(record.id, record.length, is_virus, score, *size, best, Status.OK, reason, ratio)
        return RecordResult(record, call, chunks, letters)

    def call_chunk(self, chunk: Chunk, status: Status, reason: str) -> tuple[ChunkResult, list[float] | None]:
        """Return the result of a chunk, and its log likelihood ratio against each host class."""
        frames = specification.frames(chunk, self.rule) if status is Status.OK else ()
        if not frames:
            if status is Status.OK:
                status, reason = Status.NO_FRAME, "none of the six reading frames is free of stop codons"
            call = no_call(chunk.id, len(chunk.sequence), 1, 0, status, reason)
            return ChunkResult(chunk.start, chunk.end, call, ()), None
        given, ratio, length = [self.score(frame) for frame in frames], None, len(chunk.sequence)
        ratios = None
        if self.vote == "max":
            scores, weights = [tuple(values) for values, _ in given], [1.0] * len(given)
            other, virus = (max(column) for column in zip(*scores, strict=True))
            score = 0.5 + (virus - other) / (2 * (virus + other))
        else:
            raised = [math.exp(gate - max(gate for _, gate in given)) for _, gate in given]
            weights = [one / sum(raised) for one in raised]
            mean = [sum(w * v[k] for w, (v, _) in zip(weights, given, strict=True)) for k in range(len(given[0][0]))]
            margin = margin_of(mean)
            if self.decision.calibration:
                ratios = []
                for host, logit in enumerate(mean[:-1]):
                    of_knot = [at(length, self.decision.calibration, name, host) for name in ("slope", "intercept")]
                    ratios.append(of_knot[0] * (mean[-1] - logit) + of_knot[1])
                margin = ratio = self.against_hosts(ratios)
            score = probability(margin, self.decision.prevalence or 0.5)
            virus = [probability(margin_of(values), 0.5) for values, _ in given]
            scores = [(1 - one, one) for one in virus]
        best = max(range(len(frames)), key=lambda i: weights[i] * scores[i][1])
        is_virus = self.decide(score, ratio, length)
        call = Call(chunk.id, length, is_virus, score, 1, len(frames), frames[best].id, Status.OK, "", ratio)
        predictions = [Prediction(f.id, f.strand, f.offset, len(f.protein), *s, w)
                       for f, s, w in zip(frames, scores, weights, strict=True)]  # fmt: skip
        return ChunkResult(chunk.start, chunk.end, call, tuple(predictions)), ratios

    def against_hosts(self, ratios: list[float]) -> float:
        """Return the log likelihood ratio against the default mixture of hosts."""
        shares = self.decision.calibration.shares or [1 / len(ratios)] * len(ratios)
        return -math.log(sum(share * math.exp(-ratio) for share, ratio in zip(shares, ratios, strict=True)))

    def decide(self, score: float, ratio: float | None, length: int) -> bool:
        if self.decision.min_score is not None:
            return score >= self.decision.min_score
        return ratio >= self.decision.thresholds[min(length, len(self.decision.thresholds) - 1)]

    def pool(self, ratios: list[float], lengths: list[int]) -> float:
        """Return the evidence of a record: the mean of that of its chunks, times their effective number ** exponent."""
        if len(ratios) == 1:
            return ratios[0]
        total, squares = (sum(length**power for length in lengths) for power in (1, 2))
        mean = sum(ratio * length for ratio, length in zip(ratios, lengths, strict=True)) / total
        return mean * (total**2 / squares) ** at(squares / total, self.decision.calibration, "pooling")


def letters_of(record: Record, pieces: bool) -> Letters:
    parts = [part.sequence.decode() for part in record.parts]
    return sum((pieces_of(part)[1] if pieces else Letters(ambiguous(part)) for part in parts), Letters())


def no_call(name: str, length: int, n_chunks: int, n_frames: int, status: Status, reason: str) -> Call:
    return Call(name, length, None, None, n_chunks, n_frames, None, status, reason)


def margin_of(logits: list[float]) -> float:
    """Return the log likelihood ratio of virus, the last class, against an equal mixture of the hosts."""
    *hosts, virus = logits
    return virus - math.log(sum(math.exp(host) for host in hosts) / len(hosts))


def probability(ratio: float, prevalence: float) -> float:
    return 1 / (1 + math.exp(-ratio) * (1 - prevalence) / prevalence)


def at(length: float, calibration: Calibration, name: str, host: int | None = None) -> float:
    """Return a field of the knots at a length: linear in its logarithm, constant beyond the first and the last."""
    knots = calibration.knots

    def value(knot: Knot) -> float:
        found = getattr(knot, name)
        return found if host is None else found[host]

    for low, high in pairwise(knots):
        if low.length <= length < high.length:
            share = math.log(length / low.length) / math.log(high.length / low.length)
            return value(low) + share * (value(high) - value(low))
    return value(knots[0] if length < knots[0].length else knots[-1])
