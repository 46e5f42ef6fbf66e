"""Training batches: step number in, packed tensors out; the same for any number of workers.

C chunks (windows), F frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from virnucpro.data import PackedBatch, VarlenCollator
from virnucpro.models.registry import Model
from virnucpro.pipeline.features import length_features
from virnucpro.seq import frames_of
from virnucpro.train.genomes import VIRUS, Genomes
from virnucpro.train.settings import DataSettings
from virnucpro.types import Chunk, Frame

_ACGT = np.frombuffer(b"ACGT", dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Frames of C windows: two packed batches of F sequences, `owner` (F,), `lengths` (F, 2), `labels` (C,)."""

    nucleotide: PackedBatch
    protein: PackedBatch
    owner: Tensor
    lengths: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> TrainingBatch:
        """Return the batch on `device`."""
        return TrainingBatch(
            self.nucleotide.to(device), self.protein.to(device),
            self.owner.to(device), self.lengths.to(device), self.labels.to(device),
        )  # fmt: skip


def collate_frames(model: Model, chunks: list[Chunk], labels: list[float]) -> TrainingBatch:
    """Make a batch of all frames of `chunks`; a chunk without frames is left out."""
    kept = [(frames, label) for frames, label in zip(_frames(model, chunks), labels, strict=True) if frames]
    flat = [frame for frames, _ in kept for frame in frames]
    owner = np.repeat(np.arange(len(kept)), [len(frames) for frames, _ in kept])
    return TrainingBatch(
        nucleotide=VarlenCollator(model.nucleotide.tokenizer)([(f.id, f.nucleotide) for f in flat]),
        protein=VarlenCollator(model.protein.tokenizer)([(f.id, f.protein) for f in flat]),
        owner=torch.from_numpy(owner),
        lengths=torch.from_numpy(length_features(flat)),
        labels=torch.tensor([label for _, label in kept], dtype=torch.float32),
    )


def _frames(model: Model, chunks: list[Chunk]) -> list[tuple[Frame, ...]]:
    return frames_of(chunks, model.description.frame_rule)


class WindowBatches(Dataset[TrainingBatch]):
    """A map-style data set whose item i is the batch of step i, drawn from the seed and i alone."""

    def __init__(self, genomes: Genomes, settings: DataSettings, model: Model, batch: int, steps: int, seed: int):
        self.genomes, self.settings, self.model = genomes, settings, model
        self.batch, self.steps, self.seed = batch, steps, seed
        self.cumulative = np.cumsum(genomes.weights(settings.class_share, settings.temper))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> TrainingBatch:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        settings, rng = self.settings, np.random.default_rng([self.seed, step])
        free = rng.integers(settings.min_length, settings.max_length + 1, self.batch)
        fixed = rng.choice(settings.fixed_lengths, self.batch)
        wanted = np.where(rng.random(self.batch) < settings.fixed_share, fixed, free)
        records, starts, lengths = self.genomes.draw(rng, self.cumulative, wanted)
        chunks, labels = [], []
        for record, start, length in zip(records.tolist(), starts.tolist(), lengths.tolist(), strict=True):
            letters = self.genomes.piece(record, start, length)
            changed = rng.random(length) < rng.random() * settings.max_substitution
            letters = np.where(changed, _ACGT[rng.integers(0, 4, length)], letters)
            chunks.append(Chunk(self.genomes.ids[record], 1, start, letters.tobytes()))
            labels.append(float(self.genomes.classes[record] == VIRUS))
        return collate_frames(self.model, chunks, labels)
