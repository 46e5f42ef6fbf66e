"""Scan long records: score overlapping windows and smooth their evidence into regions of virus."""

from __future__ import annotations

import re
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

import numpy as np

from virnucpro.config import Options, number
from virnucpro.errors import ConfigError
from virnucpro.files import atomic_writer
from virnucpro.pipeline.predict import BLOCK_RECORDS, Predictor
from virnucpro.pipeline.regions import Floats, Landscape, Region, kmer_divergence, posteriors, regions
from virnucpro.pretrained.locations import DEFAULT_MODEL
from virnucpro.pretrained.registry import load_model
from virnucpro.run.progress import Counter
from virnucpro.types import Call, Record, RecordResult

REGION_COLUMNS = (
    "region", "seq_name", "start", "end", "length", "n_windows", "posterior", "virus_score", "fasta_name"
)  # fmt: skip
SCAN_REPORT = "report.html"
# The files of `virnucpro scan`: tables, report, and figures by the number of the record in the input.
SCAN_FILES = re.compile(
    r"regions\.(tsv|bed|gff3|fasta)|scores\.bedgraph|report\.html|record_(\d{5}|[1-9]\d{5,})\.(png|svg|pdf)"
)
_CLIP = 1e-6  # scores are clipped to this distance from 0 and 1
# Other characters of a name stop tools that read regions.fasta: DRAM-v refuses ; and =, VirSorter2 changes ( and ).
_UNSAFE = re.compile(r"[^A-Za-z0-9_.|:+@~-]")
_NO_NUCLEOTIDE = bytes.maketrans(b"-.*X", b"NNNN")
_LINE = 60  # nt of a line of regions.fasta


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """Settings of a scan: `step` between windows (nt; None: half a window), `min_posterior`, `min_length` (nt)."""

    model: str = DEFAULT_MODEL
    options: Options = field(default_factory=Options)
    step: int | None = None
    min_posterior: float = 0.5
    min_length: int = 1000
    landscape: Landscape = field(default_factory=Landscape)


@dataclass(frozen=True, slots=True)
class Track:
    """The windows of a record: `bounds` (n + 1,) of the stretches that they stand for, nt; virus scores (n,), NaN
    without a score; posteriors (n,); and the regions."""

    record: Record
    bounds: list[int]
    scores: Floats
    posteriors: Floats
    regions: list[Region]

    @property
    def seq_name(self) -> str:
        """The id of the record."""
        return self.record.id

    @property
    def length(self) -> int:
        """Nucleotides of the record."""
        return len(self.record.sequence)


@dataclass(frozen=True, slots=True)
class FoundRegion:
    """A region of virus in a record, by the names of the columns of regions.tsv.

    `region` is its name, numbered over all records; `start` and `end` are 0-based and half-open (nt); `posterior` is
    the mean probability of virus of its windows; `virus_score` their mean score, NaN where no window has one.
    `fasta_name` is the name of its sequence in regions.fasta, such as `contig|provirus_1_2000`.
    """

    region: str
    seq_name: str
    start: int
    end: int
    n_windows: int
    posterior: float
    virus_score: float
    fasta_name: str

    @property
    def length(self) -> int:
        """Nucleotides of the region."""
        return self.end - self.start


