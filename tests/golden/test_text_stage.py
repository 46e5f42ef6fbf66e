"""The text stage against the files that the published tool wrote, byte for byte."""

from pathlib import Path

import pytest

from virnucpro.config import FrameRule
from virnucpro.run.frames import named_frames
from virnucpro.seq.blocks import iter_blocks
from virnucpro.seq.source import Source


def chunks_and_frames(path: Path) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes, bytes]]]:
    """Return id and letters of all chunks; id, nucleotides and protein of all frames."""
    [block] = iter_blocks(Source([str(path)]))
    [part] = named_frames(block, 500, FrameRule("stop_free"))
    frames = zip(part.frame_ids, part.frames.own_nucleotides(), part.frames.proteins, strict=True)
    return list(zip(part.chunk_ids, part.letters, strict=True)), list(frames)


def wrapped(sequence: bytes) -> bytes:
    return b"".join(sequence[i : i + 60] + b"\n" for i in range(0, len(sequence), 60))


@pytest.mark.parametrize("name", ["with_orfs", "fixed_500bp"])
def test_chunks_and_frames_are_the_published_ones(golden: Path, name: str) -> None:
    folder = golden / name
    chunks, frames = chunks_and_frames(folder / "input.fa")
    assert len(frames) == 4
    chunked = b"".join(b">%s\n%s" % (name, wrapped(letters)) for name, letters in chunks)
    assert chunked == (folder / "chunked500.fa").read_bytes()
    nucleotide = b"".join(b">%s\n%s\n" % (name, letters) for name, letters, _ in frames)
    assert nucleotide == (folder / "identified_nucleotide.fa").read_bytes()
    protein = b"".join(b">%s\n%s\n" % (name, residues) for name, _, residues in frames)
    assert protein == (folder / "identified_protein.faa").read_bytes()


def test_random_reads_have_no_frame(golden: Path) -> None:
    chunks, frames = chunks_and_frames(golden / "negative" / "random_100.fa")
    assert len(chunks) == 100
    assert frames == []
