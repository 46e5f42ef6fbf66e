"""The manifest of a run, run.json: its input, its setup, its status and its outcome.

`read_manifest` and `write_manifest` are its only reader and writer. docs/formats.md lists its keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from virnucpro import __version__
from virnucpro.files import write_json
from virnucpro.run.provenance import InputFile
from virnucpro.run.sample_name import cleaned
from virnucpro.run.sample_report import FileReport, SampleReport
from virnucpro.run.setup import EmbedSetup, PredictSetup
from virnucpro.run.tally import EmbedTally, Tally
from virnucpro.run.units import Content

T = TypeVar("T")

RUNNING, COMPLETE = "running", "complete"


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """The work of one worker: its process, number of starts, units, records and speed."""

    process: str
    starts: int
    units: int
    records: int
    records_per_second: float
    busy_seconds: float


@dataclass(frozen=True, slots=True)
class RunnerReport:
    """The report of a runner at the end: recoveries by name, and the work of each worker."""

    recovered: dict[str, int]
    workers: tuple[WorkerCounts, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        workers = {} if self.workers is None else {"engine": "ray", "workers": [asdict(row) for row in self.workers]}
        return {"recovered": self.recovered, **workers}


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """The number of units of a run, and of those that were done before it was resumed."""

    all: int
    kept: int

    def __post_init__(self) -> None:
        if self.all < 0 or self.kept < 0:
            raise ValueError(f"counts of units must be at least 0, got {self.all} and {self.kept}")


@dataclass(frozen=True, slots=True)
class PredictOutcome:
    """The outcome of a run of `predict`.

    `seconds` are by stage; `prevalence` is the estimated share of virus, and `composition` what else is known of the
    sample; `files` has the estimates for each input file if there are several.
    """

    tally: Tally
    repeated_ids: int
    prevalence: float | None
    composition: SampleReport | None
    units: UnitCounts
    runner: RunnerReport
    seconds: dict[str, float]
    files: tuple[FileReport, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": {**self.tally.to_json(), "records_with_a_repeated_id": self.repeated_ids},
            "prevalence": self.prevalence,
            "composition": None if self.composition is None else asdict(self.composition),
            **({"files": [asdict(one) for one in self.files]} if self.files else {}),
            "units": asdict(self.units),
            **self.runner.to_json(),
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class EmbedOutcome:
    """The outcome of a run of `embed`: sequences, shards, and letters left out of proteins."""

    tally: EmbedTally
    units: UnitCounts
    letters_left_out: int
    sequences_shortened: int
    runner: RunnerReport

    def to_json(self) -> dict[str, Any]:
        shards = {"shards": self.units.all, "kept_shards": self.units.kept}
        left_out = {"letters": self.letters_left_out, "sequences": self.sequences_shortened}
        return {"counts": {**asdict(self.tally), **shards}, "left_out": left_out, **self.runner.to_json()}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of run.json. A part that is missing or damaged is None; `damaged` gives the faults by key.

    `fingerprint` holds everything that determines the results, by name; `content` describes the input after all of it
    was read; `shards` are the directories of a merged run; `sample` is its name, "" before the version with names.
    """

    status: str
    fingerprint: dict[str, Any]
    virnucpro: str = __version__
    command: tuple[str, ...] = ()
    inputs: tuple[InputFile, ...] | None = None
    setup: PredictSetup | EmbedSetup | None = None
    content: Content | None = None
    outcome: PredictOutcome | EmbedOutcome | None = None
    shards: tuple[str, ...] | None = None
    sample: str = ""
    damaged: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of run.json."""
        return {
            "status": self.status,
            "virnucpro": self.virnucpro,
            "command": list(self.command),
            **({"sample": self.sample} if self.sample else {}),
            "inputs": [asdict(one) for one in self.inputs or ()],
            **(asdict(self.setup) if self.setup else {}),
            "fingerprint": self.fingerprint,
            **({"shards": list(self.shards)} if self.shards is not None else {}),
            **({"content": asdict(self.content)} if self.content else {}),
            **(self.outcome.to_json() if self.outcome else {}),
        }

    @property
    def shard(self) -> str | None:
        """The shard of the run as I/N, None for a whole run.

        Raises:
            ValueError: the fingerprint has another type of value.
        """
        value = self.fingerprint.get("--shard")
        if not isinstance(value, str | None):
            raise ValueError(f"--shard of the fingerprint is {value!a:.40}")
        return value

    @property
    def in_pairs(self) -> bool:
        """Whether a row of records.tsv stands for a pair."""
        return self._flag("--paired")

    @property
    def legacy(self) -> bool:
        """Whether the published tool's files are also written."""
        return self._flag("--legacy-output")

    def _flag(self, name: str) -> bool:
        """Return a boolean option of the fingerprint.

        Raises:
            ValueError: it is missing or not a boolean.
        """
        value = self.fingerprint.get(name)
        if not isinstance(value, bool):
            raise ValueError(f"{name} of the fingerprint is neither true nor false")
        return value


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write run.json."""
    write_json(path, manifest.to_json())


def read_manifest(path: Path) -> Manifest:
    """Read run.json; bytes of paths that are not UTF-8 become surrogates, as in `os.fsdecode`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a manifest of a run.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    status, fingerprint = values.get("status"), values.get("fingerprint")
    if not isinstance(status, str) or not isinstance(fingerprint, dict):
        raise ValueError("status or fingerprint is missing")
    damaged: dict[str, str] = {}

    def part(read: Callable[[dict[str, Any]], T], *keys: str) -> T | None:
        """Return the result of `read`, None if all keys are missing or a value is damaged."""
        if not any(key in values for key in keys):
            return None
        try:
            return read(values)
        except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            missing = isinstance(error, KeyError)
            damaged[" or ".join(keys)] = f"{error} is missing" if missing else str(error)
            return None

    setup: Callable[[dict[str, Any]], PredictSetup | EmbedSetup] = partial(_read, PredictSetup)
    outcome: Callable[[dict[str, Any]], PredictOutcome | EmbedOutcome] = _read_outcome
    if "kind" in values:
        setup, outcome = partial(_read, EmbedSetup), _read_embed_outcome
    return Manifest(
        status,
        fingerprint,
        part(lambda v: _checked("virnucpro", v["virnucpro"], str), "virnucpro") or "",
        part(lambda v: tuple(_checked("command", v["command"], list[str])), "command") or (),
        part(lambda v: tuple(_read(InputFile, one) for one in v["inputs"]), "inputs"),
        part(setup, "model"),
        part(lambda v: _read(Content, v["content"]), "content"),
        part(outcome, "counts", "units", "recovered", "seconds"),
        part(lambda v: tuple(_checked("shards", v["shards"], list[str])), "shards"),
        part(lambda v: cleaned(_checked("sample", v["sample"], str)), "sample") or "",
        damaged,
    )