class Numbering:
    """Number the regions of all records, and name their sequences.

    Names are those of geNomad: `contig|provirus_START_END`, 1-based and inclusive, or that of the record if the region
    is all of it. Characters that other tools refuse become `_`. No two names are equal, as CheckV requires: if records
    share an id, `_2`, `_3`, ... follow the id.
    """

    def __init__(self) -> None:
        self.n_regions = 0
        self._taken: set[str] = set()
        self._uses: Counts[str] = Counts()

    def regions(self, track: Track) -> Iterator[FoundRegion]:
        """Yield the regions of a record; records must come in order."""
        for region in track.regions:
            self.n_regions += 1
            inside = track.scores[track.bounds.index(region.start) : track.bounds.index(region.end)]
            score = float(np.nanmean(inside)) if np.isfinite(inside).any() else np.nan
            yield FoundRegion(
                f"region_{self.n_regions}", track.seq_name, region.start, region.end, region.n_windows,
                region.posterior, score, self._fasta_name(track, region),
            )  # fmt: skip

    def _fasta_name(self, track: Track, region: Region) -> str:
        record = _UNSAFE.sub("_", track.seq_name) or f"record_{track.record.index + 1}"
        whole = (region.start, region.end) == (0, track.length)
        place = "" if whole else f"|provirus_{region.start + 1}_{region.end}"
        name = record + place
        while name in self._taken:
            self._uses[record + place] += 1
            name = f"{record}_{self._uses[record + place] + 1}{place}"
        self._taken.add(name)
        return name


