"""The input and output of the networks: tokens of frames in, scores of frames out. Nothing here imports torch.

F frames of some chunks, S nucleotide sequences, K classes; the last class is virus.
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
    """The input of the encoders and the classifier for F frames.

    The tokens of all sequences lie end to end: `nucleotide_tokens` with `nucleotide_lengths` (S,), `protein_tokens`
    with `protein_lengths` (F,). Frame f goes with nucleotide sequence `nucleotide[f]`. `length_features` is (F, 2)
    float32, see `pipeline.features`. They are for the model of the run, or `of_screen` for that of its screen.
    """

    nucleotide_tokens: Tokens
    nucleotide_lengths: Ints
    nucleotide: Ints
    protein_tokens: Tokens
    protein_lengths: Ints
    length_features: npt.NDArray[np.float32]
    of_screen: bool = False

    def __len__(self) -> int:
        return len(self.nucleotide)


@dataclass(frozen=True, slots=True, eq=False)
class FrameScores:
    """The output of the classifier for F frames: `values` (F, K) and `gates` (F,).

    The values are logits; for a model with the vote `max`, they are the softmax of the logits in float32.
    """

    values: Floats
    gates: Floats
