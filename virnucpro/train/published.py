"""The published recipe: a new classifier on the frozen encoders of a model (Li et al. 2025, bbaf224).

As published: windows of the model's chunk length without ambiguous letters, as many of virus as of all hosts and of
each host class as many as of another, frames by the model's rule, SGD with momentum, a step schedule, early stopping
by the validation loss. Mended: the best weights are the ones that are kept; validation and test are splits of their
own, by genome, so that no frame of a genome is in two of them, and the test windows are used once. Not done: frames
are not compared with annotated genes, which labelled FASTA does not have. F frames, D features.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from virnucpro.config import Options
from virnucpro.errors import ConfigError
from virnucpro.evaluate.genomes import VIRUS, read_genomes, sample_windows
from virnucpro.evaluate.metrics import auroc, evaluate, rounded
from virnucpro.pipeline.aggregate import softmax, vote_max
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.description import ClassifierDescription
from virnucpro.pretrained.locations import find_model
from virnucpro.pretrained.registry import PARTS, Classifier, build_classifier, load_model
from virnucpro.pretrained.weights import save_state, sha256
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.strings import Strings
from virnucpro.train.settings import ClassifierSettings
from virnucpro.words import counted

logger = logging.getLogger(__name__)

_ONLY_ACGT = frozenset(b"ACGT")


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Frames of windows: features (F, D) float32 and labels (F,) int64 on a device, the window each belongs to, and
    the class of each window that has frames."""

    features: Tensor
    labels: Tensor
    owner: npt.NDArray[np.int64]
    classes: list[str]


def frame_set(predictor: Predictor, settings: ClassifierSettings, split: str, n_virus: int) -> FrameSet:
    """Draw windows of a split and embed their frames.

    Raises:
        ConfigError: no window has a frame.
    """
    genomes = read_genomes(Path(settings.directory), split, settings.exclude)
    hosts = sorted(set(genomes.classes.tolist()) - {VIRUS})
    share = dict.fromkeys(hosts, math.ceil(n_virus / max(1, len(hosts)))) | {VIRUS: n_virus}
    length = predictor.description.chunk_length
    windows = [w for w in sample_windows(genomes, length, share, settings.seed) if _ONLY_ACGT.issuperset(w.sequence)]
    frames = find_frames(Strings.of([window.sequence for window in windows]), predictor.description.frame_rule)
    if not len(frames):
        raise ConfigError(f"no window of {split} has a frame by the rule of {settings.model}; draw more windows")
    features = np.hstack(
        (
            predictor.nucleotide.embed(frames.own_nucleotides().tolist()),
            predictor.protein.embed(frames.proteins.tolist()),
        )
    )
    kept, owner = np.unique(frames.chunk, return_inverse=True)
    classes = [windows[row].class_name for row in kept.tolist()]
    labels = torch.tensor([int(classes[i] == VIRUS) for i in owner])
    return FrameSet(torch.from_numpy(features).to(predictor.device), labels.to(predictor.device), owner, classes)


