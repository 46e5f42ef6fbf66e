"""A run in shards: each does every Nth unit in a directory of its own, and `merge_shards` makes one run of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from virnucpro.errors import ConfigError, OutputError
from virnucpro.run.directory import Begin, RunDirectory, read_state
from virnucpro.run.provenance import differences
from virnucpro.run.tables import count_evidence
from virnucpro.run.tally import RepeatedIds, Tally
from virnucpro.run.units import Content, append_units
from virnucpro.scores.composition import Composition

_MOST_NAMED = 20  # shards that are missing


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
    """The directory of a shard that is complete, and what its run.json says.

    `units` and `kept` count all units of the run and those of the shard that were there before; `content` is what the
    shard read, all of the input.
    """

    path: Path
    shard: Shard
    state: dict[str, Any]
    fingerprint: dict[str, Any]
    legacy: bool
    paired: bool
    units: int
    kept: int
    content: Content
    tally: Tally
    seconds: dict[str, float]
    recovered: dict[str, float]

    @property
    def same(self) -> dict[str, Any]:
        """What all shards of a run have in common."""
        read = {"number of records": self.content.records, "SHA-256 of all records": self.content.sha256}
        units = {"number of units": self.units, "number of shards": self.shard.all}
        return {**self.fingerprint, **read, **units, "--shard": None}


def merge_shards(
    paths: Sequence[Path],
    output: Path,
    begin: Begin,
    command: Sequence[str],
    finish: Callable[[Path], object] | None = None,
) -> Tally:
    """Make the tables and run.json of a run from the directories of all its shards, which stay as they are.

    What is in `output` stays until the new tables are whole. `finish` is called with it once the run is complete.

    Raises:
        ConfigError: a directory is no shard, or these are not all shards of one run, each once.
        OutputError: a shard is not complete or damaged, or the output cannot be written.
    """
    shards = _in_order([_read_shard(path) for path in paths])
    if output.exists() and any(output.samefile(path) for path in paths):
        raise ConfigError(f"{output} is a shard and would be replaced; choose another --output")
    first = shards[0]
    directory = RunDirectory(output, first.legacy, first.paired)
    with directory.locked():
        directory.open(begin)
        places = [RunDirectory(done.path) for done in shards]
        directory.refuse_inputs([place.state_path for place in places])
        directory.remove_leftovers()

        def units() -> Iterator[Path]:  # not a list: a damaged run.json may tell of any number
            return (places[number % len(places)].unit_path(number) for number in range(first.units))

        histogram: Counter[int] = Counter()
        counted = [count_evidence(histogram), *[None] * (len(directory.first_lines) - 1)]
        append_units(units(), counted, first.content)
        composition = Composition.of(histogram)
        told = _told(shards, command)

        def ready() -> None:
            directory.remove_units()  # of an earlier run that was broken off
            directory.write_state({"status": "running", **told})

        directory.merge(units(), first.content, composition, ready)
        tally = sum((done.tally for done in shards), Tally())
        ids = _repeated_ids(output / "records.tsv")
        directory.write_state({
            "status": "complete",
            **told,
            "counts": {**tally.to_json(), "records_with_a_repeated_id": ids.count()},
            "prevalence": composition and round(composition.prevalence, 6),
            "units": {"all": first.units, "kept": sum(done.kept for done in shards)},
            "seconds": _added([done.seconds for done in shards]),
            "recovered": _added([done.recovered for done in shards]),
        })  # fmt: skip
        if finish is not None:
            finish(output)
    return tally


def _told(shards: Sequence[_Done], command: Sequence[str]) -> dict[str, Any]:
    """Return what is known about the merged run before its tables are made."""
    of_one = ("status", "shard", "recovered", "workers", "counts", "prevalence", "units", "seconds")
    told = {name: value for name, value in shards[0].state.items() if name not in of_one}
    told["fingerprint"] = {name: value for name, value in shards[0].fingerprint.items() if name != "--shard"}
    return {**told, "command": list(command), "shards": [str(done.path) for done in shards]}


def _read_shard(path: Path) -> _Done:
    advice = "give the output directories of `predict --shard`"
    try:
        state = read_state(path / "run.json")
    except OSError as error:
        raise ConfigError(f"{path} holds no run: run.json: {error.strerror}; {advice}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "no JSON") from error
    if not isinstance(state, dict) or not isinstance(state.get("fingerprint"), dict):
        raise _damaged(path, "no run of `predict`")
    if (shard := state["fingerprint"].get("--shard")) is None:
        raise ConfigError(f"{path} holds a whole run, no shard; {advice}")
    if (status := state.get("status")) != "complete":
        raise OutputError(f"{path} is shard {shard!s:.20} and its status is {status!s:.20}; run it again with --resume")
    if "content" not in state:
        raise OutputError(
            f"{path} is shard {shard!s:.20} of an earlier version, which did not take note of what it read; run it "
            "again with --resume, which reads the input and keeps the units that are done"
        )
    try:
        return _done(path, state)
    except KeyError as error:
        raise _damaged(path, f"{error} is missing") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> OutputError:
    return OutputError(f"{path / 'run.json'} is damaged: {what}; run this shard again with --restart")


def _done(path: Path, state: dict[str, Any]) -> _Done:
    """Return what run.json says, looked at.

    Raises:
        KeyError, ValueError, TypeError, AttributeError, OverflowError: it says something else.
    """
    fingerprint, units = state["fingerprint"], state["units"]
    content = Content.from_json(state["content"])
    if content is None:
        raise ValueError("content is not what a run read")
    return _Done(
        path,
        Shard.parse(fingerprint["--shard"]),
        state,
        fingerprint,
        legacy=_flag(fingerprint, "--legacy-output"),
        paired=_flag(fingerprint, "--paired"),
        units=_count(units, "all"),
        kept=_count(units, "kept"),
        content=content,
        tally=Tally.from_json(state["counts"]),
        seconds=_numbers(state, "seconds"),
        recovered=_numbers(state, "recovered"),
    )


def _flag(values: dict[str, Any], name: str) -> bool:
    if not isinstance(values[name], bool):
        raise ValueError(f"{name} is neither true nor false")
    return bool(values[name])


def _count(values: dict[str, Any], name: str) -> int:
    if type(values[name]) is not int or values[name] < 0:
        raise ValueError(f"{name} is no count")
    return int(values[name])


def _numbers(values: dict[str, Any], name: str) -> dict[str, float]:
    found = values[name]
    if not isinstance(found, dict) or not all(type(value) in (int, float) for value in found.values()):
        raise ValueError(f"{name} are not numbers")
    return found


def _in_order(shards: Sequence[_Done]) -> list[_Done]:
    """Return all shards of one run by their number."""
    found: dict[int, _Done] = {}
    for done in shards:
        if changes := differences(shards[0].same, done.same):
            raise ConfigError(f"{shards[0].path} and {done.path} are not shards of one run: {changes}")
        if (other := found.setdefault(done.shard.number, done)) is not done:
            raise ConfigError(f"{other.path} and {done.path} are both shard {done.shard}; give each shard once")
    everything = range(1, shards[0].shard.all + 1)
    if missing := len(everything) - len(found):
        names = islice((f"{number}/{len(everything)}" for number in everything if number not in found), _MOST_NAMED)
        more = ", ..." if missing > _MOST_NAMED else ""
        raise ConfigError(f"{missing} of {len(everything)} shards are missing: {', '.join(names)}{more}; give all")
    return [found[number] for number in everything]


def _repeated_ids(records: Path) -> RepeatedIds:
    ids = RepeatedIds()
    with records.open(encoding="utf-8", errors="surrogateescape", newline="\n") as table:
        next(table)
        for line in table:
            ids.add(line.partition("\t")[0])
    return ids


def _added(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the sum over the shards of each value of an entry of run.json."""
    return {key: round(sum(part.get(key, 0) for part in parts), 3) for key in parts[0]}
