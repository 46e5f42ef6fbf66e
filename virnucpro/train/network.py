"""The trainable network of a model: both encoders, the classifier and the vote; and its loss.

C chunks, F frames, K classes; the last class is virus.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.pooling import mean_pool_packed
from virnucpro.pretrained.registry import Encoder, Model, load_model
from virnucpro.pretrained.weights import load_state
from virnucpro.train.batches import TrainingBatch
from virnucpro.train.settings import FitSettings

_LAST_SPECIAL = 3  # <cls>, <pad>, <eos>, <unk> come first in both of our vocabularies


class Network(nn.Module):
    """The trainable network of a model, from a batch to the logits of its chunks and frames.

    In training, a random share `hidden` of the tokens is replaced by the mask token in each step.
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
        """Return the logits of chunks (C, K), by the weighted vote, and of frames (F, K)."""
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
        logits, gates = logits.float(), gates.float()
        n_chunks = batch.labels.shape[0]
        highest = torch.full((n_chunks,), -torch.inf, device=gates.device)
        highest = highest.scatter_reduce(0, batch.owner, gates.detach(), "amax")
        raised = (gates - highest[batch.owner]).exp()
        total = torch.zeros(n_chunks, device=gates.device).index_add(0, batch.owner, raised)
        weights = raised / total[batch.owner]
        pooled = torch.zeros(n_chunks, logits.shape[1], device=gates.device)
        return pooled.index_add(0, batch.owner, weights[:, None] * logits), logits


def margins_of(logits: Tensor) -> Tensor:
    """Return the log likelihood ratio (C,) of virus against an equal mixture of the hosts, as `aggregate` does."""
    hosts = logits[:, :-1]
    return logits[:, -1] - (hosts.logsumexp(1) - math.log(hosts.shape[1]))


def initialise(model: Model, init: str = "") -> None:
    """Draw random weights, normal with standard deviation 0.02 and biases 0, or copy those of the model `init`.

    If `init` has two classes, every host class gets the logit of its class `other`, so that the margins stay the same.
    """
    if init:
        given = load_model(init)
        states = {name: part.state_dict() for name, part in given.parts().items()}
        hosts = len(model.description.classes) - 1
        if hosts > 1 and len(given.description.classes) == 2:
            for name in ("output_layer.weight", "output_layer.bias"):
                other, virus, gate = states["classifier"][name]
                states["classifier"][name] = torch.stack((*[other] * hosts, virus, gate))
        for name, part in model.parts().items():
            load_state(part, states[name], init)
        return
    for part in model.parts().values():
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


def loss_of(
    logits_of: tuple[Tensor, Tensor], batch: TrainingBatch, settings: FitSettings, log_prior: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of the chunks, plus a weight times that of the frames, against smoothed labels.

    `log_prior` (K,) has the logarithms of the classes' shares of the windows. It is added to the logits, which then
    learn log likelihoods without these shares (Menon et al. 2021, arXiv:2007.07314).
    """
    chunks, frames = logits_of
    chunk_loss = _cross_entropy(chunks, batch.labels, settings.label_smoothing, log_prior)
    frame_loss = _cross_entropy(frames, batch.labels[batch.owner], settings.label_smoothing, log_prior)
    return chunk_loss + settings.frame_loss * frame_loss


def _cross_entropy(logits: Tensor, labels: Tensor, smoothing: float, log_prior: Tensor | None) -> Tensor:
    """Return the mean of -ln(probability of the class), or of all hosts for a window without a class; logits (N, K)."""
    logs = F.log_softmax(logits if log_prior is None else logits + log_prior, dim=1)
    named = logs.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    right = torch.where(labels < 0, logs[:, :-1].logsumexp(1), named)
    return -((1 - smoothing) * right + smoothing * logs.mean(1)).mean()
