"""Evidence of records as they are stored in units: log likelihood ratios in steps of 0.01, between -30 and 30."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from virnucpro.scores.calibration import Floats

STEPS = 100  # in a unit of the log likelihood ratio
_LARGEST = 30 * STEPS
# The value of a record without evidence.
NO_EVIDENCE = -(1 << 15)
Steps = npt.NDArray[np.int16]


def evidence_steps(log_ratios: Floats) -> Steps:
    """Return log likelihood ratios of any shape in steps; NaN becomes `NO_EVIDENCE`."""
    steps = np.clip(np.rint(np.nan_to_num(log_ratios) * STEPS), -_LARGEST, _LARGEST)
    return np.where(np.isnan(log_ratios), NO_EVIDENCE, steps).astype(np.int16)


def evidence_type(hosts: int, files: int = 0) -> np.dtype[np.void]:
    """Return the type of a record's evidence in a unit.

    It has the log likelihood ratio against each of `hosts` host classes, the length that the call follows from (nt)
    and, if a record's call follows from the whole sample, the bytes of the record in each of `files` files of hits.
    """
    fields: list[tuple[str, str, tuple[int, ...]]] = [("steps", "<i2", (hosts,)), ("length", "<i4", ())]
    if files:
        fields.append(("hits", "<i4", (files,)))
    return np.dtype(fields)
