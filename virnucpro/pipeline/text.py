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
from virnucpro.scores.decision import Decision
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import cut_chunks, read_letters
from virnucpro.seq.frame_table import FrameTable, find_frames
from virnucpro.seq.kmer_filter import KmerFilter
from virnucpro.seq.screen import Limits

# Yields tokens, is sent their scores, and returns the calls of the block.
Calling = Generator[FrameTokens, FrameScores, CallTable]


@dataclass(frozen=True, slots=True)
class TextStage:
    """Everything that calling needs beside the networks, as plain values that can be sent to another process.

    `nucleotide` and `protein` are the tokenizers of the two encoders; `vote` is max or weighted, see
    `pipeline.aggregate`. `kmers` is the model's filter of 9-mers, if there is one. `slice_chunks` chunks pass through
    the encoders together: enough to fill many batches, few enough for the memory.
    """

    limits: Limits
    frame_rule: FrameRule
    nucleotide: Tokenizer
    protein: Tokenizer
    vote: str
    decision: Decision
    kmers: KmerFilter | None = None
    slice_chunks: int = 8192

    def call(self, block: RecordBlock) -> Calling:
        """Yield the tokens of `slice_chunks` chunks at a time, receive their scores, return the calls of the block."""
        chunks = cut_chunks(block, self.limits)
        usable = np.flatnonzero(chunks.status == OK)
        parts: list[FrameCalls] = []
        sums = np.zeros((len(chunks), len(self.kmers.layout.sides) if self.kmers else 0))
        for begin in range(0, len(usable), self.slice_chunks):
            rows = usable[begin : begin + self.slice_chunks]
            frames = find_frames(read_letters(block, chunks, rows), self.frame_rule)
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
        )


def drive(calling: Calling, score: Callable[[FrameTokens], FrameScores]) -> CallTable:
    """Run a generator of `TextStage.call` to its end, with `score` to score its tokens."""
    try:
        tokens = next(calling)
        while True:
            tokens = calling.send(score(tokens))
    except StopIteration as end:
        table: CallTable = end.value
        return table
