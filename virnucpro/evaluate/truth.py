"""Evaluate a table of calls against the truth: figures by length and host class, with intervals, and their files."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError, InputError
from virnucpro.evaluate.bootstrap import Bootstrap
from virnucpro.evaluate.columns import quoted, read_table
from virnucpro.evaluate.genomes import VIRUS
from virnucpro.evaluate.metrics import ALL_HOSTS, CALIBRATION_BINS, MACRO, Sample, rounded
from virnucpro.evaluate.presets import called_by_presets
from virnucpro.evaluate.tool_calls import Calls, read_calls
from virnucpro.files import (
    atomic_writer,
    write_json,
)
from virnucpro.words import counted

logger = logging.getLogger(__name__)

ALL_LENGTHS, AS_CALLED = "all", "as_called"
EVALUATION_FILES = ("evaluation.json", "evaluation.tsv")
LENGTH_EDGES = (150, 300, 500, 1000, 5000)


@dataclass(frozen=True, slots=True)
class Truth:
    """The sequences of a truth table, in order: names, classes, and taxa and lengths (nt) if it has them."""

    path: Path
    names: list[str]
    classes: list[str]
    taxa: list[str] | None
    lengths: list[int] | None


def read_truth(path: Path) -> Truth:
    """Read a table with columns seq_name and class, and optionally taxon and length.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it lacks a column, repeats a name, or has no virus or no host.
    """
    table = read_table(path, ("seq_name", "class"))
    names, classes = table.names("seq_name"), [row["class"] for row in table.rows]
    for place, name in enumerate(classes):
        # "Virus" would be read as a host class, and the other two names stand for all hosts in the figures.
        if not name.strip() or (name != VIRUS and name.strip().lower() == VIRUS) or name in (ALL_HOSTS, MACRO):
            raise InputError(
                f"{table.line(place)}: class {quoted(name)}; expected {VIRUS!r} or the name of a host class"
            )
    if len({name == VIRUS for name in classes}) < 2:
        raise InputError(f"{path} must have sequences of class {VIRUS!r} and of another class")
    taxa = [row["taxon"] for row in table.rows] if "taxon" in table.columns else None
    return Truth(path, names, classes, taxa, table.lengths())


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of viruses against hosts (one class, all, or the mean over classes) in one length bin."""

    length: str
    hosts: str
    name: str
    value: float
    low: float
    high: float
    n_virus: int
    n_host: int

    def to_json(self) -> dict[str, Any]:
        """Return the columns of evaluation.tsv."""
        value, low, high = map(rounded, (self.value, self.low, self.high))
        return {
            "length": self.length, "hosts": self.hosts, "figure": self.name, "value": value, "low": low, "high": high,
            "n_virus": self.n_virus, "n_host": self.n_host,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableEvaluation:
    """All figures of one table of calls; `sample` has all sequences."""

    tool: str
    sample: Sample
    bootstrap: Bootstrap
    unit: str  # what the bootstrap draws: taxon or sequence
    figures: list[Figure] = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Return the figures over all lengths, and the intervals of those over all hosts."""
        intervals = {
            f"macro_{figure.name}" if figure.hosts == MACRO else figure.name: [
                rounded(figure.low),
                rounded(figure.high),
            ]
            for figure in self.figures
            if figure.length == ALL_LENGTHS and figure.hosts in (ALL_HOSTS, MACRO)
        }
        settings = self.bootstrap
        return {
            "tool": self.tool,
            **self.sample.summary(),
            "operating_points": self.sample.points(),
            "calibration_bins": CALIBRATION_BINS,
            "bootstrap": {
                "unit": self.unit,
                "replicates": settings.replicates,
                "seed": settings.seed,
                "level": settings.level,
            },
            "intervals": intervals,
        }

    @property
    def lengths(self) -> dict[str, int]:
        """The length bins that have viruses, in order, and how many."""
        return {f.length: f.n_virus for f in self.figures if f.length != ALL_LENGTHS and f.n_virus}

    def recall_by_length(self) -> dict[str, list[tuple[float, float, float]]]:
        """Return for each figure that is a recall its value and interval in each of `lengths`."""
        found: dict[str, list[tuple[float, float, float]]] = {}
        for figure in self.figures:
            if figure.length in self.lengths and figure.hosts == ALL_HOSTS and figure.name.startswith("recall_"):
                name = figure.name.removeprefix("recall_").replace("percent_fpr", "% false positives").replace("_", " ")
                found.setdefault(name, []).append((figure.value, figure.low, figure.high))
        own = found.pop(AS_CALLED.replace("_", " "), None)  # drawn once, if it is a preset
        return found if own is None or own in found.values() else {AS_CALLED.replace("_", " "): own, **found}

    def write(self, directory: Path) -> None:
        """Write evaluation.json and evaluation.tsv."""
        rows = [figure.to_json() for figure in self.figures]
        summary, table = (directory / name for name in EVALUATION_FILES)
        write_json(summary, {**self.summary(), "figures": rows})
        with atomic_writer(table) as file:
            for values in ([*rows[0]], *(row.values() for row in rows)):
                file.write("\t".join("NA" if value is None else str(value) for value in values) + "\n")


def evaluate_tables(
    truth: Path, calls: Path, bootstrap: Bootstrap | None = None, edges: Sequence[int] = LENGTH_EDGES
) -> TableEvaluation:
    """Evaluate a table of calls against a truth table.

    Args:
        truth: table with seq_name, class and optionally taxon and length.
        calls: table of any tool that `read_calls` knows.
        bootstrap: see `Bootstrap`; it draws taxa if the truth has them, else sequences.
        edges: borders of the length bins, nt; each is the lower end of a bin.

    Raises:
        MissingInputError: a table does not exist.
        InputError: a table cannot be read, or the calls lack sequences of the truth that they should have.
        ConfigError: the edges do not increase.
    """
    known = read_truth(truth)
    said = read_calls(calls, set(known.names))
    if missing := _missing(known, said):
        raise InputError(
            f"{calls} has no row for {counted(len(missing), 'sequences')} of {truth}, the first is {missing[0]!r}"
        )
    scores = [said.scores.get(name) for name in known.names]
    sample = replace(Sample.of(scores, known.classes), called=_called(known, said, calls, scores))
    bootstrap = bootstrap or Bootstrap()
    bins = _length_bins(_lengths(known, said), edges)
    samples = {name: (chosen, sample.take(chosen)) for name, chosen in bins.items()}
    samples = {ALL_LENGTHS: (np.ones(len(known.names), dtype=bool), sample), **samples}
    intervals = bootstrap.intervals(list(samples.values()), known.classes, known.taxa)
    figures = [
        figure
        for (name, (_, part)), spread in zip(samples.items(), intervals, strict=True)
        for figure in _figures(name, part, spread)
    ]
    return TableEvaluation(said.tool, sample, bootstrap, "taxon" if known.taxa else "sequence", figures)


def _called(truth: Truth, said: Calls, calls: Path, scores: Sequence[float | None]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which sequences are called virus: by the tool itself, and by each preset of the model of a run of ours."""
    called = {}
    if said.virus is not None:
        called[AS_CALLED] = np.array([name in said.virus for name in truth.names])
    if said.tool == "virnucpro":
        known = said.lengths.keys() >= set(truth.names)
        in_sample = said.sample_scores.keys() >= set(truth.names)
        called |= called_by_presets(
            calls,
            scores,
            [said.lengths[name] for name in truth.names] if known else None,
            [said.sample_scores[name] for name in truth.names] if in_sample else None,
        )
    return called


def _missing(truth: Truth, calls: Calls) -> list[str]:
    """Return the sequences without a row; if the tool may leave some out, only if all are missing."""
    missing = [name for name in truth.names if name not in calls.scores]
    return missing if calls.complete or len(missing) == len(truth.names) else []


def _lengths(truth: Truth, calls: Calls) -> list[int] | None:
    """Return the lengths of the truth, or of the calls if they have all lengths, else None."""
    if truth.lengths is not None:
        return truth.lengths
    if calls.lengths.keys() >= set(truth.names):
        return [calls.lengths[name] for name in truth.names]
    logger.warning("no figures by length: %s has no column 'length'", truth.path)
    return None


def _length_bins(lengths: Sequence[int] | None, edges: Sequence[int]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the sequences of each length bin that is not empty."""
    if any(low >= high for low, high in itertools.pairwise((0, *edges))):
        raise ConfigError(f"the borders of length bins must be above 0 and increase, got {', '.join(map(str, edges))}")
    if lengths is None:
        return {}
    names = [f"{low}-{high - 1}" for low, high in itertools.pairwise((0, *edges))] + [f"{(0, *edges)[-1]}-"]
    number = np.searchsorted(edges, lengths, side="right")
    return {names[i]: number == i for i in np.unique(number).tolist()}


def _figures(length: str, sample: Sample, spread: dict[tuple[str, str], tuple[float, float]]) -> list[Figure]:
    found = sample.figures(np.ones((1, len(sample.scores))))
    virus = int(sample.is_virus.sum())
    rows = []
    for (hosts, name), value in found.items():
        low, high = spread[hosts, name]
        n_host = int(sample.members(ALL_HOSTS if hosts == MACRO else hosts).sum()) - virus
        rows.append(Figure(length, hosts, name, float(value[0]), low, high, virus, n_host))
    return rows
