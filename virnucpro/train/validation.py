"""Validation during training: fixed windows of the val split, scored with the current weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from virnucpro.evaluate.genomes import VIRUS, Genomes, sample_windows
from virnucpro.evaluate.metrics import evaluate
from virnucpro.pretrained.registry import Model
from virnucpro.seq.strings import Strings
from virnucpro.train.batches import HostBatch, class_numbers, collate_frames
from virnucpro.train.network import Network, margins_of
from virnucpro.train.settings import FitSettings

EVALUATED_LENGTHS = (500, 300, 150)
Validation = dict[int, tuple[list[HostBatch], list[str]]]


def validation_set(genomes: Genomes, model: Model, settings: FitSettings) -> Validation:
    """Return batches of fixed windows and their classes, in order, for each evaluated length."""
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
            labels = class_numbers([w.class_name for w in part], model.description.classes)
            batches.append(collate_frames(model, Strings.of([w.sequence for w in part]), labels))
        result[length] = batches, [w.class_name for w in windows]
    return result


@torch.no_grad()
def validate(network: Network, validation: Validation, device: torch.device) -> dict[str, Any]:
    """Return the figures of `evaluate` for each length."""
    network.eval()
    figures = {}
    for length, (batches, classes) in validation.items():
        margins = [margins_of(network(batch.to(device))[0]).sigmoid().cpu().numpy() for batch in batches]
        scores: list[float | None] = np.concatenate(margins).tolist()
        figures[str(length)] = evaluate(scores, classes)
    network.train()
    return figures
