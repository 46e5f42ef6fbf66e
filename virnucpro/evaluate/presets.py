"""Which sequences each preset would call virus, from the scores in records.tsv and the run.json beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.errors import VirnucproError
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.locations import find_directory, read_description
from virnucpro.run.manifest import read_manifest
from virnucpro.run.setup import ModelFiles, PredictSetup, fingerprint_of
from virnucpro.scores.calibration import PRESETS, Calibration, log_odds
from virnucpro.scores.decision import EQUAL

logger = logging.getLogger(__name__)

# Scores in tables have four decimals, so a score of 1.0000 may be any above 0.99995.
_LOWEST, _HIGHEST = 0.00005, 0.99995


def called_by_presets(
    calls: Path, scores: Sequence[float | None], lengths: Sequence[int] | None
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each preset which sequences (n,) it would call virus; empty if this cannot be known.

    A preset has a threshold for each length on the evidence, which follows from score and prevalence. So the table must
    lie in the directory of its run, and the model of that run must be there, unchanged and calibrated.

    Args:
        calls: a table of calls, such as records.tsv.
        scores: the scores of the sequences; None: no score, and no call.
        lengths: their lengths, nt; None: unknown.
    """
    found = _calibration(calls)
    if found is None or lengths is None:
        return {}
    calibration, prevalence = found
    values = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
    clipped = np.clip(values, _LOWEST, _HIGHEST)
    evidence = np.log(clipped) - np.log1p(-clipped) - log_odds(prevalence)
    called = {}
    for preset in PRESETS:
        thresholds = np.array(calibration.thresholds(preset))
        called[preset] = evidence >= thresholds[np.minimum(lengths, len(thresholds) - 1)]  # NaN is never virus
    return called


def _calibration(calls: Path) -> tuple[Calibration, float] | None:
    """Return the calibration of the model that made a table, and the prevalence of its scores."""
    try:
        setup = read_manifest(calls.parent / "run.json").setup
        if not isinstance(setup, PredictSetup) or setup.options.prevalence is None:
            return None
        directory = _directory(setup.model)
        described = read_description(directory)
    except (OSError, ValueError, VirnucproError):
        return None
    if not isinstance(described, ModelDescription) or described.calibration is None:
        return None
    if described.calibration.n_hosts > 1 and setup.options.composition != EQUAL:
        return None  # thresholds follow from the composition of the sample
    if setup.model.sha256_of_description != fingerprint_of(described):
        logger.warning("no figures of presets: the model in %s has changed since %s was made", directory, calls)
        return None
    return described.calibration, setup.options.prevalence


def _directory(model: ModelFiles) -> Path:
    try:
        return find_directory(model.directory)
    except VirnucproError:  # the run was made elsewhere
        return find_directory(model.name)
