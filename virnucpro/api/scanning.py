"""virnucpro.scan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from virnucpro.api.bars import shown
from virnucpro.api.calling import merged
from virnucpro.api.sequences import GivenSequences, SequenceSource
from virnucpro.config import Options
from virnucpro.environment import make_sums_reproducible
from virnucpro.pipeline.regions import REMNANTS, Landscape
from virnucpro.pretrained.locations import DEFAULT_MODEL
from virnucpro.run.scan import FoundRegion, Numbering, Scanner, ScanSettings


def scan(
    source: SequenceSource,
    *,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    step: int | None = None,
    min_posterior: float = 0.5,
    min_length: int = 1000,
    remnants: bool = False,
    neutral: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    options: Options | None = None,
    progress: bool | None = None,
) -> Iterator[FoundRegion]:
    """Yield the regions of virus, such as prophages, along genomes, in the order of the source.

    Examples:
        >>> for region in scan("genome.fa"):  # doctest: +SKIP
        ...     print(region.seq_name, region.start, region.end, region.posterior)

    Args:
        source: what `predict` takes.
        model: name or directory of a model.
        step: from window to window, nt; None is half a window.
        min_posterior: least probability of virus of each window of a region.
        min_length: shortest region, nt.
        remnants: find remnants of prophages, too, and more that are none.
        neutral: log likelihood ratio of a window that says nothing; None is -1, with `remnants` -1.25.
        device: auto, cpu, cuda or cuda:N.
        threads: of a CPU; None is all cores.
        precision: auto, fp32, bf16, fp16, or on newer GPUs fp8.
        options: all options as one value; an argument that is not its default replaces its field.
        progress: as of `predict`.

    Raises:
        ConfigError: an option makes no sense; it names the field.
        ModelError: there is no such model, or it is damaged.
        InputError: the source is none. What is wrong with a record is raised after the regions before it.
    """
    sequences = GivenSequences(source)
    landscape = REMNANTS if remnants else Landscape()
    if neutral is not None:
        landscape = replace(landscape, evidence_offset=neutral)
    asked = merged(options or Options(), device=device, threads=threads, precision=precision)
    make_sums_reproducible()
    scanner = Scanner(ScanSettings(os.fspath(model), asked, step, min_posterior, min_length, landscape))
    return _regions(scanner, sequences, progress)


def _regions(scanner: Scanner, sequences: GivenSequences, progress: bool | None) -> Iterator[FoundRegion]:
    numbering = Numbering()
    with shown(None, progress, "windows") as counter:  # the windows to come are not known
        for track in scanner.scan(sequences, counter):
            yield from numbering.regions(track)
