"""From records to calls: chunks, frames, both embeddings, classifier, vote.

The text stage of the next slice of chunks runs in a background thread while the encoders work on this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from virnucpro.config import Options
from virnucpro.data import overlapped, prefetch
from virnucpro.errors import ConfigError
from virnucpro.pipeline.aggregate import Floats, call_record, margins_of, softmax, vote_max, vote_weighted
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.device import PRECISIONS, choose_device, choose_precision, divide_threads, in_flight
from virnucpro.pipeline.features import fuse
from virnucpro.pretrained.catalogue import CATALOGUE
from virnucpro.pretrained.registry import DEFAULT_MODEL, Model, load_model
from virnucpro.scores.decision import Decision
from virnucpro.seq import (
    Limits,
    frames_of,
    letters_of,
    read_records,
    screened_chunks,
)
from virnucpro.seq.reader import AnyPath, SequenceFile, several
from virnucpro.types import Call, Chunk, ChunkResult, Frame, Prediction, Record, RecordResult, Status

# Chunks that pass through the encoders together: enough to fill many token budgets, few enough to hold.
SLICE = 2048
# Frames that the classifier sees at a time, always as many (the last block is filled up): a matrix product may add
# in another order for another number of rows, and then a score would depend on the company it was computed in.
CLASSIFIER_ROWS = 256


@dataclass(frozen=True, slots=True)
class _Item:
    """One chunk of a record on its way, or a record without chunks and why; `last` ends the record."""

    record: Record
    chunk: Chunk | None
    last: bool
    status: Status = Status.OK
    reason: str = ""


_Vote = tuple[float, float | None]  # a chunk's score and, of a calibrated model, its log likelihood ratio


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
        self.decision = Decision.choose(model.description, options.prevalence, options.preset, options.min_score)
        self.device = choose_device(options.device)
        self.precision = choose_precision(options.precision, self.device)
        if options.chunk_length not in (None, length := self.description.chunk_length):
            other = f"published-{options.chunk_length}"
            remedy = f"use --model {other}" if other in CATALOGUE else f"use chunk_length {length}, or another --model"
            raise ConfigError(
                f"the model {self.description.name} was trained with chunks of {length} nt, not of "
                f"{options.chunk_length}; {remedy}",
                "chunk_length",
            )
        shortest = self.description.min_length if options.min_length is None else options.min_length
        self.min_length = max(shortest, 3)  # less than a codon has no frame
        encoders = [model.nucleotide, model.protein]
        for encoder in encoders:
            encoder.model.place(self.device, PRECISIONS[self.precision], options.attention).eval()
        threads = divide_threads([encoder.model for encoder in encoders], options.threads)
        turn = Lock()
        self.nucleotide, self.protein = (
            AsyncInferenceRunner(encoder, self.device, options.max_tokens, options.packing, threads=threads, turn=turn)
            for encoder in encoders
        )
        model.classifier.to(self.device).eval()
        if self.device.type == "cuda":
            self.nucleotide.warm_up(b"ACGT" * 100)
            self.protein.warm_up(b"ACDEFGHIKL" * 15)

    def stop(self) -> None:
        """Make whatever thread runs this one end with its batch, by a StoppedError."""
        self.nucleotide.stopped = self.protein.stopped = True

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
        model = self.description
        limits = Limits(
            self.min_length, model.chunk_length, model.max_ambiguous, model.max_repetition, model.cuts_pieces
        )
        for record in records:
            found = screened_chunks(record, limits)
            chunk, status, reason = next(found)
            for following in found:
                yield _Item(record, chunk, False, status, reason)
                chunk, status, reason = following
            yield _Item(record, chunk, True, status, reason)

    def _score(self, items: Sequence[_Item], frames: Sequence[tuple[Frame, ...]]) -> list[ChunkResult | None]:
        """Return the result of each item, None for a record without chunks."""
        votes, predictions = self._predict(items, frames)
        results: list[ChunkResult | None] = []
        for item, kept in zip(items, frames, strict=True):
            if item.chunk is None:
                results.append(None)
                continue
            own = tuple(islice(predictions, len(kept)))
            results.append(self._chunk_result(item, item.chunk, own, next(votes) if kept else None))
        return results

    def _predict(
        self, items: Sequence[_Item], frames: Sequence[tuple[Frame, ...]]
    ) -> tuple[Iterator[_Vote], Iterator[Prediction]]:
        """Return the votes of the chunks that have frames, and the predictions of all frames, in order."""
        flat = [frame for kept in frames for frame in kept]
        if not flat:
            return iter(()), iter(())
        tasks = (
            (self.nucleotide, [frame.nucleotide for frame in flat]),
            (self.protein, [frame.protein for frame in flat]),
        )
        nucleotide, protein = overlapped(lambda task: task[0].embed(task[1]), tasks, in_flight(self.device))
        features = fuse(nucleotide, protein, flat, self.model.classifier.length_features)
        logits, gates = self._classify(features)
        owner = np.repeat(np.arange(len(frames)), [len(kept) for kept in frames])
        log_ratios: Iterable[float | None] = repeat(None)
        if self.description.vote == "max":  # the published method, whose scores and ties are those of float32
            exact = torch.from_numpy(logits).float().to(self.device)
            frame_scores = F.softmax(exact, dim=1).double().cpu().numpy()
            scores, weights = vote_max(frame_scores, owner)
        else:
            margins = margins_of(logits[:, -1:] - logits[:, :-1])  # (F,)
            frame_scores = softmax(np.stack((np.zeros_like(margins), margins), axis=1))
            votes, weights = vote_weighted(logits, gates, owner)
            if calibration := self.decision.calibration:
                lengths = [
                    len(item.chunk.sequence) for item, kept in zip(items, frames, strict=True) if item.chunk and kept
                ]
                votes = calibration.log_ratios(votes, np.array(lengths))
                log_ratios = votes.tolist()
            scores = self.decision.scores(votes)
        rows = zip(flat, frame_scores.tolist(), weights.tolist(), strict=True)
        predictions = (
            Prediction(frame.id, frame.strand, frame.offset, len(frame.protein), other, virus, weight)
            for frame, (other, virus), weight in rows
        )
        return zip(scores.tolist(), log_ratios, strict=False), predictions  # the second may have no end

    @torch.inference_mode()
    def _classify(self, features: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Return logits (F, K) and gates (F,) of features (F, D), computed in blocks of `CLASSIFIER_ROWS`."""
        rows = len(features)
        filled = torch.from_numpy(np.pad(features, ((0, -rows % CLASSIFIER_ROWS), (0, 0))))
        parts = [
            self.model.classifier(block.to(self.device)) for block in filled.view(-1, CLASSIFIER_ROWS, filled.shape[1])
        ]
        logits, gates = (torch.cat(part)[:rows].double().cpu().numpy() for part in zip(*parts, strict=True))
        return logits, gates

    def _chunk_result(
        self, item: _Item, chunk: Chunk, predictions: tuple[Prediction, ...], vote: _Vote | None
    ) -> ChunkResult:
        best = max(predictions, key=lambda p: p.weight * p.score_virus).frame_id if predictions else None
        status, reason = item.status, item.reason
        length, is_virus = len(chunk.sequence), None
        score, log_ratio = vote or (None, None)
        if score is not None:
            is_virus = self.decision.is_virus(score, log_ratio, length)
        elif status is Status.OK:
            status, reason = Status.NO_FRAME, "none of the six reading frames is free of stop codons"
        call = Call(chunk.id, length, is_virus, score, 1, len(predictions), best, status, reason, log_ratio)
        return ChunkResult(chunk.start, chunk.end, call, predictions)

    def _finish(self, item: _Item, chunks: list[ChunkResult]) -> RecordResult:
        record, letters = item.record, letters_of(item.record, self.description.cuts_pieces)
        if not chunks:
            call = Call(record.id, record.length, None, None, 0, 0, None, item.status, item.reason)
            return RecordResult(record, call, (), letters)
        call = call_record(record.id, record.length, [chunk.call for chunk in chunks], self.decision)
        if call.status is Status.OK and (done := letters.describe()):
            call = replace(call, reason="; ".join(filter(None, (call.reason, done))))
        return RecordResult(record, call, tuple(chunks), letters)


def predict(
    source: AnyPath | Iterable[AnyPath],
    model: str = DEFAULT_MODEL,
    options: Options | None = None,
) -> Iterator[Call]:
    """Yield one call for every record of FASTA or FASTQ input, in order.

    Examples:
        >>> calls = predict("reads.fastq.gz")  # doctest: +SKIP

    Args:
        source: a path, or several; `-` is standard input.
        model: name or directory of a model; the default is the bundled one.
        options: see `Options`.

    Raises:
        InputError, ModelError, ConfigError: with what to do about it.
    """
    files = [SequenceFile(name) for name in several(source)]
    predictor = Predictor(load_model(model), options)
    return (result.call for result in predictor.run(read_records(files)))
