"""Fit a model: both encoders and the gated classifier together, in mixed precision through the packed engine."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from virnucpro.config import launched_rank
from virnucpro.models.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.models.esm2_flash import ESM2Config
from virnucpro.models.pooling import mean_pool_packed
from virnucpro.models.registry import Encoder, Model, build_model, load_model, save_weights
from virnucpro.models.tokenizers import KmerTokenizer
from virnucpro.models.weights import fill
from virnucpro.pipeline.features import LENGTH_FEATURES
from virnucpro.train.batches import TrainingBatch, WindowBatches, collate_frames
from virnucpro.train.evaluate import evaluate
from virnucpro.train.genomes import VIRUS, Genomes, read_genomes, sample_windows
from virnucpro.train.settings import FitSettings, ModelSettings, TrainSettings
from virnucpro.types import Chunk

logger = logging.getLogger(__name__)

EVALUATED_LENGTHS = (500, 300, 150)


def describe(settings: ModelSettings, max_length: int, min_length: int) -> ModelDescription:
    """Return the description of a model with these settings, without weights."""
    kmer = KmerTokenizer(settings.kmer)
    protein = ESM2Config(
        settings.protein_layers, settings.protein_width, settings.protein_heads,
        token_dropout=False, dropout=settings.dropout,
    )  # fmt: skip
    nucleotide = ESM2Config(
        settings.nucleotide_layers, settings.nucleotide_width, settings.nucleotide_heads,
        vocabulary=kmer.vocabulary, mask_token=kmer.mask_token, token_dropout=False, dropout=settings.dropout,
    )  # fmt: skip
    return ModelDescription(
        name=settings.name,
        chunk_length=max_length,
        min_length=min_length,
        frame_rule=settings.frame_rule,
        nucleotide=EncoderDescription("esm2", asdict(nucleotide), f"kmer-{settings.kmer}", 1, 1),
        protein=EncoderDescription("esm2", asdict(protein), "esm2", 1, 1),
        classifier=ClassifierDescription(
            "gated", settings.nucleotide_width + settings.protein_width + LENGTH_FEATURES, settings.hidden_dim
        ),
        vote="weighted",
        max_ambiguous=0.5,
        licence="MIT",
    )


class Network(nn.Module):
    """The trainable whole of a model: from a batch to the margins of its chunks and frames."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(model.parts())
        self.encoders: dict[str, Encoder] = {"nucleotide": model.nucleotide, "protein": model.protein}

    def forward(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return margins, logit(virus) - logit(other): of the chunks (C,) by the weighted vote, of the frames (F,)."""
        vectors = []
        for name, packed in (("nucleotide", batch.nucleotide), ("protein", batch.protein)):
            encoder = self.encoders[name]
            hidden = encoder.model.forward_packed(
                packed.input_ids, packed.cu_seqlens, packed.max_seqlen, position_ids=packed.position_ids
            )[encoder.model.n_layers]
            vectors.append(mean_pool_packed(hidden, packed.cu_seqlens, encoder.window, packed.position_ids))
        logits, gates = self.parts["classifier"](torch.cat((*vectors, batch.lengths), dim=1))
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


def learning_rate(step: int, settings: FitSettings) -> float:
    """Return the factor on the learning rate: linear warm-up, then half a cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _loss(margins_of: tuple[Tensor, Tensor], batch: TrainingBatch, settings: FitSettings) -> Tensor:
    margins, frame_margins = margins_of
    labels = batch.labels * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    chunk_loss = F.binary_cross_entropy_with_logits(margins, labels)
    frame_loss = F.binary_cross_entropy_with_logits(frame_margins, labels[batch.owner])
    return chunk_loss + settings.frame_loss * frame_loss


def _optimizer(network: nn.Module, settings: FitSettings) -> torch.optim.AdamW:
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


Validation = dict[int, tuple[list[TrainingBatch], list[str]]]


def validation_set(genomes: Genomes, model: Model, settings: FitSettings) -> Validation:
    """Return, for each evaluated length, batches of fixed windows and their classes in order."""
    names = sorted(set(genomes.classes.tolist()))
    hosts = [name for name in names if name != VIRUS]
    per_class = {name: settings.windows_per_class for name in hosts}
    per_class[VIRUS] = settings.windows_per_class * 3
    result: Validation = {}
    for length in EVALUATED_LENGTHS:
        windows = sample_windows(genomes, length, per_class, seed=0)
        batches = []
        for begin in range(0, len(windows), settings.batch):
            part = windows[begin : begin + settings.batch]
            chunks = [Chunk(w.record_id, 1, w.start, w.sequence) for w in part]
            batches.append(collate_frames(model, chunks, [float(w.class_name == VIRUS) for w in part]))
        result[length] = batches, [w.class_name for w in windows]
    return result


@torch.no_grad()
def validate(network: Network, validation: Validation, device: torch.device) -> dict[str, Any]:
    """Return the figures of `evaluate` for each length, as JSON-able values."""
    network.eval()
    figures = {}
    for length, (batches, classes) in validation.items():
        margins = [network(batch.to(device))[0].sigmoid().cpu().numpy() for batch in batches]
        scores: list[float | None] = np.concatenate(margins).tolist()
        figures[str(length)] = evaluate(scores, classes).to_json()
    network.train()
    return figures


def fit(settings: TrainSettings, output: Path, device: torch.device, log: Callable[[str], None] = logger.info) -> None:
    """Train a model and write its directory.

    Under torchrun each process takes its own windows and GPU, and gradients are averaged.

    Args:
        settings: data, model and fit.
        output: a directory for model.json, the weights and log.jsonl (one line an evaluation).
        device: where to compute; on a GPU in bfloat16 autocast.
        log: called with one line of progress a time.
    """
    rank, local_rank, world = launched_rank()
    torch.manual_seed(settings.fit.seed)
    directory = Path(settings.data.directory)
    genomes = read_genomes(directory, "train", settings.data.exclude)
    description = describe(settings.model, settings.data.max_length, settings.data.min_length)
    model = build_model(description, output)
    initialise(model, settings.fit.init)
    steps = settings.fit.steps
    windows = WindowBatches(genomes, settings.data, model, settings.fit.batch, steps * world, settings.fit.seed)
    own = Subset(windows, range(rank, steps * world, world))
    batches = iter(DataLoader(own, batch_size=None, num_workers=settings.fit.workers))  # forks before CUDA starts
    validation: Validation = {}
    if rank == 0:
        n_taxa = len(set(genomes.taxa.tolist()))
        log(f"train: {len(genomes.ids)} records, {len(genomes.text) / 1e6:.1f} Mbp, {n_taxa} taxa")
        validation = validation_set(read_genomes(directory, "val", settings.data.exclude), model, settings.fit)

    if device.type == "cuda":
        device = torch.device("cuda", local_rank if world > 1 else device.index or 0)
        torch.cuda.set_device(device)
    network = Network(model).to(device).train()
    if device.type == "cuda":
        for encoder in network.encoders.values():
            encoder.model.select_attention(device, torch.bfloat16)
    trained: nn.Module = network
    if world > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        trained = nn.parallel.DistributedDataParallel(network)

    n_parameters = sum(p.numel() for p in network.parameters())
    progress = _Progress(settings, output, network, validation, device, log)
    if rank == 0:
        log(f"model: {n_parameters / 1e6:.2f} M parameters, {world} x {device.type}")
        output.mkdir(parents=True, exist_ok=True)
    for step, losses in _steps(trained, batches, settings.fit, device):
        if rank == 0 and (step % settings.fit.evaluate_every == 0 or step == steps):
            entry = progress.evaluate(step, losses)
            training = {"parameters": n_parameters, "processes": world, "split": "train", **entry}
            _save(model, description, settings, training, output)
    if world > 1:
        torch.distributed.destroy_process_group()


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def _steps(
    trained: nn.Module, batches: Iterator[TrainingBatch], settings: FitSettings, device: torch.device
) -> Iterator[tuple[int, list[Tensor]]]:
    """Take one optimiser step a batch; yield its number and the losses so far, which the consumer may clear."""
    optimizer = _optimizer(trained, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, settings))
    losses: list[Tensor] = []
    for step, batch in enumerate(batches, start=1):
        there = batch.to(device)
        with _autocast(device):
            loss = _loss(trained(there), there, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        yield step, losses


class _Progress:
    """Evaluates on the validation windows, writes log.jsonl and reports a line."""

    def __init__(
        self,
        settings: TrainSettings,
        output: Path,
        network: Network,
        validation: Validation,
        device: torch.device,
        log: Callable[[str], None],
    ) -> None:
        self.journal, self.network = output / "log.jsonl", network
        self.validation, self.device, self.log = validation, device, log
        self.begin = time.perf_counter()

    def evaluate(self, step: int, losses: list[Tensor]) -> dict[str, Any]:
        """Return one line of the log and clear the losses."""
        with _autocast(self.device):
            figures = validate(self.network, self.validation, self.device)
        seconds = round(time.perf_counter() - self.begin, 1)
        entry = {"step": step, "seconds": seconds, "loss": round(float(torch.stack(losses).mean()), 4), "val": figures}
        losses.clear()
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        aurocs = ", ".join(f"{n} bp {f['auroc']}/{f['macro_auroc']}" for n, f in figures.items())
        self.log(f"step {step}: {seconds} s, loss {entry['loss']}, val AUROC plain/macro {aurocs}")
        return entry


def _save(
    model: Model, description: ModelDescription, settings: TrainSettings, training: dict[str, Any], output: Path
) -> None:
    recorded = settings.to_json()
    recorded["data"].pop("directory")  # a path says nothing elsewhere
    metrics = {"val": training.pop("val")}
    checksums = save_weights(model, output)
    described = replace(description, training={**training, "settings": recorded}, metrics=metrics, checksums=checksums)
    described.write_json(output / "model.json")
