"""The head of a masked language model: from hidden states to a logit for each token of the vocabulary."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MaskedHead(nn.Module):
    """Dense layer, GELU, LayerNorm and decoder of ESM-2 and BERT; always in float32.

    `decoder.weight` is usually the embedding table of the encoder itself (see `tie`).
    """

    def __init__(self, width: int, vocabulary: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.decoder = nn.Linear(width, vocabulary)

    def tie(self, embedding: nn.Embedding) -> None:
        """Share the embedding table with the decoder, as one parameter."""
        self.decoder.weight = embedding.weight

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (..., vocabulary) float32 of hidden states (..., D) of the last layer."""
        return self.decoder(self.norm(F.gelu(self.dense(hidden.float()))))  # type: ignore[no-any-return]
