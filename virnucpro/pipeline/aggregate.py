"""Combine frame scores to chunk scores.

F frames of C chunks, K classes; the last class is virus. `owner` (F,) is the chunk of each frame, ascending.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from virnucpro.scores.calibration import Floats as Floats

Ints = npt.NDArray[np.int64]


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def vote_max(scores: Floats, owner: Ints) -> tuple[Floats, Floats]:
    """Return the score of each chunk and the weight of each frame by the published consensus.

    A chunk is virus if its best virus score v is at least its best other score o, which may be another frame's.
    Its score, v / (v + o), is then at least 0.5. Scores (F, 2), owner (F,).
    """
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    best = np.maximum.reduceat(scores, starts, axis=0)  # (C, 2)
    other, virus = best.T
    # v / (v + o), written so that rounding never moves a score across 0.5.
    return 0.5 + (virus - other) / (2 * (virus + other)), np.ones(len(owner))


def margins_of(differences: Floats) -> Floats:
    """Return the log likelihood ratio of virus against an equal mixture of the hosts.

    Args:
        differences: (..., K - 1), logit(virus) - logit(host) for each host class. With one host class, the result
            equals them.
    """
    lowest = differences.min(axis=-1)
    return lowest - np.log(np.exp(lowest[..., None] - differences).mean(axis=-1))  # type: ignore[no-any-return]


def vote_weighted(logits: Floats, gates: Floats, owner: Ints) -> tuple[Floats, Floats]:
    """Return logit(virus) - logit(host) of each chunk and host class, and the weight of each frame.

    The weights are a softmax of the gates over a chunk's frames. Logits (F, K), gates (F,), owner (F,).
    """
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    frames = np.diff(starts, append=len(owner))
    raised = np.exp(gates - np.repeat(np.maximum.reduceat(gates, starts), frames))
    weights = raised / np.repeat(np.add.reduceat(raised, starts), frames)
    differences = np.add.reduceat(weights[:, None] * (logits[:, -1:] - logits[:, :-1]), starts)  # (C, K - 1)
    return differences, weights  # (C, K - 1), (F,)
