"""Training batches: step number in, packed tensors out; the same for any number of workers.

C chunks (windows), F frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from virnucpro.data import PackedBatch, VarlenCollator
from virnucpro.models.registry import Model
from virnucpro.pipeline.features import length_features
from virnucpro.seq import frames_of
from virnucpro.train.genomes import VIRUS, Genomes
from virnucpro.train.settings import DataSettings
from virnucpro.train.shuffle import artefact, shuffle_dinucleotides
from virnucpro.types import Chunk, Frame

Letters = npt.NDArray[np.uint8]

_ACGT = np.frombuffer(b"ACGT", dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Frames of C windows: F packed proteins, the packed distinct nucleotide sequences and which of them each frame
    has, `nucleotide_row` (F,), the window each belongs to, `owner` (F,), `lengths` (F, 2), `labels` (C,)."""

    nucleotide: PackedBatch
    nucleotide_row: Tensor
    protein: PackedBatch
    owner: Tensor
    lengths: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> TrainingBatch:
        """Return the batch on `device`; from pinned memory the copy runs beside the device's work."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> TrainingBatch:
        """Return the batch in pinned memory; the data loader calls this."""
        return self._each(lambda part: part.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> TrainingBatch:
        return TrainingBatch(*(change(getattr(self, field.name)) for field in fields(self)))


def collate_frames(model: Model, chunks: list[Chunk], labels: list[float]) -> TrainingBatch:
    """Make a batch of all frames of `chunks`; a chunk without frames is left out."""
    kept = [(frames, label) for frames, label in zip(_frames(model, chunks), labels, strict=True) if frames]
    flat = [frame for frames, _ in kept for frame in frames]
    owner = np.repeat(np.arange(len(kept)), [len(frames) for frames, _ in kept])
    numbers: dict[bytes, int] = {}
    rows = [numbers.setdefault(frame.nucleotide, len(numbers)) for frame in flat]
    return TrainingBatch(
        nucleotide=VarlenCollator(model.nucleotide.tokenizer)([(str(n), sequence) for sequence, n in numbers.items()]),
        nucleotide_row=torch.tensor(rows),
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
        made = settings.shuffled + settings.simple
        lots = rng.random(self.batch) if made else np.ones(self.batch)  # below `made`: a window of no organism's
        chunks, labels = [], []
        drawn = zip(records.tolist(), starts.tolist(), lengths.tolist(), lots.tolist(), strict=True)
        for record, start, length, lot in drawn:
            letters = self.genomes.piece(record, start, length)
            if lot < settings.shuffled:
                letters = shuffle_dinucleotides(letters, rng)
            elif lot < made:
                letters = artefact(length, rng)
            chunks.append(Chunk(self.genomes.ids[record], 1, start, with_errors(letters, settings, rng).tobytes()))
            labels.append(float(lot >= made and self.genomes.classes[record] == VIRUS))
        return collate_frames(self.model, chunks, labels)


def with_errors(letters: Letters, settings: DataSettings, rng: np.random.Generator) -> Letters:
    """Return letters (uint8) with sequencing errors at rates drawn for this window, at most as long as before."""
    n = len(letters)
    replaced = rng.random(n) < rng.random() * settings.max_substitution
    letters = np.where(replaced, _ACGT[rng.integers(0, 4, n)], letters)
    if settings.max_indel:
        changed = rng.random(n) < rng.random() * settings.max_indel
        copies = np.where(changed, 2 * rng.integers(0, 2, n), 1)  # left out or doubled
        letters = np.repeat(letters, copies)[:n]
    if settings.max_unknown:
        unknown = rng.random(len(letters)) < rng.random() * settings.max_unknown
        letters = np.where(unknown, np.uint8(ord("N")), letters)
    return letters
