"""A chunk and a frame as objects: what plain loops and tests by hand speak of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """A window of a record, from 1 on and from `start` on (nt): `sequence` is read of it, `skipped` letters are not."""

    record_id: str
    index: int
    start: int
    sequence: bytes
    skipped: int = 0

    @property
    def end(self) -> int:
        return self.start + len(self.sequence) + self.skipped

    @property
    def id(self) -> str:
        return f"{self.record_id}_chunk_{self.index}"


@dataclass(frozen=True)
class Frame:
    """A reading frame of a chunk: what is read on its strand (+1, -1) from `offset` on, and the kept residues."""

    chunk_id: str
    strand: int
    offset: int
    nucleotide: bytes
    protein: bytes

    @property
    def id(self) -> str:
        return f"{self.chunk_id}{'F' if self.strand > 0 else 'R'}{self.offset + 1}"
