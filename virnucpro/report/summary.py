"""Many runs side by side: one table and one page, with a row for each sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from pathlib import Path

from markupsafe import Markup

from virnucpro.printable import printable
from virnucpro.report.html import Table, environment, policy_hash, readable, record_name
from virnucpro.report.load import Run, read_counts
from virnucpro.run.input_files import file_names

# The first columns of the table; shares of host classes follow, see `columns_of`.
COLUMNS = (
    "sample", "run", "unit", "records", "bases", "virus", "virus_bases", "not_called", "expected_false", "virus_share",
    "virus_low", "virus_high", "model", "decision",
)  # fmt: skip
MAX_CLASSES = 11  # host classes with a colour; the others are drawn as one
_OTHERS = "other classes"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a summary has of a run, without its records.

    `unit` is what a row of its records.tsv stands for; `expected_false`, `virus_share` and `host_shares` are as in
    `Run`, and `decision` says what called a record virus.
    """

    name: str
    directory: str
    unit: str
    records: int
    bases: int
    virus: int
    virus_bases: int
    uncalled: int
    expected_false: float | None
    virus_share: tuple[float, float | None, float | None] | None
    host_shares: dict[str, float]
    model: str
    decision: str
    version: str

    @classmethod
    def of(cls, run: Run, directory: Path) -> Sample:
        """Return what a summary has of a run."""
        options, bases = run.manifest.setup.options, run.counts.bases
        return cls(
            run.manifest.sample, str(directory), run.unit, run.records, sum(bases.values()), run.count("virus"),
            bases["virus"], run.count("NA"), run.expected_false, run.virus_share, run.host_shares,
            run.manifest.setup.model.name, options.preset or f"minimum score {options.min_score!r}",
            run.manifest.virnucpro,
        )  # fmt: skip


def read_samples(directories: Iterable[Path]) -> list[Sample]:
    """Read the finished runs in these directories, one after the other.

    Raises:
        MissingInputError: there is no run, or its table is missing.
        InputError: a run is not complete, or its files contradict each other.
    """
    return [Sample.of(read_counts(directory), directory) for directory in directories]


def columns_of(samples: Iterable[Sample]) -> list[str]:
    """Return the columns of the table: one for each host class that a model of these runs has."""
    hosts = dict.fromkeys(f"host_{name}" for sample in samples for name in sample.host_shares)
    return [*COLUMNS, *sorted(hosts)]


def table(samples: Sequence[Sample]) -> str:
    """Return the table as TSV; NA is what was not estimated."""
    columns = columns_of(samples)
    lines = ["\t".join(map(printable, columns))]
    for one in samples:
        share, low, high = one.virus_share or (None, None, None)
        cells = {
            "sample": one.name, "run": one.directory, "unit": one.unit, "records": one.records, "bases": one.bases,
            "virus": one.virus, "virus_bases": one.virus_bases, "not_called": one.uncalled,
            "expected_false": None if one.expected_false is None else f"{one.expected_false:.2f}",
            "virus_share": _decimal(share), "virus_low": _decimal(low), "virus_high": _decimal(high),
            "model": one.model, "decision": one.decision,
            **{f"host_{name}": _decimal(part) for name, part in one.host_shares.items()},
        }  # fmt: skip
        found = (cells.get(name) for name in columns)
        lines.append("\t".join("NA" if cell is None else printable(str(cell)) for cell in found))
    return "".join(f"{line}\n" for line in lines)


def _decimal(share: float | None) -> str | None:
    return None if share is None else f"{share:.4f}"


