"""A table of calls as one score a sequence; `tools` has the tables that are known and their scores."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from virnucpro.evaluate.tools import read_scores


@dataclass(frozen=True, slots=True)
class Calls:
    """What a tool said: name -> score (None: no score), name -> length in nt (empty: the table has no lengths).

    `complete` tells that the tool lists every sequence, so that a missing one is a mistake.
    """

    tool: str
    scores: dict[str, float | None]
    lengths: dict[str, int]
    complete: bool


def read_calls(path: Path, names: Collection[str] = ()) -> Calls:
    """Read a table of calls of any known tool.

    Args:
        path: the table.
        names: sequences that are known. An id that is none of them is read without the suffix that the tool adds to
            the id of a part of a sequence; of several parts the greatest score counts.

    Raises:
        MissingInputError: the file is not there.
        InputError: it is no table, of no known tool, names a sequence twice, or has a score that is no probability.
    """
    tool, table, rows = read_scores(path)
    scores: dict[str, float | None] = {}
    whole: dict[str, int] = {}
    lengths = table.lengths()
    for place, (given, score) in enumerate(rows):
        name = given if given in names else tool.without_suffix(given)
        scores[name] = max((value for value in (score, scores.get(name)) if value is not None), default=None)
        if lengths and name == given:  # a part's length is not that of the sequence
            whole[name] = lengths[place]
    return Calls(tool.full_name, scores, whole, tool.lists == "all")
