"""Fit a model: both encoders and the gated classifier together, on packed batches in mixed precision."""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from virnucpro.environment import launched_rank
from virnucpro.errors import ConfigError
from virnucpro.files import fingerprint
from virnucpro.models.esm2_flash import ESM2Config
from virnucpro.models.kernels import compiled_kernels
from virnucpro.models.tokenizers import KmerTokenizer
from virnucpro.pipeline.features import LENGTH_FEATURES
from virnucpro.pretrained.description import (
    TWO_CLASSES,
    VIRUS,
    ClassifierDescription,
    EncoderDescription,
    ModelDescription,
)
from virnucpro.pretrained.registry import Model, build_model, save_weights
from virnucpro.run.progress import shown_progress
from virnucpro.train.batches import HostBatch, WindowBatches
from virnucpro.train.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from virnucpro.train.mixture import read_mixture, read_split
from virnucpro.train.network import Network, initialise, loss_of
from virnucpro.train.settings import FitSettings, ModelSettings, TrainSettings
from virnucpro.train.validation import Validation, validate, validation_set
from virnucpro.words import counted

logger = logging.getLogger(__name__)

_MUON_RANK = 16  # a smaller matrix, such as the classifier's last, has too few directions for Muon to equalise


def describe(
    settings: ModelSettings, max_length: int, min_length: int, classes: tuple[str, ...] = TWO_CLASSES
) -> ModelDescription:
    """Return the description of a model with these settings, without checksums of weights."""
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
        classes=classes,
        licence="MIT",
    )


