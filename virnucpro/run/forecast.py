"""Estimate the time and memory of a run from a short measurement on records of its input."""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from virnucpro.config import Options
from virnucpro.pipeline.predict import BLOCK_BASES, BLOCK_RECORDS, Predictor
from virnucpro.pretrained.registry import load_model
from virnucpro.run.progress import in_words
from virnucpro.run.tally import MAX_IDS
from virnucpro.seq.block import RecordBlock, group_records
from virnucpro.seq.source import Source
from virnucpro.types import Record
from virnucpro.words import counted, in_bytes

_MAX_RECORDS = 100_000  # to read
_SAMPLE = 1024  # records to measure, as many as in a unit
_LONGEST = 10  # chunks of a record to measure
_SECONDS = 5.0  # the measurement ends after the first block that reaches this time


def forecast(inputs: Sequence[str], model: str, options: Options) -> list[str]:
    """Return a few lines of text with the estimated time and memory of a run.

    Reads up to 100,000 records and scores a random sample of them for some seconds, in growing blocks. A stream cannot
    be read again afterwards.

    Raises:
        VirnucproError: as in a run.
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
    models = predictor.description.name
    if predictor.screen:
        models += f" after a screen with {predictor.screen.description.name} (viruses take longer than hosts)"
    known = "counted" if source.at_end else f"estimated from the first {source.records:,}"
    how = f"{predictor.device}, {predictor.precision}, {counted(torch.get_num_threads(), 'threads')}"
    return [
        f"input: {counted(total, 'records')} ({known}), {all_bases:,.0f} nt in records that are long enough",
        f"speed: {rate:,.0f} nt/s with {models} on {how}, measured on {scored:,} nt in {in_words(seconds)}",
        f"time: about {in_words(needed)}",
        f"memory: about {_memory(predictor, total)}",
    ]


def _sample(source: Source, min_length: int) -> tuple[list[Record], int]:
    """Return a random sample of the records that are long enough, and the bases of all that were read."""
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
        if source.records >= _MAX_RECORDS:
            break
    chance.shuffle(kept)
    return kept, bases


def _measure(predictor: Predictor, sample: Sequence[Record]) -> tuple[int, float]:
    """Score blocks of the sample, each twice as large as the one before; return nt and seconds of the last block."""
    max_length = _LONGEST * predictor.description.chunk_length
    cut = [replace(record, sequence=record.sequence[:max_length]) for record in sample]
    size, started = 32, time.perf_counter()
    scored, seconds = 0, 1.0
    _score(predictor, cut[:size])
    while cut:
        block = cut[:size]
        begin = time.perf_counter()
        _score(predictor, block)
        seconds = time.perf_counter() - begin
        scored = sum(len(record.sequence) for record in block)
        if size >= len(cut) or time.perf_counter() - started > _SECONDS:
            break
        size *= 2
    return scored, seconds


def _score(predictor: Predictor, records: Sequence[Record]) -> None:
    for group in group_records(records, BLOCK_RECORDS, BLOCK_BASES):
        predictor.call(RecordBlock.of(group))


def _memory(predictor: Predictor, records: int) -> str:
    """Return the memory that a run needs: the peak of a whole block so far, and what grows with the records."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of ru_maxrss
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + 8 * min(records, MAX_IDS)
    memory = in_bytes(host)
    if predictor.device.type == "cuda":
        memory += f", and {in_bytes(torch.cuda.max_memory_reserved(predictor.device))} of the GPU's"
    return memory
