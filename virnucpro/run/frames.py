"""The chunks and frames of records by the published rules, with their ids, and the files of `virnucpro frames`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from virnucpro.config import FrameRule
from virnucpro.files import atomic_path
from virnucpro.run.rows import chunk_ids, frame_ids
from virnucpro.run.tables import FRAME_FILES
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk import spans_of_chunks
from virnucpro.seq.frame_table import FrameTable, find_frames
from virnucpro.seq.strings import Strings, join_columns, join_spans

_SLICE_CHUNKS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class NamedFrames:
    """The ids and letters of chunks (C), their kept frames (F) and the ids of these."""

    chunk_ids: Strings
    letters: Strings
    frame_ids: Strings
    frames: FrameTable


def named_frames(block: RecordBlock, chunk_length: int, rule: FrameRule) -> Iterator[NamedFrames]:
    """Yield all chunks of single records and their frames, some thousand chunks at a time.

    Raises:
        ConfigError: `chunk_length` is below 3.
    """
    sequences = block.sequences
    owner, starts, ends = spans_of_chunks(sequences.lengths, chunk_length)
    index = np.arange(1, len(owner) + 1) - np.searchsorted(owner, owner)
    for begin in range(0, len(owner), _SLICE_CHUNKS):
        rows = slice(begin, begin + _SLICE_CHUNKS)
        places = sequences.starts[owner[rows]] + starts[rows]
        letters = join_spans(sequences.data, places, ends[rows] - starts[rows])
        ids = chunk_ids(block.ids.take(owner[rows]), index[rows])
        frames = find_frames(letters, rule)
        yield NamedFrames(ids, letters, frame_ids(ids, frames.chunk, frames.column), frames)


def write_frames(blocks: Iterable[RecordBlock], chunk_length: int, directory: Path) -> tuple[int, int]:
    """Write chunks.fa, frames.fna and frames.faa by the published frame rule; return counts of chunks and frames."""
    n_chunks = n_frames = 0
    with ExitStack() as stack:
        paths = [stack.enter_context(atomic_path(directory / name)) for name in FRAME_FILES]
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for block in blocks:
            for part in named_frames(block, chunk_length, FrameRule("stop_free")):
                n_chunks += len(part.letters)
                n_frames += len(part.frames)
                ids = (part.chunk_ids, part.frame_ids, part.frame_ids)
                texts = (part.letters, part.frames.nucleotides, part.frames.proteins)
                for file, names, letters in zip(files, ids, texts, strict=True):
                    mark, end = Strings.repeat(b">", len(names)), Strings.repeat(b"\n", len(names))
                    file.write(join_columns([mark, names, end, letters, end]).data.data)
    return n_chunks, n_frames