def fit_classifier(
    settings: ClassifierSettings, train: FrameSet, val: FrameSet, hidden_dim: int, log: Callable[[dict[str, Any]], None]
) -> Classifier:
    """Train a published classifier on frames; return it with the weights of the lowest validation loss.

    Args:
        log: called after each epoch with its figures.
    """
    device = train.features.device
    torch.manual_seed(settings.seed)
    shape = ClassifierDescription("mlp", train.features.shape[1], hidden_dim)
    classifier = build_classifier(shape).to(device)
    optimizer = torch.optim.SGD(classifier.parameters(), settings.learning_rate, settings.momentum)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, settings.decay_every, settings.decay)
    best, kept, since = math.inf, copy.deepcopy(classifier.state_dict()), 0
    for epoch in range(1, settings.epochs + 1):
        classifier.train()
        losses = []
        for rows in torch.split(torch.randperm(len(train.labels)).to(device), settings.batch):
            if len(rows) < 2 and len(train.labels) > 1:
                continue  # batch normalisation needs two
            loss = F.cross_entropy(classifier(train.features[rows])[0], train.labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
        schedule.step()
        figures = frame_figures(classifier, val)
        log({"epoch": epoch, "loss": rounded(float(torch.stack(losses).mean())), "val": figures})
        if figures["loss"] < best:
            best, kept, since = figures["loss"], copy.deepcopy(classifier.state_dict()), 0
        elif (since := since + 1) == settings.patience:
            break
    classifier.load_state_dict(kept)
    return classifier.eval()


@torch.inference_mode()
def frame_figures(classifier: Classifier, frames: FrameSet) -> dict[str, Any]:
    """Return loss, accuracy, precision, recall, F1 and AUROC of frames, and AUROC of windows by their vote."""
    logits = torch.cat([classifier.eval()(part)[0] for part in torch.split(frames.features, 8192)]).float()
    loss = float(F.cross_entropy(logits, frames.labels))
    scores, virus = softmax(logits.double().cpu().numpy()), frames.labels.cpu().numpy() == 1
    called = scores[:, 1] >= scores[:, 0]
    right, wrong, missed = (int(x.sum()) for x in (called & virus, called & ~virus, ~called & virus))
    votes, _ = vote_max(scores, frames.owner)
    windows = evaluate(votes.tolist(), frames.classes)
    return {
        "loss": loss,
        "accuracy": rounded(float((called == virus).mean())),
        "precision": rounded(right / max(1, right + wrong)),
        "recall": rounded(right / max(1, right + missed)),
        "f1": rounded(2 * right / max(1, 2 * right + wrong + missed)),
        "auroc": rounded(auroc(scores[virus, 1], scores[~virus, 1])),
        "windows": {name: windows[name] for name in ("n", "auroc", "macro_auroc")},
    }


def train_classifier(
    settings: ClassifierSettings, output: Path, options: Options, log: Callable[[str], None] = logger.info
) -> None:
    """Train a classifier by the published recipe and write a model directory with it, and log.jsonl.

    Raises:
        VirnucproError: model or data cannot be read, or no window has a frame.
    """
    directory = find_model(settings.model)
    predictor = Predictor(load_model(settings.model), options)
    sizes = {"train": settings.windows, "val": settings.windows // 10, "test": settings.windows // 10}
    sets: dict[str, FrameSet] = {}
    for split, n_virus in sizes.items():
        sets[split] = frame_set(predictor, settings, split, n_virus)
        windows, frames = len(sets[split].classes), len(sets[split].labels)
        log(f"{split}: {counted(windows, 'windows')} with a frame, {counted(frames, 'frames')}")
    output.mkdir(parents=True, exist_ok=True)
    journal = output / "log.jsonl"
    journal.write_text("")

    def log_epoch(entry: dict[str, Any]) -> None:
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        val = entry["val"]
        log(f"epoch {entry['epoch']}: loss {entry['loss']}, val loss {val['loss']:.4f}, AUROC {val['auroc']}")

    base = predictor.description
    classifier = fit_classifier(settings, sets["train"], sets["val"], base.classifier.hidden_dim, log_epoch)
    metrics = {split: frame_figures(classifier, sets[split]) for split in ("val", "test")}
    test = metrics["test"]
    log(f"test: AUROC of frames {test['auroc']}, of windows {test['windows']['auroc']}")
    for name in (name for name in base.files() if name != f"{PARTS[2]}.safetensors"):
        (output / name).unlink(missing_ok=True)
        with suppress(OSError):  # another file system, or one without links
            os.link(directory / name, output / name)
        if not (output / name).exists():
            shutil.copyfile(directory / name, output / name)
    save_state(classifier.state_dict(), output / f"{PARTS[2]}.safetensors")
    shape = ClassifierDescription("mlp", sets["train"].features.shape[1], base.classifier.hidden_dim)
    replace(
        base, name=settings.name, classifier=shape, vote="max", calibration=None,
        training={"recipe": "published", "settings": asdict(settings)}, metrics=metrics,
        checksums=base.checksums | {f"{PARTS[2]}.safetensors": sha256(output / f"{PARTS[2]}.safetensors")},
    ).write_json(output / "model.json")  # fmt: skip
