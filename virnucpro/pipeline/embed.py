"""Embeddings of sequences of any length with one language model, in shards, resumably."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from virnucpro import __version__
from virnucpro.config import default_threads, fingerprint
from virnucpro.data import iter_packed, prefetch
from virnucpro.errors import ConfigError, InputError, NumericalError, OutputError
from virnucpro.models.registry import DEFAULT_MODEL, find_directory, load_encoder, read_description
from virnucpro.models.tokenizers import ESM2Tokenizer
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.device import PRECISIONS, choose_device, choose_precision
from virnucpro.pipeline.outputs import atomic_path, atomic_writer
from virnucpro.pipeline.predict import Options
from virnucpro.pipeline.provenance import describe_input, require_same
from virnucpro.pipeline.run_directory import Begin, RunDirectory
from virnucpro.pipeline.units import Unit, iter_units
from virnucpro.seq import read_records
from virnucpro.types import Record

# The longest sequence that is embedded as a whole, in letters: what ESM-2 was trained with; for DNABERT-S, whose
# ALiBi knows no longest one, a bound of the memory.
LONGEST = {"protein": 1022, "nucleotide": 10_000}
SHARD_RECORDS, SHARD_BYTES = 4096, 1 << 28
IDS = "ids.tsv"

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What to embed and how.

    `kind` is protein or nucleotide, None the model's only one or protein; `layer` counts from 0, the embedding, None is
    the last; `per_residue` keeps a vector for each residue; `max_length` in letters, None takes `LONGEST`; a longer
    sequence is cut into windows of like length, or refused, as `long` says.
    """

    inputs: Sequence[str]
    output: Path
    model: str = DEFAULT_MODEL
    kind: str | None = None
    layer: int | None = None
    per_residue: bool = False
    max_length: int | None = None
    long: Literal["window", "refuse"] = "window"
    options: Options = field(default_factory=Options)
    begin: Begin = Begin.NEW
    command: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Embedded:
    """How many sequences were embedded, in vectors of which width, and how many of them in windows or before."""

    sequences: int
    width: int
    windowed: int
    kept_shards: int


def embed(request: EmbedRequest) -> Embedded:
    """Write embeddings_NNNNN.safetensors (tensor `embeddings` (rows, D) float32), ids.tsv and run.json.

    Raises:
        ConfigError: an option makes no sense for the model.
        InputError: a sequence is empty, or longer than it may be.
        OutputError: a file cannot be written, or the directory is in use.
    """
    directory = RunDirectory(request.output)
    with directory.locked():
        before = directory.open(request.begin)
        return _Embedding(request).run(directory, before)


