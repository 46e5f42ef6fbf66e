"""Tables of calls, ours and those of other tools, told apart by their header and read as one score a sequence.

Every score is a probability of virus between 0 and 1:

virnucpro        `virus_score` of records.tsv; NA is no score. Any table with seq_name and virus_score is read so.
geNomad          `virus_score` of *_nn_classification.tsv and of the tables of the same columns of its other modules
                 (marker, aggregated and calibrated classification).
geNomad summary  `virus_score` of *_virus_summary.tsv, of a sequence and the proviruses in it the greatest. The table
                 lists viruses only: every other sequence is without a score.
Jaeger           the share of its classes phage and virus. The model `default` writes mean logits, of which the softmax
                 is taken; newer models write probabilities, and a column `energy`. Sequences that are short or
                 ambiguous are not listed and without a score.
DeepMicroClass   (EukaryoteVirus + ProkaryoteVirus) / sum of the five scores, each of which is a sum over pieces. A
                 sequence below 500 bp has five zeros, which is no score.

An id counts as it is given, up to its first blank. geNomad adds `|provirus_1_700` to the id of a part of a sequence;
this is left out where no sequence is known by the whole id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.evaluate.columns import Row, finite, first_word, listed, quoted, read_table, without_suffix

DEEPMICROCLASS_CLASSES = ("Eukaryote", "EukaryoteVirus", "Plasmid", "Prokaryote", "ProkaryoteVirus")


@dataclass(frozen=True, slots=True)
class Calls:
    """What a tool said: name -> score (None: no score), name -> length in nt (empty: the table has no lengths).

    `complete` tells that the tool lists every sequence, so that a missing one is a mistake.
    """

    tool: str
    scores: dict[str, float | None]
    lengths: dict[str, int]
    complete: bool


@dataclass(frozen=True, slots=True)
class _Format:
    """A kind of table: the columns that tell it from others, the first of which holds the names, and its score."""

    tool: str
    columns: tuple[str, ...]
    score: Callable[[Row], float | None]
    complete: bool = True

    def sequence(self, name: str) -> str:
        """Return the id in a cell: ours are exact, other tools may keep the description."""
        return name if self.tool == "virnucpro" else first_word(name)


def _virus_score(row: Row) -> float | None:
    return None if row["virus_score"] == "NA" else finite(row, "virus_score", 0, 1)


def _genomad(row: Row) -> float:
    return [finite(row, column, 0, 1) for column in ("chromosome_score", "plasmid_score", "virus_score")][-1]


def _summary(row: Row) -> float:
    return finite(row, "virus_score", 0, 1)


def _jaeger(row: Row) -> float:
    classes = [name for name in row if name.endswith("_score") and name != "reliability_score"]
    viral = [name for name in ("phage_score", "virus_score") if name in classes]
    if not viral:
        raise ValueError("no column phage_score or virus_score; calls of a model with these classes are read")
    least, most = (0, 1) if "energy" in row else (-math.inf, math.inf)
    shares = {name: finite(row, name, least, most) for name in classes}
    if "energy" not in row:
        highest = max(shares.values())
        shares = {name: math.exp(logit - highest) for name, logit in shares.items()}
    if not (total := sum(shares.values())):
        raise ValueError("all scores are 0")
    return sum(shares[name] for name in viral) / total


def _deepmicroclass(row: Row) -> float | None:
    scores = {name: finite(row, name, 0) for name in DEEPMICROCLASS_CLASSES}
    total = sum(scores.values())
    return (scores["EukaryoteVirus"] + scores["ProkaryoteVirus"]) / total if total else None


# The first whose columns are all there is it.
_FORMATS = (
    _Format("geNomad", ("seq_name", "chromosome_score", "plasmid_score", "virus_score"), _genomad),
    _Format("geNomad summary", ("seq_name", "virus_score", "n_hallmarks", "taxonomy"), _summary, complete=False),
    _Format("Jaeger", ("contig_id", "prediction", "entropy", "window_summary"), _jaeger, complete=False),
    _Format("DeepMicroClass", ("Sequence Name", *DEEPMICROCLASS_CLASSES), _deepmicroclass),
    _Format("virnucpro", ("seq_name", "virus_score"), _virus_score),
)


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
    table = read_table(path, check=lambda columns: _format_of(columns, path))
    found = _format_of(table.columns, path)
    scores: dict[str, float | None] = {}
    whole: dict[str, int] = {}
    ids = table.names(found.columns[0], found.sequence)
    lengths = table.lengths()
    for place, (given, row) in enumerate(zip(ids, table.rows, strict=True)):
        score = _checked(found, row, table.line(place), given)
        name = given if given in names else without_suffix(found.tool, given)
        scores[name] = max((value for value in (score, scores.get(name)) if value is not None), default=None)
        if lengths and name == given:  # a part's length is not that of the sequence
            whole[name] = lengths[place]
    return Calls(found.tool, scores, whole, found.complete)


def _format_of(columns: list[str], path: Path) -> _Format:
    found = next((known for known in _FORMATS if set(known.columns) <= set(columns)), None)
    if found is None:
        known = "; ".join(f"{entry.tool} ({', '.join(entry.columns)})" for entry in _FORMATS)
        raise InputError(
            f"{path} {'is no table of calls that is known' if columns else 'is empty'}: its columns are "
            f"{listed(columns)}; known by their columns are {known}"
        )
    return found


def _checked(found: _Format, row: Row, line: str, name: str) -> float | None:
    try:
        return found.score(row)
    except ValueError as error:
        wanted = "a number or NA" if found.tool == "virnucpro" else "a number"
        raise InputError(f"{line}: the score of {quoted(name)} must be {wanted}: {error}") from None
