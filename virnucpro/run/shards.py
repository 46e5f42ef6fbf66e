"""Merge the shards of a run; each shard did every Nth unit in its own directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from virnucpro.config import Options
from virnucpro.errors import ConfigError, OutputError
from virnucpro.run.directory import IfExists, RunDirectory
from virnucpro.run.manifest import (
    COMPLETE,
    RUNNING,
    Manifest,
    PredictOutcome,
    RunnerReport,
    UnitCounts,
    read_manifest,
)
from virnucpro.run.outputs import Outputs, find_output
from virnucpro.run.provenance import differences, input_paths
from virnucpro.run.request import Shard
from virnucpro.run.sample_name import check_sample, default_sample
from virnucpro.run.sample_report import SampleReport, report_files
from virnucpro.run.setup import PredictSetup
from virnucpro.run.tally import RepeatedIds, Tally
from virnucpro.run.units import Content
from virnucpro.scores.composition import SampleRule
from virnucpro.seq.decompress import content_of
from virnucpro.seq.strings import Strings

T = TypeVar("T", int, float)

_LINES = 4096  # read at a time
_MAX_NAMED = 20  # missing shards in a message


@dataclass(frozen=True, slots=True)
class _Done:
    """The directory of a complete shard and the parts of its manifest; `content` describes the whole input."""

    path: Path
    shard: Shard
    manifest: Manifest
    legacy: bool
    paired: bool
    content: Content
    outcome: PredictOutcome
    options: Options
    outputs: Outputs

    @property
    def same(self) -> dict[str, Any]:
        """The values that all shards of a run must share, by name."""
        units = {"number of units": self.outcome.units.all, "number of shards": self.shard.all}
        return {**self.manifest.fingerprint, **self.content.named(), **units, "--shard": None}


def merge_shards(
    paths: Sequence[Path], output: Path, if_exists: IfExists, command: Sequence[str], sample: str | None = None
) -> Tally:
    """Make the tables and the manifest of a run from the directories of all its shards, which stay as they are.

    Old files in `output` stay until the new tables are complete. `sample` is the name of the run in reports; None: that
    of the shards if they share one, else `default_sample`.

    Raises:
        ConfigError: a directory is not a shard, or these are not all shards of one run, each once; or the name of the
            sample is not valid.
        OutputError: a shard is not complete or damaged, or the output cannot be written.
    """
    if sample is not None:
        check_sample(sample)
    shards = _in_order([_read_shard(path) for path in paths])
    if output.exists() and any(output.samefile(path) for path in paths):
        raise ConfigError(f"{output} is a shard and would be replaced; choose another --output")
    first = shards[0]
    directory = RunDirectory(output, first.legacy, first.paired, first.outputs)
    with directory.locked():
        directory.open(if_exists)
        places = [RunDirectory(done.path) for done in shards]
        directory.refuse_inputs([place.manifest_path for place in places])
        directory.remove_leftovers()

        def units() -> Iterator[Path]:  # not a list, because a damaged run.json may give any number
            numbers = range(first.outcome.units.all)
            return (places[number % len(places)].unit_path(number) for number in numbers)

        asked = first.options
        rule = SampleRule.choose(places[0].reference(), asked.preset, asked.composition, asked.max_fdr)
        evidence = directory.evidence(units)
        composition = rule.composition(evidence)
        manifest = replace(
            first.manifest,
            status=RUNNING,
            fingerprint={name: value for name, value in first.manifest.fingerprint.items() if name != "--shard"},
            command=tuple(command),
            shards=tuple(str(done.path) for done in shards),
            sample=sample or _common_sample(shards, output),
            outcome=None,
        )
        directory.prepare(manifest, fresh=True, keep_results=True)
        viral = directory.merge(units(), first.content, composition, rule.n_hosts)
        tally = sum((done.outcome.tally for done in shards), Tally())
        if viral is not None:
            tally = replace(tally, viral=viral)
        outcome = PredictOutcome(
            tally,
            _repeated_ids(find_output(output, "records.tsv")).count(),
            None if composition is None else round(composition.prevalence, 6),
            SampleReport.of(composition, asked.composition),
            UnitCounts(first.outcome.units.all, sum(done.outcome.units.kept for done in shards)),
            RunnerReport(_added([done.outcome.runner.recovered for done in shards])),
            {name: round(seconds, 3) for name, seconds in _added([done.outcome.seconds for done in shards]).items()},
            report_files(first.content.files, evidence, rule),
        )
        directory.write_manifest(replace(manifest, status=COMPLETE, outcome=outcome))
    return tally


def _common_sample(shards: Sequence[_Done], output: Path) -> str:
    names = {done.manifest.sample for done in shards} - {""}
    return names.pop() if len(names) == 1 else default_sample(input_paths(shards[0].manifest.inputs), output)


def _read_shard(path: Path) -> _Done:
    advice = "give the output directories of `predict --shard`"
    try:
        manifest = read_manifest(path / "run.json")
        shard = manifest.shard
    except OSError as error:
        raise ConfigError(f"{path} holds no run: run.json: {error.strerror}; {advice}") from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if shard is None:
        raise ConfigError(f"{path} holds a whole run, not a shard; {advice}")
    if manifest.status != COMPLETE:
        raise OutputError(
            f"{path} is shard {shard!s:.20} and its status is {manifest.status:.20}; run it again with --resume"
        )
    if manifest.damaged:
        raise _damaged(path, "; ".join(f"{key}: {what}" for key, what in manifest.damaged.items()))
    if manifest.content is None:
        raise OutputError(
            f"{path} is shard {shard!s:.20} of an earlier version, which did not record what it read; run it "
            "again with --resume, which reads the input and keeps finished units"
        )
    if not isinstance(manifest.outcome, PredictOutcome) or not isinstance(manifest.setup, PredictSetup):
        raise _damaged(path, "counts or options are missing")
    try:
        legacy, paired = manifest.legacy, manifest.in_pairs
        return _Done(
            path, Shard.parse(shard), manifest, legacy, paired, manifest.content, manifest.outcome,
            manifest.setup.options, Outputs.of(manifest.fingerprint),
        )  # fmt: skip
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> OutputError:
    return OutputError(f"{path / 'run.json'} is damaged: {what}; run this shard again with --restart")


def _in_order(shards: Sequence[_Done]) -> list[_Done]:
    """Return all shards of one run, sorted by number."""
    found: dict[int, _Done] = {}
    for done in shards:
        if changes := differences(shards[0].same, done.same):
            raise ConfigError(f"{shards[0].path} and {done.path} are not shards of one run: {changes}")
        if (other := found.setdefault(done.shard.number, done)) is not done:
            raise ConfigError(f"{other.path} and {done.path} are both shard {done.shard}; give each shard once")
    everything = range(1, shards[0].shard.all + 1)
    if missing := len(everything) - len(found):
        names = islice((f"{number}/{len(everything)}" for number in everything if number not in found), _MAX_NAMED)
        more = ", ..." if missing > _MAX_NAMED else ""
        verb = "is" if missing == 1 else "are"
        raise ConfigError(f"{missing} of {len(everything)} shards {verb} missing: {', '.join(names)}{more}; give all")
    return [found[number] for number in everything]


def _repeated_ids(records: Path) -> RepeatedIds:
    ids = RepeatedIds()
    with records.open("rb") as file, content_of(file) as table:
        next(table)
        while lines := list(islice(table, _LINES)):
            ids.add(Strings.of([line.partition(b"\t")[0] for line in lines]))
    return ids


def _added(parts: Sequence[Mapping[str, T]]) -> dict[str, T]:
    """Return the sum of each value over the shards."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
