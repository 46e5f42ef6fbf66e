"""A run in shards: each does every Nth unit in a directory of its own, and `merge_shards` makes one run of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virnucpro.errors import ConfigError, OutputError
from virnucpro.pipeline.composition import Composition
from virnucpro.pipeline.outputs import count_evidence
from virnucpro.pipeline.provenance import differences
from virnucpro.pipeline.run_directory import Begin, RunDirectory
from virnucpro.pipeline.tally import RepeatedIds, Tally
from virnucpro.pipeline.units import append_units


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number`, from 1, of `all`: the units whose number leaves the remainder `number` - 1."""

    number: int
    all: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read I/N.

        Raises:
            ConfigError: it is something else, or I is not one of 1 to N.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.all:
            raise ConfigError(f"a shard is I/N with I from 1 to N, for example 2/4, got {text!r}")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.all}"

    def has(self, unit: int) -> bool:
        """Tell whether this shard does the unit of that number."""
        return unit % self.all == self.number - 1


@dataclass(frozen=True, slots=True)
class _Done:
    """The directory of a shard that is complete, and its run.json."""

    path: Path
    shard: Shard
    state: dict[str, Any]

    @property
    def same(self) -> dict[str, Any]:
        """What all shards of a run have in common."""
        units = {"number of units": self.state["units"]["all"], "number of shards": self.shard.all}
        return {**self.state["fingerprint"], **units, "--shard": None}


def merge_shards(paths: Sequence[Path], output: Path, begin: Begin, command: Sequence[str]) -> Tally:
    """Make the tables and run.json of a run from the directories of all its shards, which stay as they are.

    Raises:
        ConfigError: a directory is no shard, or these are not all shards of one run, each once.
        OutputError: a shard is not complete or damaged, or the output cannot be written.
    """
    shards = _in_order([_read_shard(path) for path in paths])
    if output.exists() and any(output.samefile(path) for path in paths):
        raise ConfigError(f"{output} is a shard and would be replaced; choose another --output")
    first = shards[0].state
    directory = RunDirectory(output, first["fingerprint"]["--legacy-output"], first["fingerprint"]["--paired"])
    with directory.locked():
        directory.open(begin)
        if begin is Begin.RESTART:
            directory.clear()
        n_units = first["units"]["all"]
        units = [RunDirectory(shards[number % len(shards)].path).unit_path(number) for number in range(n_units)]
        histogram: Counter[int] = Counter()
        append_units(units, [count_evidence(histogram), *[None] * (len(directory.first_lines) - 1)])
        composition = Composition.of(histogram)
        directory.merge(units, composition)
        tally = sum((Tally.from_json(done.state["counts"]) for done in shards), Tally())
        told = {name: value for name, value in first.items() if name not in ("shard", "recovered", "workers")}
        told["fingerprint"] = {name: value for name, value in first["fingerprint"].items() if name != "--shard"}
        ids = _repeated_ids(output / "records.tsv")
        directory.write_state({
            **told,
            "command": list(command),
            "shards": [str(done.path) for done in shards],
            "counts": {**tally.to_json(), "records_with_a_repeated_id": ids.count()},
            "prevalence": composition and round(composition.prevalence, 6),
            "units": {"all": n_units, "kept": sum(done.state["units"]["kept"] for done in shards)},
            "seconds": _added(shards, "seconds"),
            "recovered": _added(shards, "recovered"),
        })  # fmt: skip
    return tally


def _read_shard(path: Path) -> _Done:
    try:
        state = json.loads((path / "run.json").read_text(encoding="utf-8"))
        status, shard = state["status"], state["fingerprint"].get("--shard")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} holds no run; give the output directories of `predict --shard`") from error
    if shard is None:
        raise ConfigError(f"{path} holds a whole run, no shard; give the output directories of `predict --shard`")
    if status != "complete":
        raise OutputError(f"{path} is shard {shard} and its status is {status}; run it again with --resume")
    return _Done(path, Shard.parse(shard), state)


def _in_order(shards: Sequence[_Done]) -> list[_Done]:
    """Return all shards of one run by their number."""
    found: dict[int, _Done] = {}
    for done in shards:
        if changes := differences(shards[0].same, done.same):
            raise ConfigError(f"{shards[0].path} and {done.path} are not shards of one run: {changes}")
        if (other := found.setdefault(done.shard.number, done)) is not done:
            raise ConfigError(f"{other.path} and {done.path} are both shard {done.shard}; give each shard once")
    everything = range(1, shards[0].shard.all + 1)
    if missing := [f"{number}/{len(everything)}" for number in everything if number not in found]:
        raise ConfigError(f"{len(missing)} of {len(everything)} shards are missing: {', '.join(missing)}; give all")
    return [found[number] for number in everything]


def _repeated_ids(records: Path) -> RepeatedIds:
    ids = RepeatedIds()
    with records.open(encoding="utf-8", errors="surrogateescape", newline="\n") as table:
        next(table)
        for line in table:
            ids.add(line.partition("\t")[0])
    return ids


def _added(shards: Sequence[_Done], name: str) -> dict[str, Any]:
    """Return the sum over the shards of each value of an entry of run.json."""
    return {key: round(sum(done.state[name][key] for done in shards), 3) for key in shards[0].state[name]}
