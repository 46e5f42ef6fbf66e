"""The result files of the published tool (Li et al. 2025, bbaf224), byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import numpy as np

from virnucpro.scores.calibration import Floats
from virnucpro.seq.strings import Strings

RESULTS = "prediction_results.txt"
HIGHEST_SCORES = "prediction_results_highestscore.csv"
LEGACY_TABLES = {RESULTS: "Sequence_ID\tPrediction\tscore1\tscore2\n"}


def result_lines(frame_ids: Strings, scores: Floats) -> bytes:
    """Return a line for each frame: id, class of the higher score (`others` for a tie), scores of others and virus.

    The scores (F, 2) are printed as float32, the dtype of the published models, in the fewest digits that identify it.
    """
    single = scores.astype(np.float32)
    return b"".join(
        b"%b\t%b\t%b\t%b\n" % (name, b"virus" if virus > other else b"others", str(other).encode(), str(virus).encode())
        for name, (other, virus) in zip(frame_ids, single, strict=True)
    )


def write_highest_scores(results: Path, output: TextIO) -> None:
    """Write the consensus of every chunk, sorted by id, from the file of frame scores.

    A chunk is virus if the best virus score of its frames is at least the best other score. Its id is a frame's id
    without the last two characters; chunks with the same id are merged, as in the published tool.
    """
    best: dict[str, tuple[float, float]] = {}
    with results.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        next(lines)
        for line in lines:
            frame, _, other, virus = line.rstrip("\n").split("\t")
            before = best.get(frame[:-2], (0.0, 0.0))
            best[frame[:-2]] = max(before[0], float(other)), max(before[1], float(virus))
    output.write("Modified_ID\tIs_Virus\n")
    output.writelines(f"{chunk}\t{virus >= other}\n" for chunk, (other, virus) in sorted(best.items()))
