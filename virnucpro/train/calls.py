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
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.train.tables import Row, lengths_of, read_header_and_rows

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

    def sequence(self, row: Row) -> str:
        """Return the name of the sequence: ours are exact, other tools may keep the description or name a part."""
        name = row[self.columns[0]]
        return name if self.tool == "virnucpro" else (name.split() or [""])[0].split("|provirus_")[0]


def _virus_score(row: Row) -> float | None:
    return None if row["virus_score"] == "NA" else float(row["virus_score"])


def _jaeger(row: Row) -> float:
    classes = [name for name in row if name.endswith("_score") and name != "reliability_score"]
    viral = [name for name in ("phage_score", "virus_score") if name in classes]
    if not viral:
        raise ValueError("no column phage_score or virus_score; calls of a model with these classes are read")
    shares = {name: float(row[name]) for name in classes}
    if "energy" not in row:
        highest = max(shares.values())
        shares = {name: math.exp(logit - highest) for name, logit in shares.items()}
    return sum(shares[name] for name in viral) / sum(shares.values())


def _deepmicroclass(row: Row) -> float | None:
    total = sum(float(row[name]) for name in DEEPMICROCLASS_CLASSES)
    return (float(row["EukaryoteVirus"]) + float(row["ProkaryoteVirus"])) / total if total else None


# The first whose columns are all there is it.
_FORMATS = (
    _Format("geNomad", ("seq_name", "chromosome_score", "plasmid_score", "virus_score"), _virus_score),
    _Format("geNomad summary", ("seq_name", "virus_score", "n_hallmarks", "taxonomy"), _virus_score, complete=False),
    _Format("Jaeger", ("contig_id", "prediction", "entropy", "window_summary"), _jaeger, complete=False),
    _Format("DeepMicroClass", ("Sequence Name", *DEEPMICROCLASS_CLASSES), _deepmicroclass),
    _Format("virnucpro", ("seq_name", "virus_score"), _virus_score),
)


def read_calls(path: Path) -> Calls:
    """Read a table of calls of any known tool.

    Raises:
        MissingInputError: the file is not there.
        InputError: it is no table, of no known tool, names a sequence twice, or has a score that is no probability.
    """
    header, rows = read_header_and_rows(path)
    found = next((known for known in _FORMATS if set(known.columns) <= set(header)), None)
    if found is None:
        known = "; ".join(f"{entry.tool} ({', '.join(entry.columns)})" for entry in _FORMATS)
        raise InputError(
            f"{path} is no table of calls that is known: its columns are {', '.join(header) or 'none'}; known by "
            f"their columns are {known}"
        )
    scores: dict[str, float | None] = {}
    for row in rows:
        name, score = found.sequence(row), _checked(found, row, path)
        if name in scores and found.tool != "geNomad summary":
            raise InputError(f"{path} has more than one row for {name!r}; give every sequence a name of its own")
        scores[name] = max((value for value in (score, scores.get(name)) if value is not None), default=None)
    lengths = lengths_of(rows, path) or []
    return Calls(found.tool, scores, dict(zip(map(found.sequence, rows), lengths, strict=False)), found.complete)


def _checked(found: _Format, row: Row, path: Path) -> float | None:
    where = f"{path}: the score of {row[found.columns[0]]!r}"
    try:
        score = found.score(row)
    except ValueError as error:
        raise InputError(f"{where} must be a number{' or NA' * (found.tool == 'virnucpro')}: {error}") from None
    if score is not None and not 0 <= score <= 1:
        raise InputError(f"{where} must lie between 0 and 1, got {score:g}")
    return score
