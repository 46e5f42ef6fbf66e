"""Read a table of calls as one score per sequence; `tools` describes the known tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.evaluate.columns import quoted
from virnucpro.evaluate.tools import read_scores, verdicts_of

SAMPLE_SCORE = "sample_score"


@dataclass(frozen=True, slots=True)
class Calls:
    """The scores of a tool: name -> score (None: no score), name -> length in nt (empty: no lengths in the table).

    `complete` says that the tool lists every sequence, so a missing sequence is an error. `virus` has the names that
    the tool itself calls virus, None if the table does not say it. `sample_scores` has the column `sample_score` of
    records.tsv by name, empty for other tables.
    """

    tool: str
    scores: dict[str, float | None]
    lengths: dict[str, int]
    complete: bool
    virus: frozenset[str] | None = None
    sample_scores: dict[str, float | None] = field(default_factory=dict)


def read_calls(path: Path, names: Collection[str] = ()) -> Calls:
    """Read a table of calls of any known tool.

    Args:
        path: the table.
        names: known sequences. From any other id the suffix is removed that the tool adds to parts of a sequence; the
            highest score of several parts counts.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it is not a table of a known tool, repeats a sequence, or has a score that is not a probability.
    """
    tool, table, rows = read_scores(path)
    scores: dict[str, float | None] = {}
    whole: dict[str, int] = {}
    of_sample: dict[str, float | None] = {}
    lengths = table.lengths()

    def name_of(given: str) -> str:
        return given if given in names else tool.without_suffix(given)

    for place, (given, score) in enumerate(rows):
        name = name_of(given)
        scores[name] = max((value for value in (score, scores.get(name)) if value is not None), default=None)
        if lengths and name == given:  # the length of a part is not the sequence's
            whole[name] = lengths[place]
        if SAMPLE_SCORE in table.columns:
            of_sample[name] = _probability(table.rows[place][SAMPLE_SCORE], table.line(place))
    verdicts = verdicts_of(table)
    virus = None if verdicts is None else frozenset(name_of(given) for given, verdict in verdicts.items() if verdict)
    return Calls(tool.full_name, scores, whole, tool.lists == "all", virus, of_sample)


def _probability(text: str, line: str) -> float | None:
    """Return a probability as a number, None for NA."""
    if text == "NA":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"{line}: {SAMPLE_SCORE} must be NA or a number in 0..1, got {quoted(text)}")
    return value
