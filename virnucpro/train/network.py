"""The trainable whole of a model: both encoders, the classifier and the vote, and the loss.

C chunks, F frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.pooling import mean_pool_packed
from virnucpro.models.registry import Encoder, Model, load_model
from virnucpro.models.weights import fill
from virnucpro.train.batches import TrainingBatch
from virnucpro.train.settings import FitSettings

_LAST_SPECIAL = 3  # <cls>, <pad>, <eos>, <unk> come first in both of our vocabularies


class Network(nn.Module):
    """The trainable whole of a model: from a batch to the margins of its chunks and frames.

    In training a share `hidden` of the tokens, drawn anew each time, is replaced by the mask token.
    """

    def __init__(self, model: Model, hidden: float = 0.0) -> None:
        super().__init__()
        self.hidden = hidden
        description = model.description
        self.mask_tokens = {
            name: int(getattr(description, name).config["mask_token"]) for name in ("nucleotide", "protein")
        }
        self.parts = nn.ModuleDict(model.parts())
        self.encoders: dict[str, Encoder] = {"nucleotide": model.nucleotide, "protein": model.protein}

    def forward(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return margins, logit(virus) - logit(other): of the chunks (C,) by the weighted vote, of the frames (F,)."""
        vectors = {}
        for name, packed in (("nucleotide", batch.nucleotide), ("protein", batch.protein)):
            encoder, input_ids = self.encoders[name], packed.input_ids
            if self.training and self.hidden:
                drawn = torch.rand(input_ids.shape, device=input_ids.device) < self.hidden
                special = input_ids <= _LAST_SPECIAL
                input_ids = input_ids.masked_fill(drawn & ~special, self.mask_tokens[name])
            hidden = encoder.model.forward_packed(
                input_ids, packed.cu_seqlens, packed.max_seqlen, position_ids=packed.position_ids
            )[encoder.model.n_layers]
            vectors[name] = mean_pool_packed(hidden, packed.cu_seqlens, encoder.window, packed.position_ids)
        nucleotide = vectors["nucleotide"][batch.nucleotide_row]  # (F, D)
        logits, gates = self.parts["classifier"](torch.cat((nucleotide, vectors["protein"], batch.lengths), dim=1))
        margins, gates = (logits[:, 1] - logits[:, 0]).float(), gates.float()
        n_chunks = batch.labels.shape[0]
        highest = torch.full((n_chunks,), -torch.inf, device=gates.device)
        highest = highest.scatter_reduce(0, batch.owner, gates.detach(), "amax")
        raised = (gates - highest[batch.owner]).exp()
        total = torch.zeros(n_chunks, device=gates.device).index_add(0, batch.owner, raised)
        weighted = torch.zeros(n_chunks, device=gates.device).index_add(0, batch.owner, raised * margins)
        return weighted / total, margins


def initialise(model: Model, init: str = "") -> None:
    """Draw fresh weights, normal with standard deviation 0.02 and biases 0, or take those of the model `init`."""
    if init:
        for own, given in zip(model.parts().values(), load_model(init).parts().values(), strict=True):
            fill(own, given.state_dict(), init)
        return
    for part in model.parts().values():
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


def loss_of(margins_of: tuple[Tensor, Tensor], batch: TrainingBatch, settings: FitSettings) -> Tensor:
    """Return the cross-entropy of the chunks, and a share of the frames', against smoothed labels."""
    margins, frame_margins = margins_of
    labels = batch.labels * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    chunk_loss = F.binary_cross_entropy_with_logits(margins, labels)
    frame_loss = F.binary_cross_entropy_with_logits(frame_margins, labels[batch.owner])
    return chunk_loss + settings.frame_loss * frame_loss
