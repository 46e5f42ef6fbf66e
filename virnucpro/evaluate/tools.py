"""The known tables of calls, ours and those of other tools: how to recognise each and how to read its rows.

A row gives a score, which is a probability of virus between 0 and 1, and the tool's own verdict:

virnucpro        `virus_score` and `prediction` of records.tsv; NA is no score, also of what was screened out. Any other
                 table with seq_name and virus_score has scores but no verdict.
geNomad          `virus_score` of *_nn_classification.tsv and of the tables of the same columns of its other modules
                 (marker, aggregated and calibrated classification). The highest of its three scores is the verdict.
geNomad summary  `virus_score` of *_virus_summary.tsv, the highest of a sequence and the proviruses in it. The table
                 lists viruses only.
Jaeger           the share of its classes phage and virus. The model `default` writes mean logits, which become
                 probabilities by softmax; newer models write probabilities and a column `energy`. `prediction` is the
                 verdict. Sequences that are short or ambiguous are not listed.
DeepMicroClass   (EukaryoteVirus + ProkaryoteVirus) / sum of the five scores, each of which is a sum over pieces; the
                 highest is the verdict. A sequence below 500 bp has five zeros: no score, no verdict.
VirSorter2       no comparable score; final-viral-score.tsv lists viruses only.
Kraken2          no score; its output has no header, see `kraken`.

An id ends at its first blank. Two tools add a suffix to the id of a part of a sequence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from virnucpro.errors import InputError
from virnucpro.evaluate.columns import Row, Table, finite, first_word, listed, quoted, read_table

_GENOMAD = ("chromosome_score", "plasmid_score", "virus_score")
_DEEPMICROCLASS = ("Eukaryote", "EukaryoteVirus", "Plasmid", "Prokaryote", "ProkaryoteVirus")
_PROVIRUS = re.compile(r"\|provirus_\d+_\d+$", re.ASCII)  # of geNomad
_FRAGMENT = re.compile(r"\|\|(full|\d+_partial|lt2gene)$", re.ASCII)  # of VirSorter2

Score = float | None
Verdict = bool | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tool:
    """A kind of table.

    `columns` identify it; the first of them holds the ids. `score` and `verdict` read a row, and raise ValueError if
    the tool does not write such a row; None: the table has no score or verdict. `lists` says which sequences have a
    row: all, viruses only, or those that the tool could call. `part` matches the suffix in the id of a part of a
    sequence.
    """

    name: str
    columns: tuple[str, ...] = ()
    score: Callable[[Row], Score] | None = None
    verdict: Callable[[Row], Verdict] | None = None
    lists: Literal["all", "viruses", "some"] = "all"
    part: re.Pattern[str] | None = None
    table: str = ""  # which of the tool's tables, if there are two

    @property
    def full_name(self) -> str:
        return f"{self.name} {self.table}".strip()

    def without_suffix(self, name: str) -> str:
        """Return `name` without the suffix of a part, which is the id of the sequence."""
        return self.part.sub("", name) if self.part else name

    def read(self, table: Table, read: Callable[[Row], T]) -> list[tuple[str, T]]:
        """Return the id of each row and the result of `read` for the row.

        Raises:
            InputError: an id is missing or repeated, or a row is not what the tool writes.
        """
        id_of = str if self.name == "virnucpro" else first_word  # other tools may keep the description
        read_rows = []
        for place, name in enumerate(table.names(self.columns[0], id_of)):
            try:
                read_rows.append((name, read(table.rows[place])))
            except ValueError as error:
                what = f"the row of {quoted(name)} is not what {self.name} writes"
                raise InputError(f"{table.line(place)}: {what}: {error}") from None
        return read_rows


def _highest(names: Sequence[str], viral: Sequence[str], maximum: float) -> Callable[[Row], Verdict]:
    """Return a function that gives the verdict by the highest of several scores from 0 to `maximum`."""

    def verdict(row: Row) -> Verdict:
        scores = {name: finite(row, name, 0, maximum) for name in names}
        return max(scores, key=lambda name: scores[name]) in viral if any(scores.values()) else None

    return verdict


def _our_score(row: Row) -> Score:
    return None if row["virus_score"] == "NA" else finite(row, "virus_score", 0, 1)


def _our_verdict(row: Row) -> Verdict:
    prediction, score = row["prediction"], _our_score(row)
    if prediction not in ("virus", "other", "NA"):
        raise ValueError(f"prediction must be virus, other or NA, got {quoted(prediction)}")
    screened = (prediction, row["status"]) == ("other", "screened")  # has no score of the model, but is no virus
    if (prediction == "NA") != (score is None) and not screened:
        given = f"prediction {prediction} with virus_score {row['virus_score']}"
        raise ValueError(f"{given}; expected NA in both or in neither")
    return None if prediction == "NA" else prediction == "virus"


def _genomad_score(row: Row) -> Score:
    return [finite(row, column, 0, 1) for column in _GENOMAD][-1]


def _summary_score(row: Row) -> Score:
    return finite(row, "virus_score", 0, 1)


def _summary_verdict(row: Row) -> Verdict:
    finite(row, "virus_score", 0, 1)
    finite(row, "n_hallmarks", 0)
    return True


def _jaeger_score(row: Row) -> Score:
    classes = [name for name in row if name.endswith("_score") and name != "reliability_score"]
    viral = [name for name in ("phage_score", "virus_score") if name in classes]
    if not viral:
        raise ValueError("no column phage_score or virus_score; calls of a model with these classes are read")
    bounds = (0, 1) if "energy" in row else (-math.inf, math.inf)
    shares = {name: finite(row, name, *bounds) for name in classes}
    if "energy" not in row:
        highest = max(shares.values())
        shares = {name: math.exp(logit - highest) for name, logit in shares.items()}
    if not (total := sum(shares.values())):
        raise ValueError("all scores are 0")
    return sum(shares[name] for name in viral) / total


def _jaeger_verdict(row: Row) -> Verdict:
    if not row["prediction"].strip():
        raise ValueError("prediction is empty; expected the name of a class")
    finite(row, "entropy", 0)
    return row["prediction"].lower() in ("phage", "virus")


def _deepmicroclass_score(row: Row) -> Score:
    scores = {name: finite(row, name, 0) for name in _DEEPMICROCLASS}
    total = sum(scores.values())
    return (scores["EukaryoteVirus"] + scores["ProkaryoteVirus"]) / total if total else None


def _virsorter_verdict(row: Row) -> Verdict:
    if row["max_score"] != "nan":  # nan: a sequence with too few genes for a score, found by a hallmark gene
        finite(row, "max_score", 0, 1)
    finite(row, "hallmark", 0)
    return True


KRAKEN2 = Tool("Kraken2")
# A table belongs to the first tool whose columns it has.
_TOOLS = (
    Tool("virnucpro", ("seq_name", "prediction", "virus_score", "status"), None, _our_verdict),
    Tool("geNomad", ("seq_name", *_GENOMAD), _genomad_score, _highest(_GENOMAD, ("virus_score",), 1), part=_PROVIRUS),
    Tool(
        "geNomad", ("seq_name", "virus_score", "n_hallmarks", "taxonomy"), _summary_score, _summary_verdict,
        lists="viruses", part=_PROVIRUS, table="summary",
    ),
    Tool(
        "Jaeger", ("contig_id", "prediction", "entropy", "window_summary"), _jaeger_score, _jaeger_verdict,
        lists="some",
    ),
    Tool(
        "DeepMicroClass", ("Sequence Name", *_DEEPMICROCLASS), _deepmicroclass_score,
        _highest(_DEEPMICROCLASS, ("EukaryoteVirus", "ProkaryoteVirus"), math.inf),
    ),
    Tool(
        "VirSorter2", ("seqname", "max_score", "max_score_group", "hallmark"), None, _virsorter_verdict,
        lists="viruses", part=_FRAGMENT,
    ),
    Tool("virnucpro", ("seq_name", "virus_score"), _our_score),
)  # fmt: skip


def read_scores(path: Path) -> tuple[Tool, Table, list[tuple[str, Score]]]:
    """Read a table with scores; return its tool, the table, and the id and score of each row.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it is not a table with scores of a known tool, repeats an id, or has a row that the tool does not
            write.
    """
    tools = [tool for tool in _TOOLS if tool.score]
    table = read_table(path, check=lambda columns: _tool_of(columns, tools, path))
    tool = _tool_of(table.columns, tools, path)
    assert tool.score is not None  # for the type checker
    return tool, table, tool.read(table, tool.score)


def verdicts_of(table: Table) -> dict[str, Verdict] | None:
    """Return the verdict on each id of a table, None if it has none.

    Raises:
        InputError: a row is not what its tool writes.
    """
    found = next((tool for tool in _TOOLS if tool.verdict and set(tool.columns) <= set(table.columns)), None)
    return None if found is None or found.verdict is None else dict(found.read(table, found.verdict))


def read_verdicts(path: Path) -> tuple[Tool, dict[str, Verdict]]:
    """Read a table with verdicts; return its tool, and the verdict on each id.

    Raises:
        MissingInputError, InputError: as `read_scores`.
    """
    tools = [tool for tool in _TOOLS if tool.verdict]
    more = "; and Kraken2's output, which has no header"
    table = read_table(path, check=lambda columns: _tool_of(columns, tools, path, more))
    tool = _tool_of(table.columns, tools, path)
    assert tool.verdict is not None  # for the type checker
    return tool, dict(tool.read(table, tool.verdict))


def _tool_of(columns: Sequence[str], tools: Sequence[Tool], path: Path, more: str = "") -> Tool:
    found = next((tool for tool in tools if set(tool.columns) <= set(columns)), None)
    if found is None:
        known = "; ".join(f"{tool.full_name} ({', '.join(tool.columns)})" for tool in tools)
        raise InputError(
            f"{path} is {'of no known tool' if columns else 'empty'}: its columns are {listed(columns)}; "
            f"known by their columns are {known}{more}"
        )
    return found
