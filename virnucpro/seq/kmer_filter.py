"""KmerFilter: which sides many amino-acid 9-mers belong to, in about 18 bits for each 9-mer.

A side is a group of taxa, such as viruses or hosts; each 9-mer of the filter belongs to one side. To save memory, only
one 9-mer of `one_in` is used: the others are neither stored nor looked up. The filter is a binary fuse filter (Graf &
Lemire 2022, doi:10.1145/3510449) that also stores the side: the XOR of the three cells of a 9-mer is its fingerprint
XOR the number of its side. Every 9-mer of the filter is found. Any other one is taken for a 9-mer of a given side with
a probability of 1/65,536. A chunk has about a hundred 9-mers, so that 1/256 would give more false hits than true ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError
from virnucpro.seq.frame_table import FrameTable
from virnucpro.seq.strings import Ints, Strings, borders

K = 9  # residues
MAX_HITS = 4  # of a chunk and side; more hits of overlapping 9-mers are hardly more evidence
Codes = npt.NDArray[np.uint64]
Cells = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float64]
_BITS = 5  # of a residue: upper-case letters differ in their last five bits
_LETTER = (1 << _BITS) - 1
# Odd numbers with about as many bits of one as of zero; a product with them spreads all bits of a number upwards.
_SAMPLE, _FIRST, _SECOND = (np.uint64(n) for n in (0xD1342543DE82EF95, 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93))
_HALF = np.uint64(32)
_BLOCK = 1 << 15  # residues or 9-mers processed at a time, so that intermediate arrays stay in the cache
_SEGMENTS = [1 << power for power in range(15)]
_MAX_SIDES, _MAX_SEEDS = 16, 100


@dataclass(frozen=True, slots=True)
class KmerLayout:
    """How the cells of a filter are read.

    `sides` (S) are the names of the sides. One 9-mer of `one_in` is used. The three cells of a 9-mer lie in three
    neighbouring segments of `segment` cells each, a power of two. `seed` selects the hash function.

    Raises:
        ConfigError: a value is out of range.
    """

    sides: tuple[str, ...]
    one_in: int
    segment: int
    seed: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.sides) <= _MAX_SIDES:
            raise ConfigError(f"a filter of 9-mers has 1 to {_MAX_SIDES} sides, got {len(self.sides)}")
        if self.one_in < 1:
            raise ConfigError(f"one_in of a filter of 9-mers must be at least 1, got {self.one_in}")
        if self.segment not in _SEGMENTS:
            raise ConfigError(
                f"segment of a filter of 9-mers must be a power of two up to {_SEGMENTS[-1]}, got {self.segment}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class KmerFilter:
    """The sides of many 9-mers: a layout and `cells`, at least 3 whole segments.

    Raises:
        ConfigError: the number of cells does not fit the layout.
    """

    layout: KmerLayout
    cells: Cells

    def __post_init__(self) -> None:
        segment = self.layout.segment
        if self.cells.ndim != 1 or len(self.cells) % segment or len(self.cells) < 3 * segment:
            raise ConfigError(
                f"the cells of a filter of 9-mers must be at least 3 whole segments of {segment}, "
                f"got the shape {self.cells.shape}"
            )

    @classmethod
    def build(cls, codes: Codes, side: npt.NDArray[np.integer], sides: tuple[str, ...], one_in: int = 1) -> KmerFilter:
        """Make a filter of 9-mers; the same 9-mers in the same order give the same bytes.

        Args:
            codes: different 9-mers (N,) of `kmer_codes` with the same `one_in`.
            side: the side of each (N,), as an index of `sides`.
            sides: names of the sides.
            one_in: see `KmerLayout`.

        Raises:
            ConfigError: a 9-mer occurs twice, or a side does not exist.
        """
        if (np.diff(np.sort(codes)) == 0).any():
            raise ConfigError("a 9-mer was given twice to a filter; give each 9-mer one side")
        if len(side) and not 0 <= side.min() <= side.max() < len(sides):
            raise ConfigError(f"sides of 9-mers must lie in 0..{len(sides) - 1}, got {side.min()}..{side.max()}")
        segment, segments = _size(len(codes))
        for seed in range(_MAX_SEEDS):
            empty = cls(KmerLayout(sides, one_in, segment, seed), np.zeros(segment * segments, np.uint16))
            places, fingerprints = empty._places(codes)
            rounds = _peel(places, len(empty.cells))
            if sum(len(keys) for keys, _ in rounds) == len(codes):
                wanted = fingerprints ^ side.astype(np.uint16)
                return cls(empty.layout, _fill(places, rounds, wanted, len(empty.cells)))
        raise ConfigError(f"no seed gives a filter of these {len(codes)} 9-mers; this is a bug, please report it")

    def find(self, codes: Codes) -> Cells:
        """Return the side of each 9-mer (N,) as an index of `sides`; larger numbers mean none."""
        found = np.empty(len(codes), np.uint16)
        for begin in range(0, len(codes), _BLOCK):
            (first, second, third), fingerprints = self._places(codes[begin : begin + _BLOCK])
            cells = self.cells[first] ^ self.cells[second] ^ self.cells[third]
            found[begin : begin + _BLOCK] = cells ^ fingerprints
        return found

    def sums(self, frames: FrameTable, chunks: int) -> Floats:
        """Return the number of 9-mers of each side in the frames of each of `chunks` chunks, at most 4, (C, S)."""
        n = len(self.layout.sides)
        hits = np.zeros(chunks * n, np.int64)
        starts = frames.proteins.starts
        begin = 0
        while begin < len(frames):
            end = max(begin + 1, int(np.searchsorted(starts, starts[begin] + _BLOCK, "right")) - 1)
            codes, owner = kmer_codes(frames.proteins.slice(begin, end), self.layout.one_in)
            side = self.find(codes)
            known = side < n
            hits += np.bincount(frames.chunk[begin + owner[known]] * n + side[known], minlength=len(hits))
            begin = end
        return np.minimum(hits, MAX_HITS).reshape(-1, n).astype(np.float64)

    def _places(self, codes: Codes) -> tuple[npt.NDArray[np.int64], Cells]:
        """Return the three cells of each 9-mer, (3, N), in neighbouring segments, and its fingerprint (N,)."""
        hashes = (codes + np.uint64(self.layout.seed)) * _FIRST
        hashes ^= hashes >> _HALF
        hashes *= _SECOND
        hashes ^= hashes >> _HALF
        high = hashes >> _HALF
        segment, inside = np.uint64(self.layout.segment), np.uint64(self.layout.segment - 1)
        places = np.empty((3, len(codes)), np.uint64)
        places[0] = high * np.uint64(len(self.cells) - 2 * self.layout.segment) >> _HALF
        places[1] = places[0] + segment ^ (hashes & inside)
        places[2] = places[0] + segment + segment ^ (hashes >> np.uint64(14) & inside)
        return places.view(np.int64), (high ^ hashes).astype(np.uint16)


def kmer_codes(proteins: Strings, one_in: int = 1) -> tuple[Codes, Ints]:
    """Return a number for each used 9-mer of proteins (F), in their order, and the row of its protein, both (N,).

    Different 9-mers have different numbers, below 2^45. A 9-mer with X or `*` is left out. One 9-mer of `one_in` is
    used; which ones depends on nothing but their residues.

    >>> codes, owner = kmer_codes(Strings.of([b"MKVLAAGITT", b"MKVLAAG", b"KVLAAGITT"]))
    >>> owner.tolist(), bool(codes[1] == codes[2])
    ([0, 0, 2], True)
    """
    residues = proteins.data
    if len(residues) < K:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    codes = single = (residues & _LETTER).astype(np.uint64)
    for size in (1, 2, 4):  # from numbers of `size` residues to those of twice as many
        codes = codes[:-size] << np.uint64(_BITS * size) | codes[size:]
    codes = codes[:-1] << np.uint64(_BITS) | single[K - 1 :]
    begins = np.flatnonzero(codes * _SAMPLE <= np.uint64((2**64 - 1) // one_in))
    owner = np.repeat(np.arange(len(proteins)), proteins.lengths)[begins]
    whole = begins + K <= proteins.starts[1:][owner]
    unknown = (residues == ord("X")) | (residues == ord("*"))
    if unknown.any():
        before = borders(unknown.astype(np.int64))
        whole &= before[begins + K] == before[begins]
    return codes[begins[whole]], owner[whole]


def _size(n: int) -> tuple[int, int]:
    """Return the cells of a segment and the number of segments for `n` 9-mers, as the authors recommend."""
    if n < 2:
        return 4, 3
    power = math.floor(math.log(n) / math.log(3.33) + 2.25)
    segment = _SEGMENTS[min(power, len(_SEGMENTS) - 1)]
    excess = max(1.125, 0.875 + 0.25 * math.log(1e6) / math.log(n))
    return segment, max(3, math.ceil(n * excess / segment))


def _peel(places: npt.NDArray[np.int64], size: int) -> list[tuple[Ints, Ints]]:
    """Return rounds of keys, each with a cell that no other key of its round or of a later one has.

    Keys that are in no round could not be given such a cell.

    Args:
        places: cells of each key, (3, N).
        size: number of cells.
    """
    keys = np.tile(np.arange(places.shape[1]), 3)
    counts = np.bincount(places.ravel(), minlength=size)
    sums = np.bincount(places.ravel(), weights=keys, minlength=size).astype(np.int64)  # exact: far below 2^53
    rounds = []
    alone = np.flatnonzero(counts == 1)
    while len(alone):
        taken, first = np.unique(sums[alone], return_index=True)
        rounds.append((taken, alone[first]))
        touched = places[:, taken].ravel()
        np.subtract.at(counts, touched, 1)
        np.subtract.at(sums, touched, np.tile(taken, 3))
        alone = touched[counts[touched] == 1]
    return rounds


def _fill(places: npt.NDArray[np.int64], rounds: list[tuple[Ints, Ints]], wanted: Cells, size: int) -> Cells:
    """Return cells of which the three of each key have the XOR `wanted` (N,); the last round is filled first."""
    cells = np.zeros(size, np.uint16)
    for keys, own in reversed(rounds):
        first, second, third = places[:, keys]
        cells[own] = wanted[keys] ^ cells[first] ^ cells[second] ^ cells[third]
    return cells
