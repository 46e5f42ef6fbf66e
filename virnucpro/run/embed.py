"""Embeddings of sequences of any length with one language model, in shards, resumably."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import torch

from virnucpro import __version__
from virnucpro.config import ComputeOptions, number
from virnucpro.data import iter_packed, prefetch
from virnucpro.errors import ConfigError, InputError, NumericalError
from virnucpro.files import (
    atomic_writer,
    fingerprint,
    leftovers,
    sync,
    usable,
)
from virnucpro.models.tokenizers import ESM2Tokenizer
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.device import PRECISIONS, choose_device, choose_precision, divide_threads
from virnucpro.pretrained.registry import DEFAULT_MODEL, find_directory, load_encoder, read_description
from virnucpro.run.directory import Begin, RunDirectory
from virnucpro.run.embedding_file import Vectors, holds_other_records, is_done, write_shard
from virnucpro.run.engine import Engine, recovered
from virnucpro.run.progress import Counter, shown_progress
from virnucpro.run.provenance import (
    describe_input,
    fingerprint_inputs,
    require_same,
    require_same_content,
    settle_inputs,
)
from virnucpro.run.replacement import UNFINISHED, refuse_inputs
from virnucpro.run.units import Content, ContentDigest, Unit, iter_units
from virnucpro.seq import read_records
from virnucpro.seq.proteins import Tidied, refuse_nucleotides
from virnucpro.seq.reader import as_path, several
from virnucpro.types import Record

# The longest sequence that is embedded as a whole, in letters: what ESM-2 was trained with; for DNABERT-S, whose
# ALiBi knows no longest one, a bound of the memory.
LONGEST = {"protein": 1022, "nucleotide": 10_000}
SHARD_RECORDS, SHARD_BYTES = 4096, 1 << 28
IDS = "ids.tsv"
_SHARDS = re.compile(r"embeddings_\d{5,}\.safetensors")
_OWN = re.compile(rf"{_SHARDS.pattern}|{re.escape(IDS)}|run\.json")

OpenEmbedding = Callable[["EmbedRequest"], AbstractContextManager[Engine]]


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What to embed and how.

    `kind` is protein or nucleotide; None is the model's only one, or protein, and nucleotides are then refused.
    `layer` counts from 0, the embedding, None is the last; `per_residue` keeps a vector for each residue; `max_length`
    in letters, None takes `LONGEST`; a longer sequence is cut into windows of like length, or refused, as `long` says.
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
    begin: Begin = Begin.NEW
    command: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", [as_path(name) for name in several(self.inputs)])
        for name, least in (("layer", 0), ("max_length", 1)):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, number(name, value, least, whole=True))


@dataclass(frozen=True, slots=True)
class Embedded:
    """How many sequences were embedded, in vectors of which width, and how many of them in windows or before.

    `tidied` is what was left out of proteins before.
    """

    sequences: int
    width: int
    windowed: int
    kept_shards: int
    tidied: Tidied = field(default_factory=Tidied)


def embed(request: EmbedRequest, open_engine: OpenEmbedding | None = None) -> Embedded:
    """Write embeddings_NNNNN.safetensors (tensor `embeddings` (rows, D) float32), ids.tsv and run.json.

    Raises:
        ConfigError: an option makes no sense for the model.
        InputError: a sequence is empty, or longer than it may be; or nucleotides are given and no kind.
        OutputError: a file cannot be written, or the directory is in use.
    """
    directory = RunDirectory(request.output)
    with directory.locked():
        work, before = _begun(directory, request.begin)
        if request.long not in ("window", "refuse"):
            raise ConfigError(f"long must be window or refuse, got {request.long!r}", "long")
        refuse_inputs(request.inputs, _own_files(directory))
        for place in {directory.path, work.path}:
            for path in leftovers(place, _OWN) if place.is_dir() else ():
                path.unlink()
        opened = replace(request, output=work.path)
        with (
            _beside(directory, work),
            (open_engine or _open_local)(opened) as engine,
            shown_progress() as counter,
        ):
            return _Course(request, directory, work, engine).run(before, counter)


def _begun(directory: RunDirectory, begin: Begin) -> tuple[RunDirectory, dict[str, Any] | None]:
    """Return where the run works, and what run.json says about the one to go on with.

    A run that replaces a complete one works beside it, until all its shards are whole.
    """
    unfinished = RunDirectory(directory.path / UNFINISHED)
    if begin is Begin.RESUME and (begun := unfinished.state()) is not None:
        return unfinished, begun
    before = directory.open(begin)
    earlier = directory.state() if begin is Begin.RESTART else None
    return (unfinished if earlier is not None and earlier["status"] == "complete" else directory), before


@contextmanager
def _beside(directory: RunDirectory, work: RunDirectory) -> Iterator[None]:
    """Make the place where a run works beside an earlier one; it goes when nothing in it is left to resume."""
    if work is directory:
        yield
        return
    try:
        with work.locked():  # workers on other machines look for the lock
            yield
    finally:
        if work.state() is None:
            shutil.rmtree(work.path, ignore_errors=True)


def _own_files(directory: RunDirectory) -> list[Path]:
    own = [path for path in directory.path.iterdir() if _OWN.fullmatch(path.name)]
    return [directory.state_path, directory.path / IDS, *own, *leftovers(directory.path, _OWN)]


def _remove_shards(directory: Path, kept: Container[str] = ()) -> None:
    """Remove the shards of an earlier run, but those of the names to keep."""
    with usable(directory):
        for path in list(directory.iterdir()):
            if _SHARDS.fullmatch(path.name) and path.name not in kept and path.is_file():
                path.unlink()


class _Course:
    """A run of `embed`: its input, its shards and ids.tsv. It writes to `work`, from where they go to `directory`."""

    def __init__(self, request: EmbedRequest, directory: RunDirectory, work: RunDirectory, engine: Engine) -> None:
        self.request, self.directory, self.work, self.engine = request, directory, work, engine
        inputs = [describe_input(name) for name in request.inputs]
        self.told = {**engine.told, "command": list(request.command), "inputs": inputs}
        self.settings = fingerprint(engine.told["fingerprint"])
        self.max_length: int = self.told["max_length"]
        self.shards: list[str] = []
        self.sequences = self.windowed = self.kept = 0
        self.tidied = Tidied()
        self._digest = ContentDigest()

    def run(self, before: dict[str, Any] | None, counter: Counter) -> Embedded:
        expected = None if before is None else self._compared(before)
        begun = False

        def begin() -> None:  # not before the first shard is done: a run that fails till then changes nothing
            nonlocal begun
            if not begun:
                if before is None:
                    self._clear()
                content = {"content": asdict(expected)} if expected else {}
                self.work.write_state({"status": "running", **self.told, **content})
                begun = True

        with atomic_writer(self.work.path / IDS) as ids:
            ids.write("seq_name\tlength\tshard\trow\trows\n")
            for _ in self.engine.score(self._missing(ids, before is not None), self.work, begin, counter):
                pass
            content = self._digest.content()
            if expected is not None:
                require_same_content(expected, content)
            begin()
        self._move()
        _remove_shards(self.directory.path, self.shards)  # of a run that this one replaces
        counts = {"sequences": self.sequences, "windowed": self.windowed, "shards": len(self.shards)}
        counts["kept_shards"] = self.kept
        told = {**self.told, "inputs": settle_inputs(self.told["inputs"]), "content": asdict(content)}
        left_out = {"letters": self.tidied.letters, "sequences": self.tidied.sequences}
        self.directory.write_state(
            {"status": "complete", **told, "counts": counts, "left_out": left_out, **self.engine.closing()}
        )
        if self.work is not self.directory:
            self.work.state_path.unlink(missing_ok=True)
        return Embedded(self.sequences, self.told["width"], self.windowed, self.kept, self.tidied)

    def _compared(self, before: dict[str, Any]) -> Content | None:
        """Return what the earlier run has read from beginning to end, if it has.

        Raises:
            ConfigError: it had other settings or inputs.
        """
        inputs = before.get("inputs")
        try:
            earlier = {} if inputs is None else fingerprint_inputs(inputs)
        except (TypeError, LookupError) as error:
            raise ConfigError(f"{self.work.state_path} is damaged: inputs; --restart begins anew") from error
        now = {**self.told["fingerprint"], **fingerprint_inputs(self.told["inputs"])}
        require_same({**before["fingerprint"], **earlier}, now)
        return Content.from_json(before.get("content"))

    def _clear(self) -> None:
        """Remove what runs that were not completed have left."""
        if self.work is self.directory:
            shutil.rmtree(self.directory.path / UNFINISHED, ignore_errors=True)
        _remove_shards(self.work.path)

    def _move(self) -> None:
        """Put all files in the place of an earlier run's, once they are whole."""
        if self.work is self.directory:
            return
        self.directory.write_state({"status": "running", **self.told})
        with usable(self.directory.path):
            for name in (*self.shards, IDS):
                if (path := self.work.path / name).exists():  # else it was moved before
                    path.replace(self.directory.path / name)
            sync(self.directory.path)

    def _missing(self, ids: TextIO, resumed: bool) -> Iterator[Unit]:
        """Read the input, write ids.tsv and yield the shards that are to be done.

        Raises:
            ConfigError: a shard of the run that is resumed is of other records.
        """
        letters = SHARD_BYTES // (4 * self.told["width"]) if self.request.per_residue else SHARD_BYTES
        records = self._records()
        for unit in iter_units(records, SHARD_RECORDS, letters):
            self._check(unit.records)
            self._digest.add(unit.digest, len(unit.records))
            path = shard_path(self.work, unit)
            self.shards.append(path.name)
            ids.writelines(self._rows(unit.records, path.name))
            self.sequences += len(unit.records)
            self.windowed += sum(len(record.sequence) > self.max_length for record in unit.records)
            if resumed and self._is_there(unit):
                self.kept += 1
                continue
            if resumed and holds_other_records(path, unit, self.settings):
                raise ConfigError(
                    f"this is not the run that was begun: {self.directory.path / path.name} was made of other records "
                    "than the input now has there; --restart begins anew"
                )
            yield unit

    def _is_there(self, unit: Unit) -> bool:
        """Tell whether a shard is done, also where a run that was killed has put it in an earlier one's place."""
        path = shard_path(self.work, unit)
        if is_done(path, unit, self.settings):
            return True
        if self.work is self.directory or not is_done(shard_path(self.directory, unit), unit, self.settings):
            return False
        path.unlink(missing_ok=True)  # damaged: it must not replace the whole one
        return True

    def _records(self) -> Iterator[Record]:
        """Read the input; of proteins, what is embedded of them."""
        if self.told["kind"] == "nucleotide":
            return read_records(self.request.inputs, "nucleotide")
        records = read_records(self.request.inputs, "protein")
        return map(self.tidied.tidy, records if self.request.kind else refuse_nucleotides(records))

    def _check(self, records: Sequence[Record]) -> None:
        for record in records:
            if not record.sequence:
                raise InputError(f"{record.source}: record {record.id!r} has no sequence; remove it")
            if self.request.long == "refuse" and len(record.sequence) > self.max_length:
                raise InputError(
                    f"{record.source}: record {record.id!r} has {len(record.sequence)} letters, at most "
                    f"{self.max_length} are allowed; use --long window, or a larger --max-length"
                )

    def _rows(self, records: Sequence[Record], shard: str) -> Iterator[str]:
        row = 0
        for record in records:
            rows = len(record.sequence) if self.request.per_residue else 1
            yield f"{record.id}\t{len(record.sequence)}\t{shard}\t{row}\t{rows}\n"
            row += rows


