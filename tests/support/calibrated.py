"""A tiny calibrated model of two classes."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from support.models import make_model, write_model
from virnucpro import Options, Predictor
from virnucpro.pretrained.registry import Model
from virnucpro.scores.calibration import PRESETS, Calibration, Knot, OperatingPoint
from virnucpro.types import Record

POINTS = (OperatingPoint(50, -0.5, 0.5, 0.05), OperatingPoint(400, 0.5, 0.5, 0.05))
PLAIN = Calibration(0.5, (Knot(1, (1.0,), (0.0,), 0.4),), dict.fromkeys(PRESETS, POINTS))


def write_calibrated_model(directory: Path, records: Iterable[Record]) -> Path:
    """Write a model of random weights with slopes and intercepts by which scores of these records are of all sizes."""
    made = make_model()

    def calibrated(calibration: Calibration) -> Model:
        return replace(made, description=replace(made.description, calibration=calibration, max_repetition=0.2))

    results = Predictor(calibrated(PLAIN), Options(device="cpu", threads=1)).run(records)
    margins = [
        chunk.call.log_ratio for result in results for chunk in result.chunks if chunk.call.log_ratio is not None
    ]
    slope = 2 / float(np.std(margins))
    knots = (
        Knot(50, (slope,), (-slope * float(np.mean(margins)),), 0.8),
        Knot(100, (2 * slope,), (-slope * 2 * float(np.mean(margins)),), 0.4),
    )
    return write_model(calibrated(replace(PLAIN, knots=knots)), directory)
