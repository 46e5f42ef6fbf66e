"""Call records with one model on one device: text to tokens, both embeddings, classifier, vote; perhaps a screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor

from virnucpro.config import Options
from virnucpro.data import prefetch
from virnucpro.errors import ConfigError
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.calls import CallTable
from virnucpro.pipeline.device import PRECISIONS, choose_device, choose_precision, divide_threads
from virnucpro.pipeline.device_tokens import to_device
from virnucpro.pipeline.frame_tokens import FrameScores, FrameTokens
from virnucpro.pipeline.screening import load_screen, screen_options
from virnucpro.pipeline.text import Screen, TextStage, drive
from virnucpro.pretrained.catalogue import CATALOGUE
from virnucpro.pretrained.registry import Model
from virnucpro.scores.decision import Decision
from virnucpro.seq import Limits
from virnucpro.seq.block import RecordBlock, group_records
from virnucpro.types import Record, RecordResult

# The records of a block of `Predictor.run`.
BLOCK_RECORDS, BLOCK_BASES = 2048, 1 << 20
# Frames per pass of the classifier, always the same number (the last pass is filled up). A matrix product may add in
# another order for another number of rows, and then a score would depend on the frames beside it. A GPU gets more
# frames, so that launching takes less time than computing.
CLASSIFIER_ROWS = {"cpu": 256, "cuda": 4096}


class Predictor:
    """A model on a device, ready to call records.

    Args:
        model: a loaded model; it is moved to the device.
        options: see `Options`.

    Raises:
        ConfigError: the device, precision or attention backend is not available, or an option contradicts the model.
    """

    def __init__(self, model: Model, options: Options | None = None) -> None:
        self.options = options = options or Options()
        self.model, self.description = model, model.description
        self.decision = Decision.choose(
            model.description,
            options.prevalence,
            options.preset,
            options.min_score,
            options.composition,
            options.max_fdr,
        )
        loaded = load_screen(model.description, options)
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
        self.min_length = max(shortest, 3)  # a reading frame needs one codon
        encoders = [model.nucleotide, model.protein]
        for encoder in encoders:
            encoder.model.place(self.device, PRECISIONS[self.precision], options.attention).eval()
        # After the weights of the model are placed, because budgets follow from the memory that is left.
        self.screen = None if loaded is None else Predictor(loaded.model, screen_options(options, self.precision))
        threads = divide_threads([encoder.model for encoder in encoders], options.threads)
        self.nucleotide, self.protein = (
            AsyncInferenceRunner(encoder, self.device, options.max_tokens, options.packing, threads=threads)
            for encoder in encoders
        )
        model.classifier.to(self.device).eval()
        self.text = self._text_stage()
        self._turn = Lock()  # only one thread launches work at a time, because the budget assumes all free memory
        if self.screen and loaded:
            self.screen._turn = self._turn
            for runner in self.screen.runners:
                runner.threads = threads  # torch's operators have the other cores now
            screen = Screen(replace(self.screen.text, of_screen=True), loaded.thresholds)
            self.text = replace(self.text, screen=screen)
        if self.device.type == "cuda":
            self.nucleotide.warm_up(b"ACGT" * 100)
            self.protein.warm_up(b"ACDEFGHIKL" * 15)

    def _text_stage(self) -> TextStage:
        model = self.description
        limits = Limits(
            self.min_length, model.chunk_length, model.max_ambiguous, model.max_repetition, model.cuts_pieces
        )
        tokenizers = self.model.nucleotide.tokenizer, self.model.protein.tokenizer
        return TextStage(limits, model.frame_rule, *tokenizers, model.vote, self.decision, self.model.kmers)

    @property
    def runners(self) -> list[AsyncInferenceRunner]:
        """The runners of all encoders, those of the screen last."""
        return [self.nucleotide, self.protein, *(self.screen.runners if self.screen else ())]

    def keep_all(self) -> None:
        """Let a run keep the sequences of all records, see `Decision`; to be called before the first call."""
        self.decision = replace(self.decision, keep_all=True)
        self.text = replace(self.text, decision=self.decision)

    def stop(self) -> None:
        """Ask running threads to raise StoppedError before their next batch."""
        for runner in self.runners:
            runner.stopped = True

    def run(self, records: Iterable[Record]) -> Iterator[RecordResult]:
        """Yield one result for every record, in input order.

        Raises:
            ConfigError: `max_fdr` is given, which needs all records.
        """
        if self.decision.max_fdr is not None:
            raise ConfigError(
                "max_fdr follows from all records of a sample, but here they are called one by one; use "
                "virnucpro.predict, or a preset",
                "max_fdr",
            )
        for group in prefetch(group_records(records, BLOCK_RECORDS, BLOCK_BASES), depth=1):
            yield from self.call(RecordBlock.of(group)).results(group)

    def call(self, block: RecordBlock) -> CallTable:
        """Return the calls of a block of records."""
        return drive(self.text.call(block), self.score)

    def score(self, tokens: FrameTokens) -> FrameScores:
        """Embed frames with both encoders and classify them; threads may call this at the same time.

        Tokens that are `of_screen` go to the model of the screen.

        Raises:
            NumericalError: an embedding is not finite.
            StoppedError: `stop` has been called.
        """
        if tokens.of_screen:
            if self.screen is None:
                raise ConfigError("these tokens are for a screen, which this predictor does not have", "screen")
            return self.screen.score(replace(tokens, of_screen=False))
        with self._turn:
            launched = self._launch(tokens)
        if not launched.are_finite():
            with self._turn:
                launched = self._launch(tokens, repair=True)
        return launched.scores()

    @torch.inference_mode()
    def _launch(self, tokens: FrameTokens, repair: bool = False) -> _Launched:
        """Launch all work for these frames; with `repair`, compute vectors that are not finite again in float32."""
        nucleotide_input = tokens.nucleotide_tokens, tokens.nucleotide_lengths
        protein_input = tokens.protein_tokens, tokens.protein_lengths
        nucleotide = self.nucleotide.embed_tokens(*nucleotide_input)  # (S, D)
        protein = self.protein.embed_tokens(*protein_input)  # (F, D)
        if repair:
            self.nucleotide.repair(nucleotide, *nucleotide_input)
            self.protein.repair(protein, *protein_input)
        parts = [nucleotide[to_device(tokens.nucleotide, self.device)], protein]
        if self.model.classifier.length_features:
            parts.append(to_device(tokens.length_features, self.device))
        features = torch.cat(parts, dim=1)
        values, gates = self._classify(features)
        finite = torch.isfinite(features).all().expand(len(values), 1)
        return _Launched.of(torch.cat((values, gates[:, None], finite), dim=1))

    def _classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (F, K) and gates (F,), float32, for features (F, D), in passes of `CLASSIFIER_ROWS` rows."""
        rows, size = len(features), CLASSIFIER_ROWS[self.device.type]
        filled = F.pad(features, (0, 0, 0, -rows % size))
        parts = [self.model.classifier(block) for block in torch.split(filled, size)]
        values, gates = (torch.cat(part)[:rows].float() for part in zip(*parts, strict=True))
        # The published method computes the softmax in float32, which decides its ties.
        return (F.softmax(values, dim=1) if self.description.vote == "max" else values), gates


@dataclass(frozen=True, slots=True)
class _Launched:
    """Output for F frames on its way to the host: values, gate and whether all features are finite, (F, K + 2).

    `done` is the event after which the copy is complete; None: it is complete.
    """

    out: Tensor
    done: torch.cuda.Event | None

    @classmethod
    def of(cls, out: Tensor) -> _Launched:
        if out.device.type != "cuda":
            return cls(out, None)
        host = torch.empty(out.shape, dtype=out.dtype, pin_memory=True)
        host.copy_(out, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(out.device))
        return cls(host, done)

    def are_finite(self) -> bool:
        if self.done is not None:
            self.done.synchronize()
        return bool(self.out[0, -1])

    def scores(self) -> FrameScores:
        if self.done is not None:
            self.done.synchronize()
        values = self.out.double().numpy()
        return FrameScores(values[:, :-2], values[:, -2])
