"""The host's half of calling a block: text in, tokens out; scores in, calls out. Nothing here imports torch.

It runs in the main process or, beside a GPU, in worker processes (`run.text_pool`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from virnucpro.config import FrameRule
from virnucpro.models.tokenizers import Tokenizer
from virnucpro.pipeline.calls import OK, CallTable, FrameCalls, call_chunks, call_records
from virnucpro.pipeline.features import length_features
from virnucpro.pipeline.frame_tokens import FrameScores, FrameTokens
from virnucpro.scores.calibration import Floats
from virnucpro.scores.decision import Decision
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import cut_chunks, read_letters
from virnucpro.seq.frame_table import FrameTable, find_frames
from virnucpro.seq.kmer_filter import KmerFilter
from virnucpro.seq.screen import Limits
from virnucpro.seq.strings import Strings

# Yields tokens, is sent their scores, and returns the calls of the block.
Calling = Generator[FrameTokens, FrameScores, CallTable]


@dataclass(frozen=True, slots=True)
class TextStage:
    """Everything that calling needs beside the networks, as plain values that can be sent to another process.

    `nucleotide` and `protein` are the tokenizers of the two encoders; `vote` is max or weighted, see
    `pipeline.aggregate`. `kmers` is the model's filter of 9-mers, if there is one. `slice_chunks` chunks pass through
    the encoders together: enough to fill many batches, few enough for the memory. `screen` judges chunks before they
    are tokenised; the tokens of its own stage are marked `of_screen`.
    """

    limits: Limits
    frame_rule: FrameRule
    nucleotide: Tokenizer
    protein: Tokenizer
    vote: str
    decision: Decision
    kmers: KmerFilter | None = None
    slice_chunks: int = 8192
    screen: Screen | None = None
    of_screen: bool = False

    def call(self, block: RecordBlock) -> Calling:
        """Yield the tokens of `slice_chunks` chunks at a time, receive their scores, return the calls of the block."""
        chunks = cut_chunks(block, self.limits)
        usable = np.flatnonzero(chunks.status == OK)
        parts: list[FrameCalls] = []
        sums = np.zeros((len(chunks), len(self.kmers.layout.sides) if self.kmers else 0))
        for begin in range(0, len(usable), self.slice_chunks):
            rows = usable[begin : begin + self.slice_chunks]
            letters = read_letters(block, chunks, rows)
            frames = find_frames(letters, self.frame_rule)
            if self.screen and len(frames):
                evidence = yield from self.screen.judge(letters, frames)
                dropped = np.flatnonzero(~np.isnan(evidence))
                chunks = chunks.screened(rows[dropped], evidence[dropped])
                frames = frames.of_chunks(np.isnan(evidence))
            if self.kmers:
                sums[rows] = self.kmers.sums(frames, len(rows))
            if len(frames):
                scores = yield self.tokens(frames)
                parts.append(FrameCalls.of(frames, rows, scores))
        calls = call_chunks(chunks, FrameCalls.concat(parts), self.vote, self.decision, sums)
        return call_records(block, chunks, *calls, self.decision, sums)

    def tokens(self, frames: FrameTable) -> FrameTokens:
        """Return the input of the encoders and the classifier for these frames."""
        nucleotide_tokens, nucleotide_lengths = self.nucleotide.encode(frames.nucleotides)
        protein_tokens, protein_lengths = self.protein.encode(frames.proteins)
        bases = frames.nucleotides.lengths[frames.nucleotide]
        return FrameTokens(
            nucleotide_tokens,
            nucleotide_lengths,
            frames.nucleotide,
            protein_tokens,
            protein_lengths,
            length_features(frames.proteins.lengths, bases),
            self.of_screen,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """A small model that judges chunks before the model of the run.

    `stage` is its text stage; `thresholds` has the least log likelihood ratio of a chunk of 0, 1, 2, ... nt that goes
    on to the model of the run, see `Reference.recall_thresholds`.
    """

    stage: TextStage
    thresholds: Floats

    def judge(self, letters: Strings, frames: FrameTable) -> Generator[FrameTokens, FrameScores, Floats]:
        """Yield tokens, receive their scores, return the evidence of chunks that are screened out, NaN for others (C,).

        Each chunk with a frame is judged as the small model judges a record. What it cannot judge is not screened out.

        Args:
            letters: what the model of the run reads of each chunk, (C).
            frames: the frames that it would compute.
        """
        rows = np.unique(frames.chunk)
        calls = yield from self.stage.call(RecordBlock.unnamed(letters.take(rows)))
        found, length = calls.record.log_ratio, np.minimum(calls.judged_length, len(self.thresholds) - 1)
        evidence = np.full(len(letters), np.nan)
        evidence[rows] = np.where(found < self.thresholds[length], found, np.nan)
        return evidence


def drive(calling: Calling, score: Callable[[FrameTokens], FrameScores]) -> CallTable:
    """Run a generator of `TextStage.call` to its end, with `score` to score its tokens."""
    try:
        tokens = next(calling)
        while True:
            tokens = calling.send(score(tokens))
    except StopIteration as end:
        table: CallTable = end.value
        return table
