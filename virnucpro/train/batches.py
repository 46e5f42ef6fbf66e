"""Training batches: step number in, packed tokens out; the same for any number of workers.

C chunks (windows), F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from virnucpro.data import PackedBatch
from virnucpro.pipeline.features import length_features
from virnucpro.pretrained.registry import Encoder, Model
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.strings import Strings, borders
from virnucpro.train.augment import gather, repeat_units, with_ends, with_errors, without_origin
from virnucpro.train.mixture import Mixture
from virnucpro.train.settings import DataSettings

Ints = npt.NDArray[np.int64]

NO_VIRUS = -1
# If a record is shorter than the window, at least this share of the record is drawn.
_LEAST_PART = 0.5


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Frames of C windows on a device, with the labels of the windows.

    `protein` has F packed proteins, `nucleotide` the different nucleotide sequences. Frame f has nucleotide sequence
    `nucleotide_row[f]` and belongs to window `owner[f]`; both are (F,). `lengths` is (F, 2), see `pipeline.features`.
    `labels` (C,) are numbers of classes, or `NO_VIRUS` for a window of no organism, which counts as any host class.
    """

    nucleotide: PackedBatch
    nucleotide_row: Tensor
    protein: PackedBatch
    owner: Tensor
    lengths: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class HostTokens:
    """Sequences end to end: `tokens` (T,) of the smallest integer type for the vocabulary, `borders` (N+1,) int32."""

    tokens: npt.NDArray[Any]
    borders: npt.NDArray[np.int32]

    @classmethod
    def of(cls, encoder: Encoder, sequences: Strings) -> HostTokens:
        """Tokenise sequences (N)."""
        tokens, lengths = encoder.tokenizer.encode(sequences)
        return cls(tokens, borders(lengths).astype(np.int32))

    def to(self, device: torch.device) -> PackedBatch:
        """Return the batch on `device`, where its positions are made."""
        sizes, total = np.diff(self.borders), len(self.tokens)
        input_ids, borders = _moved(self.tokens, device).long(), _moved(self.borders, device)
        starts = torch.repeat_interleave(borders[:-1].long(), borders.diff(), output_size=total)
        position_ids = torch.arange(total, device=device) - starts
        return PackedBatch(input_ids, position_ids, borders, int(sizes.max()), ("",) * len(sizes))


@dataclass(frozen=True, slots=True)
class HostBatch:
    """A `TrainingBatch` as NumPy arrays, in a tenth of its bytes.

    Workers send arrays through a pipe. Each tensor would need a file descriptor, which a worker passes on only when its
    interpreter is free; the GPU would wait for it.
    """

    nucleotide: HostTokens
    nucleotide_row: npt.NDArray[np.int32]
    protein: HostTokens
    owner: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def to(self, device: torch.device | str) -> TrainingBatch:
        """Return the batch on a device; the copy to a GPU runs beside its work."""
        device = torch.device(device)
        return TrainingBatch(
            self.nucleotide.to(device),
            _moved(self.nucleotide_row, device).long(),
            self.protein.to(device),
            _moved(self.owner, device).long(),
            _moved(self.lengths, device),
            _moved(self.labels, device),
        )


def _moved(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def collate_frames(model: Model, windows: Strings, labels: npt.ArrayLike) -> HostBatch:
    """Make a batch of all frames of windows (N) with their labels (N,); a window without frames is left out."""
    frames = find_frames(windows, model.description.frame_rule)
    kept, owner = np.unique(frames.chunk, return_inverse=True)
    return HostBatch(
        nucleotide=HostTokens.of(model.nucleotide, frames.nucleotides),
        nucleotide_row=frames.nucleotide.astype(np.int32),
        protein=HostTokens.of(model.protein, frames.proteins),
        owner=owner.astype(np.int32),
        lengths=length_features(frames.proteins.lengths, frames.nucleotides.lengths[frames.nucleotide]),
        labels=np.asarray(labels, np.int64)[kept],
    )


class WindowBatches(Dataset[HostBatch]):
    """A map-style data set whose item i is the batch of step i, drawn from the seed and i alone."""

    def __init__(self, mixture: Mixture, settings: DataSettings, model: Model, batch: int, steps: int, seed: int):
        self.genomes, self.settings, self.model = mixture.genomes, settings, model
        self.batch, self.steps, self.seed = batch, steps, seed
        self.cumulative = np.cumsum(mixture.weights)
        self.labels = class_numbers(mixture.genomes.classes.tolist(), model.description.classes)
        self.virus = len(model.description.classes) - 1

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> HostBatch:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        settings, rng = self.settings, np.random.default_rng([self.seed, step])
        free = rng.integers(settings.min_length, settings.max_length + 1, self.batch)
        fixed = rng.choice(settings.fixed_lengths, self.batch)
        wanted = np.where(rng.random(self.batch) < settings.fixed_share, fixed, free)
        records, starts, lengths = self.genomes.draw(rng, self.cumulative, wanted, _LEAST_PART)
        letters = gather(self.genomes.text, self.genomes.starts[records] + starts, lengths)
        labels = self.labels[records]
        tandem = (labels != self.virus) & (rng.random(self.batch) < settings.tandem)
        repeat_units(letters, lengths, tandem, rng)
        labels = np.where(without_origin(letters, lengths, settings, rng), NO_VIRUS, labels)
        letters, lengths = with_errors(letters, lengths, settings, rng)
        letters = with_ends(letters, lengths, settings, rng)
        windows = Strings.of([row[:n].tobytes() for row, n in zip(letters, lengths.tolist(), strict=True)])
        return collate_frames(self.model, windows, labels)


def class_numbers(names: Sequence[str], classes: tuple[str, ...]) -> Ints:
    """Return the number of each name among a model's classes; -1 for one that the model has not.

    A model of two classes has every host under the first.
    """
    of_name = {name: number for number, name in enumerate(classes)}
    other = 0 if len(classes) == 2 else NO_VIRUS
    return np.array([of_name.get(name, other) for name in names], dtype=np.int64)
