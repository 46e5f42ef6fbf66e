"""Make a filter of 9-mers from labelled genomes: those of one side only, in several taxa of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError
from virnucpro.evaluate.genomes import VIRUS, Genomes
from virnucpro.seq.frame_table import stop_free_runs
from virnucpro.seq.kmer_filter import Codes, K, KmerFilter, kmer_codes
from virnucpro.seq.strings import Ints, Strings, gather

SIDES = (VIRUS, "host")
_MIN_AA = 20  # of the stop-free runs whose 9-mers count; shorter ones are rarely parts of genes
_TAXON_BITS = 19  # below the 45 bits of a 9-mer
_PIECE = 1 << 22  # bases translated at a time
_REPORT = 50_000_000  # bases between two lines of progress
_SLICE = 1 << 24  # 9-mers counted at a time


@dataclass(frozen=True, slots=True)
class KmerSettings:
    """Which 9-mers enter the filter: one of `one_in`, in at least so many taxa of their side and none of the other.

    Raises:
        ConfigError: a value is below 1.
    """

    one_in: int = 2
    virus_taxa: int = 2
    host_taxa: int = 3

    def __post_init__(self) -> None:
        for name in ("one_in", "virus_taxa", "host_taxa"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}", name)


def build_filter(
    genomes: Genomes, settings: KmerSettings, log: Callable[[str], None], neither: Strings | None = None
) -> KmerFilter:
    """Count in how many taxa of each side each 9-mer occurs, and make the filter.

    It takes about 16 bytes of memory for each different used 9-mer of each taxon: with the genomes 6 GB for 530 Mbp and
    one 9-mer of two.

    Args:
        genomes: of viruses and hosts. Host classes that share a genus, such as bacteria and plasmids, share its taxon.
        settings: which 9-mers enter.
        log: called with each line of progress.
        neither: sequences whose 9-mers do not enter, such as cloning vectors, which stand in genomes of both sides.

    Raises:
        ConfigError: there is only one side, there are too many taxa, or no 9-mer enters.
    """
    of_virus = genomes.classes == VIRUS
    if of_virus.all() or not of_virus.any():
        raise ConfigError(f"a filter of 9-mers needs genomes of class {VIRUS} and of hosts; give both")
    names = [f"{side}|{name.partition('|')[2]}" for side, name in zip(of_virus, genomes.taxa.tolist(), strict=True)]
    taxa, taxon = np.unique(names, return_inverse=True)
    if len(taxa) >> _TAXON_BITS:
        raise ConfigError(f"a filter of 9-mers can be made from {1 << _TAXON_BITS} taxa at most, got {len(taxa)}")
    is_virus = np.zeros(len(taxa), np.bool_)
    is_virus[taxon] = of_virus
    log(f"{len(genomes.text) / 1e6:.0f} Mbp, {is_virus.sum()} taxa of viruses, {(~is_virus).sum()} of hosts")
    found = np.concatenate(list(_pairs(genomes, taxon, settings.one_in, log)))
    found.sort()
    log(f"{len(found)} pairs of 9-mer and taxon")
    left_out = np.zeros(0, np.uint64)
    if neither is not None:
        left_out = _distinct(kmer_codes(stop_free_runs(neither, K), settings.one_in)[0])
    parts = [_one_sided(part, is_virus, settings, left_out) for part in _slices(found)]
    if not sum(len(codes) for codes, _ in parts):
        raise ConfigError("no 9-mer occurs in several taxa of one side only; give more genomes or ask for fewer taxa")
    codes, side = (np.concatenate(part) for part in zip(*parts, strict=True))
    log(f"{(side == 0).sum()} 9-mers of viruses, {(side == 1).sum()} of hosts")
    return KmerFilter.build(codes, side, SIDES, settings.one_in)


def _pairs(genomes: Genomes, taxon: npt.NDArray[np.intp], one_in: int, log: Callable[[str], None]) -> Iterator[Codes]:
    """Yield the different used 9-mers of each taxon, with its number in the lowest bits; `taxon` is (N,)."""
    order = np.argsort(taxon, kind="stable")
    done = 0
    for number, rows in enumerate(np.split(order, np.flatnonzero(np.diff(taxon[order])) + 1)):
        yield _codes(genomes, rows, one_in) << np.uint64(_TAXON_BITS) | np.uint64(number)
        before, done = done, done + int(genomes.lengths[rows].sum())
        if done // _REPORT > before // _REPORT:
            log(f"{done / 1e6:.0f} Mbp read")


def _codes(genomes: Genomes, rows: Ints, one_in: int) -> Codes:
    """Return the different used 9-mers of some records, sorted."""
    piece = (np.cumsum(genomes.lengths[rows]) - 1) // _PIECE
    parts = []
    for some in np.split(rows, np.flatnonzero(np.diff(piece)) + 1):
        letters = gather(genomes.text, genomes.starts[some], genomes.lengths[some])
        parts.append(_distinct(kmer_codes(stop_free_runs(letters, _MIN_AA), one_in)[0]))
    return parts[0] if len(parts) == 1 else _distinct(np.concatenate(parts))


def _distinct(codes: Codes) -> Codes:
    """Sort 9-mers in place and return each once; `np.unique` takes twenty times as long for so many."""
    codes.sort()
    first = np.ones(len(codes), np.bool_)
    first[1:] = codes[1:] != codes[:-1]
    return codes[first]


def _slices(found: Codes) -> Iterator[Codes]:
    """Yield consecutive parts of sorted pairs of 9-mer and taxon; a 9-mer is never divided."""
    begin = 0
    while begin < len(found):
        end = min(begin + _SLICE, len(found))
        following = (found[end - 1] >> np.uint64(_TAXON_BITS)) + np.uint64(1) << np.uint64(_TAXON_BITS)
        end = int(np.searchsorted(found, following))
        yield found[begin:end]
        begin = end


def _one_sided(
    found: Codes, is_virus: npt.NDArray[np.bool_], settings: KmerSettings, left_out: Codes
) -> tuple[Codes, npt.NDArray[np.int64]]:
    """Return the 9-mers that enter the filter and their sides, both (N,), of sorted pairs of 9-mer and taxon.

    The 9-mers `left_out`, sorted, do not enter.
    """
    codes = found >> np.uint64(_TAXON_BITS)
    starts = np.flatnonzero(np.diff(codes, prepend=~codes[:1]))
    of_virus = is_virus[(found & np.uint64((1 << _TAXON_BITS) - 1)).astype(np.int64)]
    viruses = np.add.reduceat(of_virus.astype(np.int64), starts)
    taxa = np.diff(starts, append=len(found))
    virus = (viruses == taxa) & (taxa >= settings.virus_taxa)
    host = (viruses == 0) & (taxa >= settings.host_taxa)
    chosen = (virus | host) & ~np.isin(codes[starts], left_out)
    return codes[starts[chosen]], np.where(virus, 0, 1)[chosen]