class Embedder:
    """A language model on its device, and the options checked against it."""

    def __init__(self, request: EmbedRequest) -> None:
        self.request, options = request, request.options
        self.kind, encoder = load_encoder(request.model, request.kind)
        layers = encoder.model.n_layers
        if request.layer is not None and not 0 <= request.layer <= layers:
            raise ConfigError(
                f"layer must lie in 0..{layers} for the model {request.model}, got {request.layer}", "layer"
            )
        if request.per_residue and not isinstance(encoder.tokenizer, ESM2Tokenizer):
            raise ConfigError(
                "per_residue needs one token a letter, as ESM-2 has for proteins; this encoder has not", "per_residue"
            )
        self.encoder = replace(encoder, layer=request.layer)
        self.max_length = request.max_length or LONGEST[self.kind]
        device = choose_device(options.device)
        self.precision = choose_precision(options.precision, device)
        encoder.model.place(device, PRECISIONS[self.precision], options.attention).eval()
        threads = divide_threads([encoder.model], options.threads)
        self.runner = AsyncInferenceRunner(self.encoder, device, options.max_tokens, options.packing, threads=threads)
        self.told = self._describe()

    def _describe(self) -> dict[str, Any]:
        """Return what run.json says, with the fingerprint: all that a vector follows from, beside its sequence."""
        request, directory = self.request, find_directory(self.request.model)
        description = read_description(directory)
        weights = description.checksums.get(f"{self.kind}.safetensors")
        settings = {
            "virnucpro": __version__, "kind": self.kind, "layer": request.layer, "per_residue": request.per_residue,
            "max_length": self.max_length, "precision": self.precision, "device": self.runner.device.type,
            "packing": request.options.packing, "attention": self.encoder.model.backend.name,
        }  # fmt: skip
        model = {"name": description.name, "directory": str(directory), "checksums": description.checksums}
        return {
            **settings,
            "width": self.encoder.model.width,
            "model": {**model, "imported": description.training.get("imported")},
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "fingerprint": {**settings, "SHA-256 of the weights": weights},
        }

    def write(self, path: Path, unit: Unit, vectors: Vectors) -> None:
        """Write a shard."""
        write_shard(path, unit, fingerprint(self.told["fingerprint"]), vectors)

    def embed(self, records: Sequence[Record]) -> Vectors:
        """Return the rows of a shard: one a record, or one a residue, end to end."""
        pieces = [windows(self._letters(record), self.max_length) for record in records]
        flat = [window for own in pieces for window in own]
        if self.request.per_residue:
            return np.concatenate(list(embed_residues(self.runner, flat)))
        vectors = iter(self.runner.embed(flat))
        return np.stack([_mean([next(vectors) for _ in own], own) for own in pieces])

    def _letters(self, record: Record) -> bytes:
        # RNA as DNA, as `predict` reads it
        return record.sequence.replace(b"U", b"T") if self.kind == "nucleotide" else record.sequence


