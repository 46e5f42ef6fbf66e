"""Classifiers over fused frame embeddings. F frames, K classes; the last class is virus."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MLPClassifier(nn.Module):
    """The published classifier: one hidden layer with batch normalisation (attribute names as published)."""

    length_features = False

    def __init__(self, input_dim: int = 3328, hidden_dim: int = 512, num_class: int = 2) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(input_dim, hidden_dim)
        self.bn1 = nn.BatchNorm1d(hidden_dim)
        self.dropout = nn.Dropout(0.5)
        self.output_layer = nn.Linear(hidden_dim, num_class)
        nn.init.xavier_uniform_(self.hidden_layer.weight)
        nn.init.xavier_uniform_(self.output_layer.weight)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (F, input_dim) to logits (F, 2) and gates (F,), which are 0: all frames have the same weight."""
        hidden = self.dropout(F.relu(self.bn1(self.hidden_layer(features))))
        logits = self.output_layer(hidden)
        return logits, torch.zeros_like(logits[:, 0])


class GatedClassifier(nn.Module):
    """A classifier with learned frame weights: logits and a gate for each frame.

    The last two features are the length features of `pipeline.features`.
    """

    length_features = True

    def __init__(self, input_dim: int, hidden_dim: int, num_class: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(input_dim)
        self.hidden_layer = nn.Linear(input_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.output_layer = nn.Linear(hidden_dim, num_class + 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (F, input_dim) to logits (F, K) and gates (F,)."""
        out = self.output_layer(self.dropout(F.gelu(self.hidden_layer(self.norm(features)))))
        return out[:, :-1], out[:, -1]
