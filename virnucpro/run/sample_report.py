"""What a run found out about its sample as a whole, and about each of several input files, for the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from virnucpro.run.input_files import FileRecords, spans
from virnucpro.run.units import UnitEvidence
from virnucpro.scores.composition import Composition, Evidence, SampleRule

MAX_FILES = 100  # with more files, none has an estimate of its own


@dataclass(frozen=True, slots=True)
class SampleReport:
    """The composition of a sample for the manifest.

    `hosts` has the shares of host classes among hosts, empty if the model has one host class. `interval` is that of the
    share of virus, at 90 %. `source` is sample, equal or given.
    """

    hosts: dict[str, float]
    interval: list[float] | None
    source: str

    @classmethod
    def of(cls, composition: Composition | None, asked: str | dict[str, float]) -> SampleReport | None:
        """Return the report of a composition; `asked` is the user's option."""
        if composition is None:
            return None
        interval = None if composition.interval is None else [round(bound, 4) for bound in composition.interval]
        hosts = {name: round(share, 4) for name, share in composition.hosts.items()}
        return cls(hosts, interval, asked if isinstance(asked, str) else "given")


@dataclass(frozen=True, slots=True)
class FileReport:
    """The estimates for one of several input files; `prevalence` is its share of virus, None if not estimated.

    `hosts` and `interval` are as in `SampleReport`.
    """

    file: str
    prevalence: float | None = None
    hosts: dict[str, float] | None = None
    interval: list[float] | None = None


def report_files(files: Sequence[FileRecords], evidence: UnitEvidence, rule: SampleRule) -> tuple[FileReport, ...]:
    """Return the estimates for each input file, as if it were a sample of its own.

    Args:
        files: the records of each file, in the order of reading; empty if there is one file.
        evidence: that of all records of the run.
        rule: the rule for the sample. Calls do not depend on the result.

    Raises:
        OutputError: a unit is missing or has changed.
    """
    places = spans(files)
    if len(places) > MAX_FILES:
        return tuple(map(FileReport, places))
    alone, found = replace(rule, rate=None), []
    for name, of_file in places.items():
        composition = alone.composition(_Part(evidence, of_file))
        report = SampleReport.of(composition, "sample")
        if composition is None or report is None:
            found.append(FileReport(name))
        else:
            found.append(FileReport(name, round(composition.prevalence, 6), report.hosts, report.interval))
    return tuple(found)


class _Part(Iterable[Evidence]):
    """The evidence of some spans of records, each time it is iterated over."""

    def __init__(self, evidence: UnitEvidence, places: Sequence[tuple[int, int]]) -> None:
        self._evidence, self._places = evidence, places

    def __iter__(self) -> Iterator[Evidence]:
        return chain.from_iterable(self._evidence.between(first, last) for first, last in self._places)
