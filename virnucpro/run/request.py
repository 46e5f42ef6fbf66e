"""What a run of `predict` is asked to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virnucpro.config import Options, number
from virnucpro.data import prefetch
from virnucpro.errors import ConfigError
from virnucpro.pretrained.registry import DEFAULT_MODEL
from virnucpro.run.directory import Begin
from virnucpro.run.shards import Shard
from virnucpro.run.tables import REPORTS
from virnucpro.run.units import UNIT_RECORDS, Unit, iter_units
from virnucpro.seq import read_pairs
from virnucpro.seq.pairs import heads_of, hints, watched
from virnucpro.seq.reader import as_path, several
from virnucpro.seq.source import Source
from virnucpro.types import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is to do: `output` is its directory, or None for records.tsv on standard output.

    `paired` says that the inputs are two files of mates, `interleaved` that the input is one file in which mates follow
    each other. With a `shard`, it does the units of that shard alone and
    leaves their files for `merge_shards`. `finish` is called with the directory once the run is complete, to write
    `extras`.
    """

    inputs: Sequence[str]
    output: Path | None
    model: str = DEFAULT_MODEL
    options: Options = field(default_factory=Options)
    begin: Begin = Begin.NEW
    unit_records: int = UNIT_RECORDS
    command: Sequence[str] = ()
    legacy_output: bool = False
    paired: bool = False
    shard: Shard | None = None
    finish: Callable[[Path], object] | None = None
    extras: Sequence[str] = REPORTS
    interleaved: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", [as_path(name) for name in several(self.inputs)])
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

    @property
    def in_pairs(self) -> bool:
        """Whether a row of records.tsv stands for a pair."""
        return self.paired or self.interleaved

    @property
    def unit(self) -> str:
        """What a row of records.tsv stands for, in the plural."""
        return "pairs" if self.in_pairs else "records"

    def units(self, source: Source) -> Iterator[Unit]:
        """Read the input in a background thread and yield its units."""
        return prefetch(iter_units(self._records(source), self.unit_records), depth=1)

    def _records(self, source: Source) -> Iterator[Record]:
        """Yield records, or pairs; warn where records look like pairs."""
        if self.in_pairs:
            return source.count(read_pairs(*source.files))
        for hint in hints(heads_of(source.files)):
            logger.warning(hint)
        streamed = len(source.files) == 1 and source.files[0].size is None
        return watched(iter(source), logger.warning) if streamed else iter(source)

    def fingerprint(self) -> dict[str, Any]:
        """Return what of this the files of a run follow from, by name."""
        named = {
            "--unit-records": self.unit_records, "--legacy-output": self.legacy_output, "--paired": self.in_pairs,
        }  # fmt: skip
        named |= {"--interleaved": True} if self.interleaved else {}
        return named | ({"--shard": str(self.shard)} if self.shard else {})
