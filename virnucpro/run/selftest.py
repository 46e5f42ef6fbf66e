"""Compare a model with golden files: outputs of the published tool with the published weights.

A golden directory has one folder for each run, with input.fa, chunkedN.fa (N the chunk length, nt), output_1_merged.pt
(`ids` of the frames and `data` (F, D) float32, nucleotide vectors before protein vectors) and the two files of results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.weights import unpickle_tensors
from virnucpro.run.frames import named_frames
from virnucpro.run.legacy import HIGHEST_SCORES, RESULTS
from virnucpro.seq import read_records
from virnucpro.seq.blocks import iter_blocks
from virnucpro.seq.source import Source

# Two correct programs differ in float32 by the order of sums, in half precision by rounding in each layer.
LARGEST_ERROR = {"fp32": 1e-4, "bf16": 1e-2, "fp16": 1e-2, "fp8": 1e-2}
LARGEST_SCORE_DIFFERENCE = 1e-3
# This channel of ESM-2 3B has 72 to 90 % of a vector's squared norm and would hide an error in other channels.
LOUD_CHANNEL = 1542

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far `what` of a golden run is from the golden files, by `measure`, and the largest value allowed."""

    run: str
    what: str
    measure: str
    found: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.found <= self.limit


@dataclass(frozen=True, slots=True)
class _Golden:
    """The published tool's outputs of a run: vectors (F, D), rows of scores, lines of the consensus."""

    ids: list[str]
    vectors: Vectors
    scores: list[list[str]]
    calls: list[str]


def compare_with_golden(predictor: Predictor, golden: Path) -> Iterator[Comparison]:
    """Compute every run of a golden directory and compare frames, vectors, scores and consensus.

    Raises:
        ConfigError: there are no golden files, or they are of another chunk length or other models.
    """
    runs = sorted(path.parent for path in golden.glob("*/output_1_merged.pt"))
    if not runs:
        raise ConfigError(f"{golden} has no golden files: none of its folders has an output_1_merged.pt")
    for run in runs:
        yield from _compare(predictor, run)


def _compare(predictor: Predictor, run: Path) -> Iterator[Comparison]:
    description, width = predictor.description, predictor.nucleotide.encoder.model.width
    if not (run / f"chunked{description.chunk_length}.fa").is_file():
        made = ", ".join(re.sub(r"\D", "", path.name) for path in run.glob("chunked*.fa")) or "unknown"
        raise ConfigError(
            f"{run} was made with chunks of another length ({made}) than the model's, {description.chunk_length} nt; "
            f"use --model published-{made}"
        )
    parts = [
        part
        for block in iter_blocks(Source([str(run / "input.fa")]))
        for part in named_frames(block, description.chunk_length, description.frame_rule)
    ]
    golden = _read_golden(run)
    ids, expected = golden.ids, golden.vectors
    different = _count_different(
        [name.decode(errors="surrogateescape") for part in parts for name in part.frame_ids], ids
    )
    yield Comparison(run.name, "frames", "different ids", different, 0)
    if different:
        return
    vectors = np.hstack(
        (
            predictor.nucleotide.embed([letters for part in parts for letters in part.frames.own_nucleotides()]),
            predictor.protein.embed([letters for part in parts for letters in part.frames.proteins]),
        )
    )
    if vectors.shape != expected.shape:
        raise ConfigError(f"{run} has vectors of {expected.shape[1]} values, the model gives {vectors.shape[1]}")
    limit = LARGEST_ERROR[predictor.precision]
    measure = "largest relative L2 error"
    yield Comparison(run.name, "nucleotide vectors", measure, _error(vectors[:, :width], expected[:, :width]), limit)
    if predictor.precision == "fp32":
        yield Comparison(run.name, "protein vectors", measure, _error(vectors[:, width:], expected[:, width:]), limit)
    quiet = np.arange(width, expected.shape[1])
    quiet = quiet[quiet != width + LOUD_CHANNEL]
    what = f"protein vectors without channel {LOUD_CHANNEL}"
    yield Comparison(run.name, what, measure, _error(vectors[:, quiet], expected[:, quiet]), limit)
    yield from _compare_scores(predictor, run, golden)


def _read_golden(run: Path) -> _Golden:
    try:
        merged = unpickle_tensors(run / "output_1_merged.pt")
        scores = (run / RESULTS).read_text(encoding="utf-8").splitlines()[1:]
        calls = (run / HIGHEST_SCORES).read_text(encoding="utf-8").splitlines()[1:]
        return _Golden(merged["ids"], merged["data"].numpy(), [line.split("\t") for line in scores], calls)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{run} is not a run of golden files: {error}; get it again") from error


def _compare_scores(predictor: Predictor, run: Path, golden: _Golden) -> Iterator[Comparison]:
    rows = golden.scores
    results = list(predictor.run(read_records([run / "input.fa"])))
    found = [frame for result in results for chunk in result.chunks for frame in chunk.predictions]
    yield Comparison(
        run.name, "scores", "different ids", _count_different([f.frame_id for f in found], [r[0] for r in rows]), 0
    )
    differences = [abs(frame.score_virus - float(np.float32(row[3]))) for frame, row in zip(found, rows, strict=False)]
    yield Comparison(run.name, "scores", "largest difference", max(differences, default=0.0), LARGEST_SCORE_DIFFERENCE)
    calls = {chunk.call.id: chunk.call.is_virus for result in results for chunk in result.chunks if chunk.predictions}
    lines = [f"{name}\t{virus}" for name, virus in sorted(calls.items())]
    yield Comparison(run.name, "consensus", "different chunks", _count_different(lines, golden.calls), 0)


def _count_different(found: list[str], expected: list[str]) -> int:
    longer = max(len(found), len(expected))
    return longer - sum(one == other for one, other in zip(found, expected, strict=False))


def _error(found: Vectors, expected: Vectors) -> float:
    """Return the largest relative L2 error of a row, in float64."""
    difference = np.linalg.norm(found.astype(np.float64) - expected, axis=1)
    return float((difference / np.linalg.norm(expected.astype(np.float64), axis=1)).max())