class _Embedding:
    """A language model on its device, and the options checked against it."""

    def __init__(self, request: EmbedRequest) -> None:
        if request.long not in ("window", "refuse"):
            raise ConfigError(f"--long must be window or refuse, got {request.long!r}")
        self.request, options = request, request.options
        self.kind, encoder = load_encoder(request.model, request.kind)
        layers = encoder.model.n_layers
        if request.layer is not None and not 0 <= request.layer <= layers:
            raise ConfigError(f"--layer must lie in 0..{layers} for the model {request.model}, got {request.layer}")
        if request.per_residue and not isinstance(encoder.tokenizer, ESM2Tokenizer):
            raise ConfigError("--per-residue needs one token a letter, as ESM-2 has for proteins; this encoder has not")
        self.encoder = replace(encoder, layer=request.layer)
        self.width = encoder.model.width
        self.max_length = request.max_length or LONGEST[self.kind]
        device = choose_device(options.device)
        self.precision = choose_precision(options.precision, device)
        torch.set_num_threads(options.threads or default_threads())
        encoder.model.place(device, PRECISIONS[self.precision], options.attention).eval()
        self.runner = AsyncInferenceRunner(self.encoder, device, options.max_tokens, options.packing)

    def run(self, directory: RunDirectory, before: dict[str, Any] | None) -> Embedded:
        told = self._describe()
        if before is not None:
            require_same(before["fingerprint"], told["fingerprint"])
        settings = fingerprint(told["fingerprint"])
        shards: list[str] = []
        windowed = kept = sequences = 0
        letters = SHARD_BYTES // (4 * self.width) if self.request.per_residue else SHARD_BYTES
        records = read_records(self.request.inputs, "nucleotide" if self.kind == "nucleotide" else "protein")
        with atomic_writer(directory.path / IDS) as ids:
            ids.write("seq_name\tlength\tshard\trow\trows\n")
            for unit in iter_units(records, SHARD_RECORDS, letters):
                self._check(unit.records)
                shards.append(f"embeddings_{unit.number:05d}.safetensors")
                path = directory.path / shards[-1]
                if before is not None and _is_done(path, unit, settings):
                    kept += 1
                else:
                    vectors = self._embed(unit.records)
                    directory.write_state({"status": "running", **told})
                    _write_shard(path, unit, settings, vectors)
                ids.writelines(self._rows(unit.records, shards[-1]))
                sequences += len(unit.records)
                windowed += sum(len(record.sequence) > self.max_length for record in unit.records)
        for path in directory.path.glob("embeddings_*.safetensors"):
            if path.name not in shards:  # of the run that this one replaces
                path.unlink()
        done = Embedded(sequences, self.width, windowed, kept)
        counts = {"sequences": sequences, "windowed": windowed, "shards": len(shards), "kept_shards": kept}
        directory.write_state({"status": "complete", **told, "counts": counts})
        return done

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
            "command": list(request.command),
            "inputs": [describe_input(name) for name in request.inputs],
            "model": {**model, "imported": description.training.get("imported")},
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "fingerprint": {**settings, "SHA-256 of the weights": weights},
        }

    def _check(self, records: Sequence[Record]) -> None:
        for record in records:
            if not record.sequence:
                raise InputError(f"{record.source}: record {record.id!r} has no sequence; remove it")
            if self.request.long == "refuse" and len(record.sequence) > self.max_length:
                raise InputError(
                    f"{record.source}: record {record.id!r} has {len(record.sequence)} letters, at most "
                    f"{self.max_length} are allowed; use --long window, or a larger --max-length"
                )

    def _embed(self, records: Sequence[Record]) -> Vectors:
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

    def _rows(self, records: Sequence[Record], shard: str) -> Iterator[str]:
        row = 0
        for record in records:
            rows = len(record.sequence) if self.request.per_residue else 1
            yield f"{record.id}\t{len(record.sequence)}\t{shard}\t{row}\t{rows}\n"
            row += rows


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


def _tell(unit: Unit, settings: str, vectors: Vectors) -> dict[str, str]:
    """Return what a shard says about itself: SHA-256 of its records, of the settings and of its values."""
    digest = hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()
    told = {"input_sha256": unit.digest, "settings_sha256": settings, "sha256": digest}
    return {"virnucpro": json.dumps(told)}  # one entry: safetensors writes several in any order


def _write_shard(path: Path, unit: Unit, settings: str, vectors: Vectors) -> None:
    with atomic_path(path) as temporary:
        try:
            save_file({"embeddings": vectors}, temporary, metadata=_tell(unit, settings, vectors))
        except SafetensorError as error:
            raise OutputError(f"{path} cannot be written: {error}; choose another --output") from error
        temporary.chmod(0o644)  # safetensors writes it readable by its owner alone


def _is_done(path: Path, unit: Unit, settings: str) -> bool:
    """Tell whether a shard is there, whole, and of these records and settings."""
    try:
        with safe_open(path, "np") as shard:
            told, vectors = shard.metadata() or {}, shard.get_tensor("embeddings")
    except (OSError, SafetensorError):
        return False
    return told == _tell(unit, settings, vectors)