def page(samples: Sequence[Sample]) -> str:
    """Return the page. It needs no network and no other file, and has no script."""
    style = "".join(
        (files("virnucpro.report") / name).read_text(encoding="utf-8") for name in ("page.css", "summary.css")
    )
    classes, places = _classes(samples), file_names([one.directory for one in samples])
    repeated = {name for name, times in Counter(one.name for one in samples).items() if times > 1}
    ends = [one.virus_share[2] or one.virus_share[0] for one in samples if one.virus_share]
    highest = ceil(100 * max(ends, default=0.01)) / 100
    jinja = environment()
    jinja.filters |= {
        "results": _results, "composition": lambda one: _composition(one, classes),
        "interval": lambda one: _interval(one, highest),
    }  # fmt: skip
    return jinja.from_string((files("virnucpro.report") / "summary.html").read_text(encoding="utf-8")).render(
        samples=samples,
        totals=[sum(numbers) for numbers in zip(*((s.records, s.bases, s.virus) for s in samples), strict=True)],
        classes=classes,
        repeated=repeated,
        highest=highest,
        words="pairs" if {one.unit for one in samples} == {"pair"} else "records",
        mixed_units=len({one.unit for one in samples}) > 1,
        differ=len({(one.model, one.decision) for one in samples}) > 1,
        has_shares=any(one.virus_share for one in samples),
        has_false=any(one.expected_false is not None for one in samples),
        made=_made(samples, places),
        places=places,
        style=Markup(style),
        style_hash=policy_hash(style),
    )


def _classes(samples: Sequence[Sample]) -> list[str]:
    """Return the host classes that are drawn, those with the largest shares first; the last may stand for others."""
    total: Counter[str] = Counter()
    for one in samples:
        total.update(one.host_shares)
    names = [name for name, _ in total.most_common()]
    return names if len(names) <= MAX_CLASSES else [*names[: MAX_CLASSES - 1], _OTHERS]


def _made(samples: Sequence[Sample], places: Mapping[str, str]) -> Table:
    rows = [(record_name(s.name), record_name(places[s.directory]), s.model, s.decision, s.version) for s in samples]
    return Table("How each run was made.", ("sample", "run", "model", "preset or minimum", "virnucpro"), rows)


def _bar(parts: Iterable[tuple[str, str, float]], label: str) -> Markup:
    """Draw shares (class of its colour, name, 0..1) as one bar."""
    drawn, x = Markup(), 0.0
    for css, name, share in parts:
        if share > 0:
            drawn += Markup(
                '<rect x="{:.2f}" y="0" width="{:.2f}" height="4" class="{}"><title>{}</title></rect>'
            ).format(100 * x, 100 * share, css, readable(f"{name} {share:.1%}"))
        x += share
    return Markup(
        '<svg viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{}" class="share">{}</svg>'
    ).format(readable(label), drawn)


def _results(one: Sample) -> Markup:
    """Draw the records of a sample by result."""
    counts = {"virus": one.virus, "other": one.records - one.virus - one.uncalled, "not called": one.uncalled}
    classes = {"virus": "virus", "other": "other", "not called": "none"}
    total = max(1, one.records)
    label = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    return _bar(((classes[name], name, number / total) for name, number in counts.items()), label)


def _composition(one: Sample, classes: Sequence[str]) -> Markup:
    """Draw the estimated shares of virus and host classes of a sample."""
    shares = dict.fromkeys(classes, 0.0)
    for name, share in one.host_shares.items():
        shares[name if name in shares else _OTHERS] += share
    parts = [("virus", "virus", one.virus_share[0] if one.virus_share else 0.0)]
    parts += [(f"host-{number}", name, share) for number, (name, share) in enumerate(shares.items())]
    return _bar(parts, ", ".join(f"{name} {share:.1%}" for _, name, share in parts if share > 0))


def _interval(one: Sample, highest: float) -> Markup:
    """Draw the estimated share of virus of a sample and its interval, on the scale of all samples."""
    if one.virus_share is None:
        return Markup()
    share, low, high = one.virus_share
    label = f"{share:.2%}" if low is None or high is None else f"{share:.2%}, between {low:.2%} and {high:.2%}"
    low, high = (share if low is None else low), (share if high is None else high)
    shape = Markup(
        '<svg viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{}" class="share">'
        '<rect x="0" y="1.9" width="100" height=".2" class="scale"></rect>'
        '<rect x="{:.2f}" y="1.3" width="{:.2f}" height="1.4" class="span"></rect>'
        '<rect x="{:.2f}" y="0" width="1" height="4" class="virus"></rect></svg>'
    )
    return shape.format(label, 99 * low / highest, max(0.2, 99 * (high - low) / highest), 99 * share / highest)