def _read_outcome(values: dict[str, Any]) -> PredictOutcome:
    return PredictOutcome(
        Tally.from_json(values["counts"]),
        _checked("records_with_a_repeated_id", values["counts"].get("records_with_a_repeated_id", 0), int),
        _checked("prevalence", values.get("prevalence"), float | None),
        _read(SampleReport, values["composition"]) if values.get("composition") else None,
        _read(UnitCounts, values["units"]),
        _read_runner(values),
        _checked("seconds", values["seconds"], dict[str, float]),
        tuple(_read(FileReport, one) for one in values.get("files", ())),
    )


def _read_embed_outcome(values: dict[str, Any]) -> EmbedOutcome:
    counts, left_out = values["counts"], values["left_out"]
    units = UnitCounts(_checked("shards", counts["shards"], int), _checked("kept", counts["kept_shards"], int))
    letters, sequences = (_checked(name, left_out[name], int) for name in ("letters", "sequences"))
    return EmbedOutcome(_read(EmbedTally, counts), units, letters, sequences, _read_runner(values))


def _read_runner(values: dict[str, Any]) -> RunnerReport:
    rows = values.get("workers")
    workers = None if rows is None else tuple(_read(WorkerCounts, row) for row in rows)
    return RunnerReport(_checked("recovered", values["recovered"], dict[str, int]), workers)


def _read(kind: type[T], values: Any) -> T:
    """Make a dataclass from a JSON object; fields with a default may be missing, unknown keys are ignored.

    Raises:
        ValueError, TypeError: a value has the wrong type, or one is missing.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} is not a JSON object")
    hints = get_type_hints(kind)
    found = {name: values[name] for name in hints if name in values}
    return kind(**{name: _checked(name, value, hints[name]) for name, value in found.items()})


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Check the type of a JSON value and return it; an object becomes a dataclass if the type is one.

    A list becomes a tuple if the type is one of values of one type.

    Raises:
        ValueError: it has another type.
    """
    for one in get_args(hint) if isinstance(hint, UnionType) and isinstance(value, dict) else (hint,):
        if isinstance(one, type) and hasattr(one, "__dataclass_fields__"):
            return _read(one, value)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_checked(name, one, get_args(hint)[0]) for one in value)
    if not _is_of(value, hint):
        raise ValueError(f"{name} is {value!a:.40}")
    return value


def _is_of(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if isinstance(hint, UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_is_of(one, get_args(hint)[1]) for one in value.values())
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is_of(one, get_args(hint)[0]) for one in value)
    return type(value) in ((int, float) if hint is float else (hint,))  # not isinstance: a bool would pass as an int
