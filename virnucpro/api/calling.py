"""virnucpro.predict."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any, TypeVar

from virnucpro.api.called import Calls
from virnucpro.api.sequences import GivenSequences, SequenceSource
from virnucpro.config import ComputeOptions, Options
from virnucpro.environment import make_sums_reproducible
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.locations import DEFAULT_MODEL
from virnucpro.pretrained.registry import load_model

AnyOptions = TypeVar("AnyOptions", bound=ComputeOptions)


def predict(
    source: SequenceSource,
    *,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    device: str = "auto",
    preset: str | None = None,
    prevalence: float | None = None,
    composition: str | dict[str, float] = "sample",
    min_score: float | None = None,
    max_fdr: float | None = None,
    min_length: int | None = None,
    screen: float | None = None,
    threads: int | None = None,
    precision: str = "auto",
    options: Options | None = None,
    progress: bool | None = None,
) -> Calls:
    """Call every record of a source virus or other.

    Examples:
        >>> calls = predict({"a": "ATGGCTAAAGGTCTGCGTGAA" * 12, "b": "ACGT"}, device="cpu")
        >>> [(call.id, str(call.status)) for call in calls]
        [('a', 'ok'), ('b', 'too_short')]

    Args:
        source: a path or several (`-` is standard input); a dict of ids and sequences; or an iterable of (id,
            sequence), of `Record`s, or of objects with `id` and `seq` (Biopython, pyfastx) or `name` and `sequence`
            (dnaio). Sequences are text or bytes; lower case, U and IUPAC codes are accepted. Ids are kept whole. An
            iterable is read once, in a thread of its own, a block ahead.
        model: name or directory of a model; the default is the bundled one.
        device: auto, cpu, cuda or cuda:N.
        threads: of a CPU; None is all cores.
        precision: auto, fp32, bf16, fp16, or on newer GPUs fp8.
        preset: sensitive, balanced (default) or strict.
        prevalence: the share of virus for which scores are stated; None is the model's.
        composition: the hosts by which records are judged: `sample` (estimated from all of them), `equal` (the model's
            default), or shares by class. It needs a model of several host classes. Calls that are taken one by one
            follow from the default.
        min_score: least score of a virus, instead of a preset.
        max_fdr: highest false discovery rate of a virus, instead of a preset. No call is known before the last record,
            so the source is read to its end, and kept, before the first call comes.
        min_length: shortest record to call, nt; None is the model's.
        screen: for a published model: a small model judges first, and passes this share of viruses on, such as 0.99.
        options: all of these as one value; an argument that is not its default replaces its field.
        progress: show a bar; None shows one on a terminal or in a notebook if it takes more than a second.

    Raises:
        ConfigError: an option makes no sense; it names the field.
        ModelError: there is no such model, or it is damaged.
        InputError: the source is none. What is wrong with a record is raised after the calls before it.
    """
    sequences = GivenSequences(source)
    asked = merged(
        options or Options(), device=device, preset=preset, prevalence=prevalence, composition=composition,
        min_score=min_score, max_fdr=max_fdr, min_length=min_length, screen=screen, threads=threads,
        precision=precision,
    )  # fmt: skip
    name = os.fspath(model)
    make_sums_reproducible()  # as the command does: calls follow from the record, not from its block
    return Calls(Predictor(load_model(name), asked), sequences, name, progress)


def merged(options: AnyOptions, **given: Any) -> AnyOptions:
    """Return options with those fields replaced that were given with another value than the default."""
    defaults = {field.name: field.default for field in fields(options)}
    return replace(options, **{name: value for name, value in given.items() if value != defaults[name]})
