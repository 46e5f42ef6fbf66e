"""From frame scores to a chunk's call, and from chunk calls to a record's.

F frames of C chunks, K classes, of which the last is virus; `owner` (F,) is the chunk each frame belongs to, ascending.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from virnucpro.scores.calibration import Floats as Floats
from virnucpro.scores.decision import Decision
from virnucpro.types import Call, Status

Ints = npt.NDArray[np.int64]


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def vote_max(scores: Floats, owner: Ints) -> tuple[Floats, Floats]:
    """Return the score of each chunk and the frames' weights by the published consensus.

    A chunk is virus when its best virus score is at least its best other score, which may belong to
    another frame; v / (v + o) of these two is at least 0.5 exactly then. Scores (F, 2), owner (F,).
    """
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    best = np.maximum.reduceat(scores, starts, axis=0)  # (C, 2)
    other, virus = best.T
    # v / (v + o), written so that rounding keeps the side of 0.5.
    return 0.5 + (virus - other) / (2 * (virus + other)), np.ones(len(owner))


def margins_of(differences: Floats) -> Floats:
    """Return the log likelihood ratio of virus against an equal mixture of the hosts.

    Args:
        differences: (..., K - 1), logit(virus) - logit(host) of every host class. With one they are the margins.
    """
    least = differences.min(axis=-1)
    return least - np.log(np.exp(least[..., None] - differences).mean(axis=-1))  # type: ignore[no-any-return]


def vote_weighted(logits: Floats, gates: Floats, owner: Ints) -> tuple[Floats, Floats]:
    """Return the margin of each chunk and the frames' weights: a softmax of the gates weighs the frames' logits.

    Logits (F, K), gates (F,), owner (F,). See `margins_of` for what a margin is. The weights of a chunk's frames
    sum to 1.
    """
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    frames = np.diff(starts, append=len(owner))
    raised = np.exp(gates - np.repeat(np.maximum.reduceat(gates, starts), frames))
    weights = raised / np.repeat(np.add.reduceat(raised, starts), frames)
    differences = np.add.reduceat(weights[:, None] * (logits[:, -1:] - logits[:, :-1]), starts)  # (C, K - 1)
    return margins_of(differences), weights  # (C,), (F,)


def call_record(record_id: str, length: int, chunks: Sequence[Call], decision: Decision) -> Call:
    """Combine the calls of a record's chunks: their evidence by `Calibration.pool`, from which the score follows.

    Without evidence the score is the mean of the chunks' scores, weighted by chunk length. A record none of whose
    chunks has a score gets the status of its first chunk. What is not scored does not count as length in the decision:
    a long record of which one chunk tells must tell as much as a short one.
    """
    scored = [chunk for chunk in chunks if chunk.virus_score is not None]
    n_frames = sum(chunk.n_frames for chunk in chunks)
    if not scored:
        first = chunks[0]
        return Call(record_id, length, None, None, len(chunks), n_frames, None, first.status, first.reason)
    scores = np.array([chunk.virus_score for chunk in scored], dtype=np.float64)
    lengths = [chunk.length for chunk in scored]
    log_ratios = [chunk.log_ratio for chunk in scored if chunk.log_ratio is not None]
    log_ratio = decision.calibration.pool(log_ratios, lengths) if decision.calibration else None
    if log_ratio is None:
        weights = np.array(lengths, dtype=np.float64)
        score = float(scores @ weights / weights.sum())
    else:
        score = float(decision.scores(log_ratio))
    best = scored[int(scores.argmax())].best_frame
    skipped = len(chunks) - len(scored)
    reason = f"{skipped} of {len(chunks)} chunks have no score" if skipped else ""
    is_virus = decision.is_virus(score, log_ratio, min(length, sum(lengths)))  # chunks may overlap
    return Call(record_id, length, is_virus, score, len(chunks), n_frames, best, Status.OK, reason, log_ratio)
