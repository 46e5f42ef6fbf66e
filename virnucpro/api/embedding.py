"""virnucpro.embed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal, cast, overload

import numpy as np

from virnucpro.api.bars import shown
from virnucpro.api.calling import merged
from virnucpro.api.sequences import GivenSequences, SequenceSource
from virnucpro.config import ComputeOptions, number
from virnucpro.environment import make_sums_reproducible
from virnucpro.errors import ConfigError, InputError
from virnucpro.pipeline.embed import Embedder, EmbedSettings, Vectors
from virnucpro.pretrained.locations import DEFAULT_MODEL
from virnucpro.seq.block import group_records
from virnucpro.seq.proteins import Tidied, refuse_nucleotides
from virnucpro.seq.reader import Kind
from virnucpro.types import Record

GROUP_RECORDS, GROUP_LETTERS = 1024, 1 << 18  # embedded at a time


@overload
def embed(
    source: SequenceSource,
    *,
    model: str | os.PathLike[str] = ...,
    kind: Kind | None = ...,
    layer: int | None = ...,
    pooling: Literal["mean"] = ...,
    max_length: int | None = ...,
    device: str = ...,
    threads: int | None = ...,
    precision: str = ...,
    options: ComputeOptions | None = ...,
    progress: bool | None = ...,
) -> Vectors: ...
@overload
def embed(
    source: SequenceSource,
    *,
    model: str | os.PathLike[str] = ...,
    kind: Kind | None = ...,
    layer: int | None = ...,
    pooling: None,
    max_length: int | None = ...,
    device: str = ...,
    threads: int | None = ...,
    precision: str = ...,
    options: ComputeOptions | None = ...,
    progress: bool | None = ...,
) -> list[Vectors]: ...
def embed(
    source: SequenceSource,
    *,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    kind: Kind | None = None,
    layer: int | None = None,
    pooling: Literal["mean"] | None = "mean",
    max_length: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    options: ComputeOptions | None = None,
    progress: bool | None = None,
) -> Vectors | list[Vectors]:
    """Return embeddings of sequences by a language model, in the order of the source.

    Examples:
        >>> vectors = embed({"p": "MKTAYIAKQR", "q": "MAHHHHHHVGTG"}, kind="protein", device="cpu")
        >>> len(vectors), vectors.dtype.name
        (2, 'float32')

    Args:
        source: what `predict` takes; of proteins, any letters. Gaps, and * at the end, are left out of proteins.
        model: name or directory of a model.
        kind: protein or nucleotide; None is the model's only one, or protein.
        layer: from 0, the embedding; None is the last.
        pooling: mean gives a vector for each sequence, None one for each of its residues (ESM-2 only).
        max_length: a longer sequence is cut into windows of like length, letters; None is what suits the model.
        device: auto, cpu, cuda or cuda:N.
        threads: of a CPU; None is all cores.
        precision: auto, fp32, bf16, fp16, or on newer GPUs fp8.
        options: these as one value; an argument that is not its default replaces its field.
        progress: as of `predict`.

    Returns:
        float32 (N, D) of N sequences; with `pooling=None` a list of N arrays (length, D).

    Raises:
        ConfigError: an option makes no sense or does not fit the model; it names the field.
        ModelError: there is no such model, or it is damaged.
        InputError: a record cannot be embedded; the error names it.
    """
    if pooling not in ("mean", None):
        raise ConfigError(f"pooling must be 'mean' or None, got {pooling!a}", "pooling")
    if kind not in ("protein", "nucleotide", None):
        raise ConfigError(f"kind must be protein, nucleotide or None, got {kind!a}", "kind")
    for name, value, least in (("layer", layer, 0), ("max_length", max_length, 1)):
        if value is not None:
            number(name, value, least, whole=True)
    settings = EmbedSettings(
        model=os.fspath(model), kind=kind, layer=layer, per_residue=pooling is None, max_length=max_length
    )
    asked = merged(options or ComputeOptions(), device=device, threads=threads, precision=precision)
    make_sums_reproducible()
    embedder = _load(settings, asked)
    sequences = GivenSequences(source, cast(Kind, embedder.kind))
    found: list[Vectors] = []
    with shown(sequences, progress, "sequences") as counter:
        for group in group_records(_checked(sequences, kind), GROUP_RECORDS, GROUP_LETTERS):
            vectors = embedder.embed(group)
            lengths = [len(record.sequence) for record in group]
            found += np.split(vectors, np.cumsum(lengths)[:-1]) if pooling is None else [vectors]
            counter.advance(len(group))
    if pooling is None:
        return found
    return np.concatenate(found) if found else np.zeros((0, embedder.encoder.model.width), np.float32)


def _load(settings: EmbedSettings, options: ComputeOptions) -> Embedder:
    try:
        return Embedder(settings, options)
    except ConfigError as error:
        if error.fields != ("per_residue",):
            raise
        raise ConfigError(
            "pooling=None needs one token a letter, as ESM-2 has for proteins; this encoder has not: use "
            "pooling='mean'",
            "pooling",
        ) from None


def _checked(sequences: GivenSequences, kind: Kind | None) -> Iterator[Record]:
    """Yield what is embedded of each record; unless the `kind` was given, nucleotides are no proteins."""
    records = iter(sequences)
    if sequences.kind == "protein":
        records = map(Tidied().tidy, records if kind else refuse_nucleotides(records))
    for record in records:
        if not record.sequence:
            raise InputError(f"record {record.id!a:.200} (number {record.index + 1}) has no sequence; leave it out")
        yield record