class Scanner:
    """A model and how records are scanned with it.

    Raises:
        ConfigError: the step is longer than a window, or `min_posterior` is not a probability.
    """

    def __init__(self, settings: ScanSettings) -> None:
        self.settings = settings
        if settings.options.screen is not None:
            raise ConfigError("screen is for predict: a scan needs the score of every window; leave it out", "screen")
        number("min_posterior", settings.min_posterior, 0, 1, inclusive=False)
        number("min_length", settings.min_length, 0, whole=True)
        if settings.step is not None:
            number("step", settings.step, 1, whole=True)
        self.predictor = Predictor(load_model(settings.model), settings.options)
        self.window = self.predictor.description.chunk_length
        self.step = self.window // 2 if settings.step is None else settings.step
        if not 1 <= self.step <= self.window:
            raise ConfigError(f"step must be 1 to {self.window} nt, one window of the model, got {self.step}", "step")
        if self.step >= min(settings.landscape.virus_length, settings.landscape.other_length):
            raise ConfigError(
                f"virus_length and other_length of a landscape must be longer than a step of {self.step} nt, got "
                f"{settings.landscape.virus_length} and {settings.landscape.other_length}"
            )

    def windows(self, record: Record) -> int:
        """Return the number of windows of a record."""
        return len(window_starts(len(record.sequence), self.window, self.step))

    def scan(self, records: Iterable[Record], counter: Counter | None = None) -> Iterator[Track]:
        """Yield the track of each record in order; the counter counts windows."""
        for record in records:
            yield self._track(record, counter or Counter())

    def _track(self, record: Record, counter: Counter) -> Track:
        length, settings = len(record.sequence), self.settings
        starts = window_starts(length, self.window, self.step)
        windows = (Record(record.id, record.sequence[start : start + self.window], record.source) for start in starts)
        numbers = (_numbers(result.call) for result in _counted(self.predictor.run(windows), counter))
        scores, evidence = np.fromiter(numbers, np.dtype((float, 2))).T
        if settings.landscape.composition:
            middles = [start + self.window // 2 for start in starts]
            evidence = evidence + settings.landscape.composition * kmer_divergence(record.sequence, middles)
        found = posteriors(evidence, self.step, settings.landscape)
        bounds = window_bounds(starts, length, self.window)
        kept = list(regions(found, bounds, settings.min_posterior, settings.min_length))
        return Track(record, bounds, scores, found, kept)


def _counted(results: Iterable[RecordResult], counter: Counter) -> Iterator[RecordResult]:
    """Count the windows of each result as it comes."""
    done = 0
    for result in results:
        yield result
        done += 1
        if done % BLOCK_RECORDS == 0:
            counter.advance(BLOCK_RECORDS)
    counter.advance(done % BLOCK_RECORDS)


def _numbers(call: Call) -> tuple[float, float]:
    """Return score and log likelihood ratio of a window; without a calibration, the ratio is the score's logit."""
    if call.virus_score is None:
        return np.nan, np.nan
    if call.log_ratio is not None:
        return call.virus_score, call.log_ratio
    score = min(max(call.virus_score, _CLIP), 1 - _CLIP)
    return call.virus_score, float(np.log(score / (1 - score)))


def window_starts(length: int, window: int, step: int) -> list[int]:
    """Return the starts of windows, nt: one every `step`, and one at the end of the record.

    >>> window_starts(1100, 500, 250)
    [0, 250, 500, 600]
    """
    if length == 0:
        return []
    starts = list(range(0, max(length - window, 0) + 1, step))
    return [*starts, length - window] if starts[-1] + window < length else starts


def window_bounds(starts: Sequence[int], length: int, window: int) -> list[int]:
    """Return the borders of the stretches that windows stand for: half-way between neighbouring middles.

    >>> window_bounds([0, 250, 500, 600], 1100, 500)
    [0, 375, 625, 800, 1100]
    """
    if not starts:
        return [0]
    return [0, *((a + b + window) // 2 for a, b in pairwise(starts)), length]


class ScanFiles:
    """The tables and sequences of a scan, written record by record.

    regions.tsv (0-based, half-open), regions.bed (BED6, score 1000 times the posterior), regions.gff3 (1-based),
    regions.fasta (the sequences) and scores.bedgraph (the posterior along each record).
    """

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        def opened(name: str) -> TextIO:
            return stack.enter_context(atomic_writer(directory / name))

        self._tsv, self._bed = opened("regions.tsv"), opened("regions.bed")
        self._gff, self._graph = opened("regions.gff3"), opened("scores.bedgraph")
        self._fasta = opened("regions.fasta")
        self._numbering = Numbering()
        self.n_records = 0
        self._tsv.write("\t".join(REGION_COLUMNS) + "\n")
        self._gff.write("##gff-version 3\n")
        self._graph.write('track type=bedGraph name="virnucpro" description="probability of virus"\n')

    @property
    def n_regions(self) -> int:
        """Regions that have been written."""
        return self._numbering.n_regions

    def write(self, track: Track) -> list[FoundRegion]:
        """Append the rows and sequences of a record; return its regions."""
        self.n_records += 1
        seqid = quote(track.seq_name.encode(errors="surrogateescape"), safe=".:^*$@!+_?-|")
        if track.length:
            self._gff.write(f"##sequence-region {seqid} 1 {track.length}\n")
        spans = zip(pairwise(track.bounds), track.posteriors.tolist(), strict=True)
        self._graph.writelines(f"{track.seq_name}\t{start}\t{end}\t{value:.4f}\n" for (start, end), value in spans)
        regions = list(self._numbering.regions(track))
        for found in regions:
            name, posterior, score = found.region, found.posterior, found.virus_score
            self._tsv.write(
                f"{name}\t{track.seq_name}\t{found.start}\t{found.end}\t{found.length}\t"
                f"{found.n_windows}\t{posterior:.4f}\t{score:.4f}\t{found.fasta_name}\n"
            )
            bed = f"{track.seq_name}\t{found.start}\t{found.end}\t{name}\t{round(1000 * posterior)}\t.\n"
            self._bed.write(bed)
            self._gff.write(
                f"{seqid}\tvirnucpro\tprophage\t{found.start + 1}\t{found.end}\t{posterior:.4f}\t.\t.\t"
                f"ID={name};Name={name};mean_virus_score={score:.4f}\n"
            )
            self._write_sequence(track, found)
        return regions

    def _write_sequence(self, track: Track, found: FoundRegion) -> None:
        """Append the sequence of a region. After its name come region and place, as CheckV writes the place."""
        self._fasta.write(f">{found.fasta_name} {found.region} {found.start + 1}-{found.end}/{track.length}\n")
        letters = track.record.sequence[found.start : found.end].translate(_NO_NUCLEOTIDE).decode("ascii")
        self._fasta.writelines(f"{letters[i : i + _LINE]}\n" for i in range(0, len(letters), _LINE))
