"""The output of a run of `embed`: shards of vectors, and ids.tsv with the rows of each record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TextIO

from virnucpro.config import ComputeOptions, number
from virnucpro.errors import ConfigError, InputError
from virnucpro.files import atomic_writer, fingerprint
from virnucpro.pipeline.embed import EmbedSettings
from virnucpro.pretrained.locations import DEFAULT_MODEL
from virnucpro.run.directory import IfExists
from virnucpro.run.embed_directory import IDS, EmbedDirectory, open_for_embedding, unfinished_directory
from virnucpro.run.manifest import COMPLETE, RUNNING, EmbedOutcome, Manifest, RunnerReport
from virnucpro.run.progress import in_precision
from virnucpro.run.provenance import InputFile, fingerprint_inputs, require_same, require_same_content
from virnucpro.run.setup import EmbedSetup
from virnucpro.run.state import RunState
from virnucpro.run.tally import EmbedTally
from virnucpro.run.task import EmbedTask, embed_counts
from virnucpro.run.units import Unit, iter_units
from virnucpro.seq import read_records
from virnucpro.seq.proteins import Tidied, refuse_nucleotides
from virnucpro.seq.reader import as_path, several
from virnucpro.types import Record
from virnucpro.words import counted

SHARD_RECORDS, SHARD_BYTES = 4096, 1 << 28


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What to embed and how; see `EmbedSettings` for `kind`, `layer`, `per_residue` and `max_length`.

    Without a `kind`, a model of proteins refuses nucleotides. `long` says whether sequences longer than `max_length`
    are cut into windows or refused.
    """

    inputs: Sequence[str]
    output: Path
    model: str = DEFAULT_MODEL
    kind: str | None = None
    layer: int | None = None
    per_residue: bool = False
    max_length: int | None = None
    long: Literal["window", "refuse"] = "window"
    options: ComputeOptions = field(default_factory=ComputeOptions)
    if_exists: IfExists = IfExists.FAIL
    command: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", [as_path(name) for name in several(self.inputs)])
        for name, minimum in (("layer", 0), ("max_length", 1)):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, number(name, value, minimum, whole=True))
        if self.long not in ("window", "refuse"):
            raise ConfigError(f"long must be window or refuse, got {self.long!r}", "long")

    @property
    def settings(self) -> EmbedSettings:
        return EmbedSettings(
            model=self.model, kind=self.kind, layer=self.layer, per_residue=self.per_residue, max_length=self.max_length
        )


class Embeddings:
    """The output of a run of `embed`; see `Output`. `tidied` counts what was left out of proteins."""

    source = None  # the size of the input is not known

    def __init__(self, request: EmbedRequest) -> None:
        self.request = request
        self.directory = EmbedDirectory(request.output)
        self.tidied = Tidied()
        self._before: Manifest | None = None
        self._manifest = Manifest(RUNNING, {})
        self._shards: list[str] = []
        self._writing = ExitStack()
        self._ids: TextIO
        self._setup: EmbedSetup

    @property
    def task(self) -> EmbedTask:
        place = self.directory.place
        return EmbedTask(
            settings=self.request.settings,
            options=self.request.options,
            output=self.directory.path,
            place=None if place is None else place.path,
        )

    @property
    def computed(self) -> str:
        """The precision and the device, in words."""
        return in_precision(self._setup.precision, self._setup.device)

    @property
    def width(self) -> int:
        """Values of a vector."""
        return self._setup.width

    @contextmanager
    def opened(self) -> Iterator[None]:
        place = self.directory
        with place.locked():
            self.directory, self._before = open_for_embedding(place, self.request.if_exists)
            self.directory.refuse_inputs(self.request.inputs)
            with unfinished_directory(self.directory), ExitStack() as self._writing:
                self.directory.remove_leftovers()
                place.remove_leftovers()
                yield

    def start(self, setup: EmbedSetup) -> RunState[EmbedTally]:
        inputs = tuple(InputFile.describe(path) for path in self.request.inputs)
        self._setup, same = setup, setup.fingerprint()
        self._manifest = Manifest(RUNNING, same, command=tuple(self.request.command), inputs=inputs, setup=setup)
        before = self._before
        if before is not None:
            if "inputs" in before.damaged:
                raise ConfigError(
                    f"{self.directory.manifest_path} is damaged: it has no inputs; use --restart to begin again"
                )
            earlier = {} if before.inputs is None else fingerprint_inputs(before.inputs)
            require_same({**before.fingerprint, **earlier}, {**same, **fingerprint_inputs(inputs)})
        running = replace(self._manifest, content=None if before is None else before.content)
        self.directory.prepare(running, fresh=before is None)
        self._ids = self._writing.enter_context(atomic_writer(self.directory.path / IDS))
        self._ids.write("seq_name\tlength\tshard\trow\trows\n")
        return RunState(EmbedTally())

    def units(self, state: RunState[EmbedTally]) -> Iterator[Unit]:
        letters = SHARD_BYTES // (4 * self._setup.width) if self.request.per_residue else SHARD_BYTES
        for unit in iter_units(self._records(), SHARD_RECORDS, letters):
            records = list(unit.records.records())
            self._check(records)
            state.read(unit)
            self._shards.append(name := self.directory.shard_path(unit).name)
            self._ids.writelines(self._rows(records, name))
            yield unit

    def kept(self, unit: Unit) -> EmbedTally | None:
        done = self._before is not None and self.directory.has_shard(unit, fingerprint(self._setup.fingerprint()))
        return embed_counts(unit, self._setup.max_length) if done else None

    def finish(self, state: RunState[EmbedTally], report: RunnerReport) -> None:
        content = state.digest.content()
        if self._before is not None and self._before.content is not None:
            require_same_content(self._before.content, content)
        self.directory.begin()
        self._writing.close()  # completes ids.tsv
        finished = self.directory.put_in_place(self._manifest, self._shards)
        finished.remove_shards(self._shards)  # other shards are of the run that this one replaces
        inputs = tuple(one.after_reading() for one in self._manifest.inputs or ())
        outcome = EmbedOutcome(state.tally, state.units, self.tidied.letters, self.tidied.sequences, report)
        complete = replace(self._manifest, status=COMPLETE, inputs=inputs, content=content, outcome=outcome)
        finished.write_manifest(complete)
        if finished is not self.directory:
            self.directory.manifest_path.unlink(missing_ok=True)

    def _records(self) -> Iterator[Record]:
        """Read the input; gaps and final stops are left out of proteins."""
        if self._setup.kind == "nucleotide":
            return read_records(self.request.inputs, "nucleotide")
        records = read_records(self.request.inputs, "protein")
        return map(self.tidied.tidy, records if self.request.kind else refuse_nucleotides(records))

    def _check(self, records: Sequence[Record]) -> None:
        for record in records:
            if not record.sequence:
                raise InputError(f"{record.source}: record {record.id!r} has no sequence; remove it")
            if self.request.long == "refuse" and len(record.sequence) > self._setup.max_length:
                raise InputError(
                    f"{record.source}: record {record.id!r} has {counted(len(record.sequence), 'letters')}, "
                    f"but at most {self._setup.max_length} are allowed; use --long window, or a larger --max-length"
                )

    def _rows(self, records: Sequence[Record], shard: str) -> Iterator[str]:
        row = 0
        for record in records:
            rows = len(record.sequence) if self.request.per_residue else 1
            yield f"{record.id}\t{len(record.sequence)}\t{shard}\t{row}\t{rows}\n"
            row += rows
