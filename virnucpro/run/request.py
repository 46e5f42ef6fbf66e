"""The request for a run of `predict`: inputs, output, options and shard."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virnucpro.config import Options, number
from virnucpro.data import prefetch
from virnucpro.errors import ConfigError
from virnucpro.pretrained.locations import DEFAULT_MODEL
from virnucpro.run.directory import IfExists
from virnucpro.run.input_files import FileCounter, file_names
from virnucpro.run.outputs import Outputs
from virnucpro.run.sample_name import check_sample, default_sample
from virnucpro.run.task import PredictTask
from virnucpro.run.units import Unit, number_units, unit_size
from virnucpro.seq.blocks import iter_blocks
from virnucpro.seq.mixed import mixture, watched_lengths
from virnucpro.seq.pairs import heads_of, hints, watched_blocks
from virnucpro.seq.reader import as_path, several
from virnucpro.seq.source import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `all`, counted from 1: the units with number % all == `number` - 1."""

    number: int
    all: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read I/N.

        Raises:
            ConfigError: it has another form, or I is not one of 1 to N.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.all:
            raise ConfigError(f"a shard must be I/N with I from 1 to N, such as 2/4, got {text!r}")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.all}"

    def has(self, unit: int) -> bool:
        """Return whether a unit belongs to this shard, by its number."""
        return unit % self.all == self.number - 1


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a run; `output` is its directory, or None for records.tsv on standard output.

    `paired` says that the inputs are two files of mates, `interleaved` that the input is one file in which mates follow
    each other. With a `shard`, the run does only the units of that shard and leaves their files for `merge_shards`.
    `sample` is the name of the run in reports; None: `default_sample`.
    """

    inputs: Sequence[str]
    output: Path | None
    model: str = DEFAULT_MODEL
    options: Options = field(default_factory=Options)
    if_exists: IfExists = IfExists.FAIL
    unit_records: int | None = None
    command: Sequence[str] = ()
    legacy_output: bool = False
    paired: bool = False
    shard: Shard | None = None
    interleaved: bool = False
    sample: str | None = None
    outputs: Outputs = field(default_factory=Outputs)

    def __post_init__(self) -> None:
        if self.sample is not None:
            check_sample(self.sample)
        object.__setattr__(self, "inputs", [as_path(name) for name in several(self.inputs)])
        if self.unit_records is not None:
            object.__setattr__(self, "unit_records", number("unit_records", self.unit_records, 1, whole=True))
        both = ("paired", "interleaved")
        if self.paired and self.interleaved:
            raise ConfigError(
                "paired and interleaved exclude each other: give two files of mates, or one of pairs", *both
            )
        if self.paired and len(self.inputs) != 2:
            one = "; if the mates follow each other in one file, use interleaved" if len(self.inputs) == 1 else ""
            raise ConfigError(
                f"paired takes two files, those of reads 1 and of reads 2, got {len(self.inputs)}{one}", *both
            )
        if self.interleaved and len(self.inputs) != 1:
            two = "; for a file of each mate, use paired" if len(self.inputs) == 2 else ""
            raise ConfigError(
                f"interleaved takes one file, in which mates follow each other, got {len(self.inputs)}{two}", *both
            )

    def task(self) -> PredictTask:
        """Return what is done with each unit.

        Raises:
            ConfigError: the request has no directory.
        """
        if self.output is None:
            raise ConfigError("a run in units needs an output directory, got none", "output")
        return PredictTask(
            model=self.model,
            options=self.options,
            output=self.output,
            legacy=self.legacy_output,
            paired=self.in_pairs,
            outputs=self.outputs,
        )

    @property
    def in_pairs(self) -> bool:
        """Whether a row of records.tsv stands for a pair."""
        return self.paired or self.interleaved

    @property
    def unit(self) -> str:
        """The name of the rows of records.tsv: records or pairs."""
        return "pairs" if self.in_pairs else "records"

    @property
    def sample_name(self) -> str:
        """The name of the run in reports."""
        streams = [path if os.path.isfile(path) else None for path in self.inputs]
        return self.sample or default_sample(streams, self.output or Path())

    @property
    def files(self) -> dict[str, str]:
        """The names of the input files in the tables, by path; empty if there is one file, or two of mates."""
        return file_names(self.inputs) if len(self.inputs) > 1 and not self.in_pairs else {}

    def counter(self) -> FileCounter | None:
        """Return a counter of the records of each input file, None if there is one file, or two of mates."""
        return FileCounter(self.files) if self.files else None

    def units(self, source: Source, device: str) -> Iterator[Unit]:
        """Read the input in a background thread and yield units for a device.

        Warn if single records look like pairs, or if there are reads and contigs.
        """
        # A unit that a fault of the input cuts short would be another one once the input is mended.
        shards = 1 if self.shard is None else self.shard.all
        size = unit_size(device, self.unit_records, shards, source.bytes)
        blocks = iter_blocks(source, self.in_pairs, *size, cut_short=False)
        if not self.in_pairs:
            for hint in hints(heads_of(source.files)):
                logger.warning(hint)
            if len(source.files) == 1 and source.files[0].size is None:
                blocks = watched_blocks(blocks, logger.warning)
            if hint := mixture(source.files):
                logger.warning(hint)
            elif len(source.files) == 1:
                blocks = watched_lengths(blocks, logger.warning)
        return prefetch(number_units(blocks), depth=2)

    def fingerprint(self, device: str) -> dict[str, Any]:
        """Return the parts of the request that determine the files of a run, by name."""
        named = {
            "--unit-records": unit_size(device, self.unit_records)[0], "--legacy-output": self.legacy_output,
            "--paired": self.in_pairs,
        }  # fmt: skip
        named |= {"--interleaved": True} if self.interleaved else {}
        named |= self.outputs.named()
        return named | ({"--shard": str(self.shard)} if self.shard else {})
