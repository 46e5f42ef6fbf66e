"""From records to calls: chunks, frames, both embeddings, classifier, vote.

The text stage of the next slice of chunks runs in a background thread while the encoders work on this one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from virnucpro.config import default_threads
from virnucpro.data import prefetch
from virnucpro.errors import ConfigError
from virnucpro.models.catalogue import CATALOGUE
from virnucpro.models.registry import DEFAULT_MODEL, Encoder, Model, load_model
from virnucpro.pipeline.aggregate import Floats, call_record, softmax, vote_max, vote_weighted
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.device import PRECISIONS, choose_device, choose_precision
from virnucpro.pipeline.features import fuse
from virnucpro.seq import Limits, frames_of, read_records, screened_chunks
from virnucpro.types import Call, Chunk, Frame, Prediction, Record, Status

# Chunks that pass through the encoders together: enough to fill many token budgets, few enough to hold.
SLICE = 2048
# Frames that the classifier sees at a time, always as many (the last block is filled up): a matrix product may add
# in another order for another number of rows, and then a score would depend on the company it was computed in.
CLASSIFIER_ROWS = 256


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: device and precision by name, token budget, attention backend, packing, thresholds.

    `min_length` (nt, at least 3) and `min_score` default to the model's own, `threads` to the cores available,
    `max_tokens` to what suits the device. A `chunk_length` (nt) that is not the model's own is an error.
    """

    device: str = "auto"
    precision: str = "auto"
    attention: str = "auto"
    max_tokens: int | None = None
    packing: bool = True
    threads: int | None = None
    min_length: int | None = None
    min_score: float | None = None
    chunk_length: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """A chunk's place in its record (0-based start, nt), its call, and the predictions of its frames."""

    start: int
    call: Call
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class RecordResult:
    """A record, its call and its chunks; `chunks` is empty where the record was not scored."""

    record: Record
    call: Call
    chunks: tuple[ChunkResult, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    """One chunk of a record on its way, or a record without chunks and why; `last` ends the record."""

    record: Record
    chunk: Chunk | None
    last: bool
    status: Status = Status.OK
    reason: str = ""


class Predictor:
    """A model on a device, ready to call records.

    Args:
        model: loaded model; it is moved to the device.
        options: see `Options`.

    Raises:
        ConfigError: the device, precision or attention backend cannot be had.
    """

    def __init__(self, model: Model, options: Options | None = None) -> None:
        self.options = options = options or Options()
        self.model, self.description = model, model.description
        self.device = choose_device(options.device)
        self.precision = choose_precision(options.precision, self.device)
        if options.chunk_length not in (None, length := self.description.chunk_length):
            other = f"published-{options.chunk_length}"
            remedy = (
                f"use --model {other}" if other in CATALOGUE else f"use --chunk-length {length}, or another --model"
            )
            raise ConfigError(
                f"the model {self.description.name} was trained with chunks of {length} nt, not of "
                f"{options.chunk_length}; {remedy}"
            )
        shortest = self.description.min_length if options.min_length is None else options.min_length
        self.min_length = max(shortest, 3)  # less than a codon has no frame
        self.threshold = self.description.threshold if options.min_score is None else options.min_score
        torch.set_num_threads(options.threads or default_threads())
        self.nucleotide = self._runner(model.nucleotide)
        self.protein = self._runner(model.protein)
        model.classifier.to(self.device).eval()

    def _runner(self, encoder: Encoder) -> AsyncInferenceRunner:
        encoder.model.place(self.device, PRECISIONS[self.precision], self.options.attention).eval()
        return AsyncInferenceRunner(encoder, self.device, self.options.max_tokens, self.options.packing)

    def run(self, records: Iterable[Record]) -> Iterator[RecordResult]:
        """Yield one result for every record, in input order."""
        chunks: list[ChunkResult] = []
        for items, frames in prefetch(self._prepared(records), depth=1):
            for item, result in zip(items, self._score(items, frames), strict=True):
                if result is not None:
                    chunks.append(result)
                if item.last:
                    yield self._finish(item, chunks)
                    chunks = []

    def _prepared(self, records: Iterable[Record]) -> Iterator[tuple[list[_Item], list[tuple[Frame, ...]]]]:
        """Yield slices of items, each with its frames: the text stage."""
        stream = self._items(records)
        while items := list(islice(stream, SLICE)):
            usable = [(i, item.chunk) for i, item in enumerate(items) if item.chunk and item.status is Status.OK]
            frames: list[tuple[Frame, ...]] = [()] * len(items)
            found = frames_of([chunk for _, chunk in usable], self.description.frame_rule)
            for (i, _), kept in zip(usable, found, strict=True):
                frames[i] = kept
            yield items, frames

    def _items(self, records: Iterable[Record]) -> Iterator[_Item]:
        limits = Limits(self.min_length, self.description.chunk_length, self.description.max_ambiguous)
        for record in records:
            for chunk, status, reason in screened_chunks(record, limits):
                last = chunk is None or chunk.start + len(chunk.sequence) == len(record.sequence)
                yield _Item(record, chunk, last, status, reason)

    def _score(self, items: Sequence[_Item], frames: Sequence[tuple[Frame, ...]]) -> list[ChunkResult | None]:
        """Return the result of each item, None for a record without chunks."""
        flat = [frame for kept in frames for frame in kept]
        scores, predictions = self._predict(flat, frames) if flat else (iter(()), iter(()))
        results: list[ChunkResult | None] = []
        for item, kept in zip(items, frames, strict=True):
            if item.chunk is None:
                results.append(None)
                continue
            own = tuple(islice(predictions, len(kept)))
            score = next(scores) if kept else None
            results.append(self._chunk_result(item, item.chunk, own, score))
        return results

    def _predict(
        self, flat: list[Frame], frames: Sequence[tuple[Frame, ...]]
    ) -> tuple[Iterator[float], Iterator[Prediction]]:
        """Return the scores of the chunks that have frames, and the predictions of all frames, in order."""
        features = fuse(
            self.nucleotide.embed([frame.nucleotide for frame in flat]),
            self.protein.embed([frame.protein for frame in flat]),
            flat,
            self.model.classifier.length_features,
        )
        margins, gates = self._classify(features)
        owner = np.repeat(np.arange(len(frames)), [len(kept) for kept in frames])
        if self.description.vote == "max":  # the published method, whose scores and ties are those of float32
            logits = torch.from_numpy(margins).float().to(self.device)
            frame_scores = F.softmax(logits, dim=1).double().cpu().numpy()
            chunk_scores, weights = vote_max(frame_scores, owner)
        else:
            frame_scores = softmax(margins)
            chunk_scores, weights = vote_weighted(margins, gates, owner)
        rows = zip(flat, frame_scores.tolist(), weights.tolist(), strict=True)
        predictions = (
            Prediction(frame.id, frame.strand, frame.offset, len(frame.protein), other, virus, weight)
            for frame, (other, virus), weight in rows
        )
        return iter(chunk_scores.tolist()), predictions

    @torch.inference_mode()
    def _classify(self, features: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Return logits (F, 2) and gates (F,) of features (F, D), computed in blocks of `CLASSIFIER_ROWS`."""
        rows = len(features)
        filled = torch.from_numpy(np.pad(features, ((0, -rows % CLASSIFIER_ROWS), (0, 0))))
        parts = [
            self.model.classifier(block.to(self.device)) for block in filled.view(-1, CLASSIFIER_ROWS, filled.shape[1])
        ]
        logits, gates = (torch.cat(part)[:rows].double().cpu().numpy() for part in zip(*parts, strict=True))
        return logits, gates

    def _chunk_result(
        self, item: _Item, chunk: Chunk, predictions: tuple[Prediction, ...], score: float | None
    ) -> ChunkResult:
        best = max(predictions, key=lambda p: p.weight * p.score_virus).frame_id if predictions else None
        status, reason = item.status, item.reason
        if status is Status.OK and score is None:
            status, reason = Status.NO_FRAME, "none of the six reading frames is free of stop codons"
        is_virus = None if score is None else score >= self.threshold
        call = Call(chunk.id, len(chunk.sequence), is_virus, score, 1, len(predictions), best, status, reason)
        return ChunkResult(chunk.start, call, predictions)

    def _finish(self, item: _Item, chunks: list[ChunkResult]) -> RecordResult:
        record = item.record
        if not chunks:
            call = Call(record.id, len(record.sequence), None, None, 0, 0, None, item.status, item.reason)
            return RecordResult(record, call, ())
        call = call_record(record.id, len(record.sequence), [chunk.call for chunk in chunks], self.threshold)
        return RecordResult(record, call, tuple(chunks))


def predict(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    model: str = DEFAULT_MODEL,
    options: Options | None = None,
) -> Iterator[Call]:
    """Yield one call for every record of FASTA or FASTQ input, in order.

    >>> calls = predict("reads.fastq.gz")  # doctest: +SKIP

    Args:
        source: a path, or several; `-` is standard input.
        model: name or directory of a model; the default is the bundled one.
        options: see `Options`.

    Raises:
        InputError, ModelError, ConfigError: with what to do about it.
    """
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    predictor = Predictor(load_model(model), options)
    return (result.call for result in predictor.run(read_records(sources)))