class _LocalEngine:
    """The engine of `embed` in this process."""

    def __init__(self, request: EmbedRequest) -> None:
        self._embedder = Embedder(request)
        self.told = self._embedder.told

    def score(
        self, units: Iterator[Unit], directory: RunDirectory, begin: Callable[[], None], counter: Counter
    ) -> Iterator[None]:
        for unit in units:
            vectors = self._embedder.embed(unit.records)
            begin()
            self._embedder.write(shard_path(directory, unit), unit, vectors)
            yield
            counter.advance(len(unit.records))

    def closing(self) -> dict[str, Any]:
        return {"recovered": recovered([self._embedder.runner])}


@contextmanager
def _open_local(request: EmbedRequest) -> Iterator[Engine]:
    yield _LocalEngine(request)


def shard_path(directory: RunDirectory, unit: Unit) -> Path:
    """Return where the vectors of a unit are."""
    return directory.path / f"embeddings_{unit.number:05d}.safetensors"


def windows(sequence: bytes, max_length: int) -> list[bytes]:
    """Cut a sequence into as few windows of at most `max_length` as possible, end to end, of like length.

    >>> windows(b"MKVLAAG", 3)
    [b'MK', b'VL', b'AAG']
    """
    n = max(1, -(-len(sequence) // max_length))
    bounds = [len(sequence) * i // n for i in range(n + 1)]
    return [sequence[begin:end] for begin, end in pairwise(bounds)]


def _mean(vectors: Sequence[Vectors], parts: Sequence[bytes]) -> Vectors:
    """Return the mean of the windows' vectors (D,), weighted by their lengths: that of all residues."""
    if len(vectors) == 1:
        return vectors[0]
    return np.average(vectors, axis=0, weights=[len(part) for part in parts]).astype(np.float32)


@torch.inference_mode()
def embed_residues(runner: AsyncInferenceRunner, sequences: Sequence[bytes]) -> list[Vectors]:
    """Return the hidden states of the residues of each sequence, (length, D) float32, without special tokens.

    Raises:
        NumericalError: one is not finite.
    """
    window, found = runner.encoder.window, {}
    items = ((str(number), sequence) for number, sequence in enumerate(sequences))
    for batch in prefetch(iter_packed(items, runner.collator, runner.max_tokens), runner.depth):
        hidden = runner.encode(batch.to(runner.device)).float().cpu().numpy()  # (T, D)
        if not np.isfinite(hidden).all():
            raise NumericalError("a residue's vector is not finite; half precision may overflow: try --precision fp32")
        for name, states in zip(batch.sequence_ids, np.split(hidden, batch.cu_seqlens[1:-1].tolist()), strict=True):
            found[int(name)] = states[window.skip_first : len(states) - window.skip_last]
    return [found[number] for number in range(len(sequences))]
