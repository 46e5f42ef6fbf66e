"""The text stage against the files that the published tool wrote, byte for byte."""

from pathlib import Path

import pytest

from virnucpro.config import FrameRule
from virnucpro.seq import frames_of, iter_chunks, read_records
from virnucpro.types import Chunk, Frame


def chunks_and_frames(path: Path) -> tuple[list[Chunk], list[Frame]]:
    chunks = [chunk for record in read_records([path]) for chunk in iter_chunks(record, 500)]
    return chunks, [frame for kept in frames_of(chunks, FrameRule("stop_free")) for frame in kept]


def wrapped(sequence: bytes) -> bytes:
    return b"".join(sequence[i : i + 60] + b"\n" for i in range(0, len(sequence), 60))


@pytest.mark.parametrize("name", ["with_orfs", "fixed_500bp"])
def test_chunks_and_frames_are_the_published_ones(golden: Path, name: str) -> None:
    folder = golden / name
    chunks, frames = chunks_and_frames(folder / "input.fa")
    assert len(frames) == 4
    chunked = b"".join(b">%s\n%s" % (chunk.id.encode(), wrapped(chunk.sequence)) for chunk in chunks)
    assert chunked == (folder / "chunked500.fa").read_bytes()
    nucleotide = b"".join(b">%s\n%s\n" % (frame.id.encode(), frame.nucleotide) for frame in frames)
    assert nucleotide == (folder / "identified_nucleotide.fa").read_bytes()
    protein = b"".join(b">%s\n%s\n" % (frame.id.encode(), frame.protein) for frame in frames)
    assert protein == (folder / "identified_protein.faa").read_bytes()


def test_random_reads_have_no_frame(golden: Path) -> None:
    chunks, frames = chunks_and_frames(golden / "negative" / "random_100.fa")
    assert len(chunks) == 100
    assert frames == []