def learning_rate(step: int, settings: FitSettings) -> float:
    """Return the factor on the learning rate: linear warm-up, then 1, then half a cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    falling = max(1.0, settings.decay * (settings.steps - settings.warmup))
    done = 1 - (settings.steps - step) / falling  # negative before the decay begins
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


def require_optimizer(settings: FitSettings) -> None:
    """Check that this torch has the optimiser.

    Raises:
        ConfigError: it has not.
    """
    if settings.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f'optimizer = "muon" needs torch 2.9 or later, found {torch.__version__}; '
            "pip install --upgrade 'torch>=2.9', or set optimizer = \"adamw\""
        )


def make_optimizers(network: nn.Module, settings: FitSettings) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters, or Muon for the matrices of hidden layers and AdamW for the rest."""
    hidden, decayed, others = [], [], []
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.dim() != 2:
                others.append(parameter)
            elif settings.optimizer == "muon" and isinstance(module, nn.Linear) and min(parameter.shape) >= _MUON_RANK:
                hidden.append(parameter)
            else:
                decayed.append(parameter)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    on_gpu = next(network.parameters()).is_cuda
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=on_gpu)
    ]
    if hidden:
        # Scaled to the size of AdamW's updates, so that both can use the same learning rate and weight decay.
        optimizers.append(
            torch.optim.Muon(hidden, settings.learning_rate, settings.weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def fit(settings: TrainSettings, output: Path, device: torch.device, log: Callable[[str], None] = logger.info) -> None:
    """Train a model and write its directory; continue from the checkpoint in it if there is one.

    Under torchrun each process has its own windows and GPU, and gradients are averaged. The state is saved at every
    evaluation; a resumed training ends with the same weights as an uninterrupted one.

    Args:
        settings: data, model and fit.
        output: a directory for model.json, the weights, log.jsonl (one line per evaluation) and checkpoint/.
        device: the device; on a GPU, training uses bfloat16 autocast.
        log: called with each line of progress.

    Raises:
        ConfigError: the checkpoint belongs to other settings, or torch lacks the optimiser.
    """
    require_optimizer(settings.fit)
    rank, local_rank, world = launched_rank()
    if device.type == "cuda":
        device = torch.device("cuda", local_rank if world > 1 else device.index or 0)
        torch.cuda.set_device(device)
    key = fingerprint([_recorded(settings), world])
    mixture = read_mixture(settings.data)
    classes = TWO_CLASSES if settings.model.classes == "two" else (*settings.data.hosts(), VIRUS)
    description = describe(settings.model, settings.data.max_length, settings.data.min_length, classes)
    model = build_model(description, output)
    torch.manual_seed(settings.fit.seed)
    initialise(model, settings.fit.init)

    network = Network(model, settings.fit.hidden_tokens).to(device).train()
    if device.type == "cuda":
        for encoder in network.encoders.values():
            encoder.model.select_attention(device, torch.bfloat16)
    if settings.fit.compile:
        kernels = compiled_kernels()
        for encoder in network.encoders.values():
            encoder.model.kernels = kernels
    optimizers = make_optimizers(network, settings.fit)
    begin = load_checkpoint(output / CHECKPOINT, network, optimizers, key)
    steps = settings.fit.steps
    windows = WindowBatches(mixture, settings.data, model, settings.fit.batch, steps * world, settings.fit.seed)
    own = Subset(windows, range(begin * world + rank, steps * world, world))
    batches = iter(
        DataLoader(
            own, batch_size=None, num_workers=settings.fit.workers, worker_init_fn=_stop_silently,
        )
    )  # fmt: skip
    trained: nn.Module = network
    if world > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        trained = nn.parallel.DistributedDataParallel(network)

    n_parameters = sum(p.numel() for p in network.parameters())
    validation: Validation = {}
    if rank == 0:
        output.mkdir(parents=True, exist_ok=True)
        drawn = mixture.weights > 0
        n_bases, n_taxa = mixture.genomes.lengths[drawn].sum(), len(set(mixture.genomes.taxa[drawn].tolist()))
        records, taxa = counted(int(drawn.sum()), "records"), counted(n_taxa, "taxa")
        log(f"train: {records}, {n_bases / 1e6:.1f} Mbp, {taxa}, classes {', '.join(classes)}")
        log(f"model: {n_parameters / 1e6:.2f} M parameters, {world} x {device.type}, from step {begin}")
        log(f"model and checkpoint are written at each evaluation, every {settings.fit.evaluate_every:,} steps")
        validation = validation_set(read_split(settings.data, "val"), model, settings.fit)
    progress = _Progress(output, network, validation, device)
    log_prior = None
    if len(classes) > 2:
        log_prior = torch.tensor([settings.data.class_share[name] for name in classes], device=device).log()
    with shown_progress(_Steps(steps), "steps") if rank == 0 else nullcontext() as counter:
        if counter:
            counter.advance(begin, new=False)
        for step, losses in _steps(trained, optimizers, batches, settings.fit, device, begin, log_prior):
            if counter:
                counter.advance(1)
            if rank == 0 and (step % settings.fit.evaluate_every == 0 or step == steps):
                entry = progress.evaluate(step, losses)
                training = {"parameters": n_parameters, "processes": world, "split": "train", **entry}
                _save(model, description, settings, training, output)
                save_checkpoint(output / CHECKPOINT, step, network, optimizers, key)
                aurocs = ", ".join(f"{n} bp {f['auroc']}/{f['macro_auroc']}" for n, f in entry["val"].items())
                log(f"step {step}: {entry['seconds']} s, loss {entry['loss']}, val AUROC plain/macro {aurocs}")
    if world > 1:
        torch.distributed.destroy_process_group()


@dataclass(frozen=True, slots=True)
class _Steps:
    """The number of steps, for the display of progress."""

    number: int

    def total(self) -> int:
        return self.number


def _stop_silently(worker: int) -> None:
    """Restore the default SIGTERM in a process that makes batches; the command line turns it into an error."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def _steps(
    trained: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    batches: Iterator[HostBatch],
    settings: FitSettings,
    device: torch.device,
    begin: int,
    log_prior: Tensor | None,
) -> Iterator[tuple[int, list[Tensor]]]:
    """Take one optimiser step per batch; yield its number and the list of losses, which the consumer may clear."""
    losses: list[Tensor] = []
    for step, batch in enumerate(batches, start=begin + 1):
        torch.manual_seed(
            settings.seed + (step << 20)
        )  # dropout depends only on the step, so that a resumed run repeats it
        for group in chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
            group["lr"] = settings.learning_rate * learning_rate(step - 1, settings)
        there = batch.to(device)
        with _autocast(device):
            loss = loss_of(trained(there), there, settings, log_prior)
        trained.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained.parameters(), settings.clip)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())
        yield step, losses


class _Progress:
    """Evaluates the network on the validation windows and writes log.jsonl."""

    def __init__(self, output: Path, network: Network, validation: Validation, device: torch.device) -> None:
        self.journal, self.network, self.validation, self.device = output / "log.jsonl", network, validation, device
        self.begin = time.perf_counter()

    def evaluate(self, step: int, losses: list[Tensor]) -> dict[str, Any]:
        """Return one line of the log, and clear the losses."""
        with _autocast(self.device):
            figures = validate(self.network, self.validation, self.device)
        seconds = round(time.perf_counter() - self.begin, 1)
        entry = {"step": step, "seconds": seconds, "loss": round(float(torch.stack(losses).mean()), 4), "val": figures}
        losses.clear()
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        return entry


def _recorded(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings that determine the result, without data directories and the number of workers."""
    recorded = settings.to_json()
    for place in ("directory", "extra"):
        recorded["data"].pop(place)
    recorded["fit"].pop("workers")
    return recorded


def _save(
    model: Model, description: ModelDescription, settings: TrainSettings, training: dict[str, Any], output: Path
) -> None:
    metrics = {"val": training.pop("val")}
    checksums = save_weights(model, output)
    described = replace(
        description, training={**training, "settings": _recorded(settings)}, metrics=metrics, checksums=checksums
    )
    described.write_json(output / "model.json")
