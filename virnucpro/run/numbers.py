"""Numbers as decimal text, for the columns of tables."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from virnucpro.scores.calibration import Floats
from virnucpro.seq.strings import Strings


def whole_numbers(values: npt.NDArray[np.integer]) -> Strings:
    """Return integers (N,) in decimal."""
    known, rows = np.unique(values, return_inverse=True)
    return Strings.of([b"%d" % value for value in known.tolist()]).take(rows)


def four_digits(values: Floats) -> Strings:
    """Format numbers in 0..1 (N,) as `f"{value:.4f}"` does, and NaN as NA.

    >>> four_digits(np.array([0.5, 0.00005, np.nan, 1.0])).tolist()
    [b'0.5000', b'0.0001', b'NA', b'1.0000']
    """
    scaled = np.where(np.isnan(values), len(_four_digits()) - 1, values * 10_000)
    rows = np.rint(scaled).astype(np.int64)
    # Near a tie, rounding of the product may cross it; format these numbers one by one.
    for row in np.flatnonzero(np.abs(scaled - np.floor(scaled) - 0.5) < 1e-6).tolist():
        rows[row] = int(f"{values[row]:.4f}".replace(".", ""))
    return _four_digits().take(rows)


@cache
def _four_digits() -> Strings:
    return Strings.of([*(b"%.4f" % (step / 10_000) for step in range(10_001)), b"NA"])
