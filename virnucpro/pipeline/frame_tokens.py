"""What passes between text and device: tokens of frames in, scores of frames out. Nothing here imports torch.

F frames of some chunks, S nucleotide sequences, K classes, of which the last is virus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Tokens = npt.NDArray[Any]  # of the smallest integer dtype that holds the vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class FrameTokens:
    """What the encoders and the classifier see of F frames.

    The tokens of all sequences lie end to end: `nucleotide_tokens` with `nucleotide_lengths` (S,), `protein_tokens`
    with `protein_lengths` (F,). Frame f has the nucleotides of row `nucleotide[f]`. `length_features` is (F, 2)
    float32, see `pipeline.features`.
    """

    nucleotide_tokens: Tokens
    nucleotide_lengths: Ints
    nucleotide: Ints
    protein_tokens: Tokens
    protein_lengths: Ints
    length_features: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.nucleotide)


@dataclass(frozen=True, slots=True, eq=False)
class FrameScores:
    """What the classifier says of F frames: `values` (F, K) and `gates` (F,).

    The values are logits or, of a model that votes by `max`, the softmax of them in float32.
    """

    values: Floats
    gates: Floats
