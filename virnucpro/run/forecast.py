"""What a run would take: time and memory, from a short measurement on records of the input itself."""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from virnucpro.config import Options
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.registry import load_model
from virnucpro.run.progress import in_words
from virnucpro.run.tally import MAX_IDS
from virnucpro.seq.source import Source
from virnucpro.types import Record

_LOOKED_AT = 100_000  # records that are read at most
_SAMPLE = 1024  # records that are kept to measure, as many as a unit
_LONGEST = 10  # chunks of a record that are measured
_SECONDS = 5.0  # the measurement ends with the first block that brings it here


def forecast(inputs: Sequence[str], model: str, options: Options) -> list[str]:
    """Return in a few lines of text how long a run would take and how much memory.

    Up to 100,000 records are read, and a random sample of them is scored, in growing blocks, for some seconds. A
    stream is used up by it.

    Raises:
        VirnucproError: as a run would.
    """
    begin = time.perf_counter()
    predictor = Predictor(load_model(model), options)
    loaded = time.perf_counter() - begin
    source = Source(inputs)
    sample, bases = _sample(source, predictor.min_length)
    total = source.total() or source.records
    all_bases = bases / max(source.records, 1) * total
    scored, seconds = _measure(predictor, sample)
    rate = scored / seconds if scored else 0.0
    needed = loaded + (all_bases / rate if rate else 0.0)
    known = "counted" if source.at_end else f"estimated from the first {source.records:,}"
    threads = torch.get_num_threads()
    how = f"{predictor.device}, {predictor.precision}, {threads} thread{'s' if threads > 1 else ''}"
    return [
        f"input: {total:,} records ({known}), {all_bases:,.0f} nt long enough to be scored",
        f"speed: {rate:,.0f} nt/s with {predictor.description.name} on {how}, "
        f"measured on {scored:,} nt in {in_words(seconds)}",
        f"time: about {in_words(needed)}",
        f"memory: about {_memory(predictor, total)}",
    ]


def _sample(source: Source, min_length: int) -> tuple[list[Record], int]:
    """Return a random sample of the records and the bases of all that were read and are long enough."""
    chance = random.Random(0)
    kept: list[Record] = []  # reservoir sampling
    bases = seen = 0
    for record in source:
        if len(record.sequence) >= min_length:
            bases += len(record.sequence)
            seen += 1
            if len(kept) < _SAMPLE:
                kept.append(record)
            elif (place := chance.randrange(seen)) < _SAMPLE:
                kept[place] = record
        if source.records >= _LOOKED_AT:
            break
    chance.shuffle(kept)
    return kept, bases


def _measure(predictor: Predictor, sample: Sequence[Record]) -> tuple[int, float]:
    """Score blocks of the sample, each twice as large, the first to warm up; return nt and seconds of the last."""
    most = _LONGEST * predictor.description.chunk_length
    cut = [replace(record, sequence=record.sequence[:most]) for record in sample]
    size, begun = 32, time.perf_counter()
    scored, seconds = 0, 1.0
    list(predictor.run(cut[:size]))
    while cut:
        block = cut[:size]
        begin = time.perf_counter()
        list(predictor.run(block))
        seconds = time.perf_counter() - begin
        scored = sum(len(record.sequence) for record in block)
        if size >= len(cut) or time.perf_counter() - begun > _SECONDS:
            break
        size *= 2
    return scored, seconds


def _memory(predictor: Predictor, records: int) -> str:
    """Return the peak so far, which a whole block has reached, and what grows with the records."""
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + 8 * min(records, MAX_IDS)
    memory = f"{host / 1e9:.1f} GB"
    if predictor.device.type == "cuda":
        memory += f", and {torch.cuda.max_memory_reserved(predictor.device) / 1e9:.1f} GB of the GPU's"
    return memory
