"""CalledBlock: a block of records and their calls."""

from __future__ import annotations

from dataclasses import dataclass

from virnucpro.pipeline.calls import CallTable
from virnucpro.seq.block import RecordBlock


@dataclass(frozen=True, slots=True)
class CalledBlock:
    """A block of records and their calls, in parts where a record made the model fail."""

    block: RecordBlock
    parts: list[CallTable]
