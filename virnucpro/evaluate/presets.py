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
from virnucpro.run.manifest import PredictOutcome, read_manifest
from virnucpro.run.setup import ModelFiles, PredictSetup, fingerprint_of
from virnucpro.scores.calibration import PRESETS, Floats, log_odds
from virnucpro.scores.decision import EQUAL
from virnucpro.scores.reference import REFERENCE_FILE, Reference

logger = logging.getLogger(__name__)

# Scores in tables have four decimals, so a score of 1.0000 may be any above 0.99995.
_LOWEST, _HIGHEST = 0.00005, 0.99995


def called_by_presets(
    calls: Path,
    scores: Sequence[float | None],
    lengths: Sequence[int] | None,
    sample_scores: Sequence[float | None] | None = None,
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each preset which sequences (n,) it would call virus; empty if this cannot be known.

    A preset has a threshold for each length on the evidence, which follows from score and prevalence. So the table must
    lie in the directory of its run, and the model of that run must be there, unchanged and calibrated. If thresholds
    follow from the composition of the sample, the evidence is that of `sample_scores`.

    Args:
        calls: a table of calls, such as records.tsv.
        scores: the scores of the sequences; None: no score, and no call.
        lengths: their lengths, nt; None: unknown.
        sample_scores: their scores in the sample; None: unknown.
    """
    found = _thresholds(calls)
    if found is None or lengths is None:
        return {}
    thresholds, prevalence, of_sample = found
    used = sample_scores if of_sample else scores
    if used is None:
        return {}
    values = np.array([np.nan if score is None else score for score in used], dtype=np.float64)
    clipped = np.clip(values, _LOWEST, _HIGHEST)
    evidence = np.log(clipped) - np.log1p(-clipped) - log_odds(prevalence)
    return {
        preset: evidence >= least[np.minimum(lengths, len(least) - 1)]  # NaN is never virus
        for preset, least in thresholds.items()
    }


def _thresholds(calls: Path) -> tuple[dict[str, Floats], float, bool] | None:
    """Return the presets' thresholds, the prevalence of the scores, and whether both are those of the sample."""
    try:
        manifest = read_manifest(calls.parent / "run.json")
        setup = manifest.setup
        if not isinstance(setup, PredictSetup) or setup.options.prevalence is None:
            return None
        directory = _directory(setup.model)
        described = read_description(directory)
        if not isinstance(described, ModelDescription) or described.calibration is None:
            return None
        if setup.model.sha256_of_description != fingerprint_of(described):
            logger.warning("no figures of presets: the model in %s has changed since %s was made", directory, calls)
            return None
        if described.calibration.n_hosts > 1 and setup.options.composition != EQUAL:
            outcome = manifest.outcome
            if not isinstance(outcome, PredictOutcome) or outcome.composition is None or outcome.prevalence is None:
                return None
            reference = Reference.read(directory / REFERENCE_FILE)
            shares = np.array([outcome.composition.hosts[name] for name in reference.hosts])
            by_rate = {name: reference.thresholds(shares, rate) for name, rate in PRESETS.items()}
            return by_rate, outcome.prevalence, True
    except (OSError, ValueError, KeyError, VirnucproError):
        return None
    by_preset = {name: np.array(described.calibration.thresholds(name)) for name in PRESETS}
    return by_preset, setup.options.prevalence, False


def _directory(model: ModelFiles) -> Path:
    try:
        return find_directory(model.directory)
    except VirnucproError:  # the run was made elsewhere
        return find_directory(model.name)
