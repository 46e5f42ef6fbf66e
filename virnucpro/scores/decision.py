"""Decision: turn evidence into a score by the prevalence, and into a call by a preset or a minimum score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError
from virnucpro.scores.calibration import PRESETS, Calibration, Floats, probability

DEFAULT_PRESET = "balanced"


class DescribedModel(Protocol):
    """The part of a model's description that a decision needs."""

    @property
    def name(self) -> str: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def threshold(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """How a run decides. Without a `calibration` there are scores but no evidence, and `min_score` decides.

    `min_score` is the minimum `virus_score` of a virus. If it is None, `preset` decides by evidence and length:
    `thresholds` are its minimum log likelihood ratios by length, see `Calibration.thresholds`.
    """

    calibration: Calibration | None
    prevalence: float | None
    preset: str | None
    min_score: float | None
    thresholds: Sequence[float] = ()

    @classmethod
    def choose(
        cls,
        model: DescribedModel,
        prevalence: float | None = None,
        preset: str | None = None,
        min_score: float | None = None,
    ) -> Decision:
        """Return the decision for a model and the user's options.

        Raises:
            ConfigError: an option is out of range, contradicts another, or needs a calibrated model.
        """
        if prevalence is not None and not 0 < prevalence < 1:
            raise ConfigError(
                f"prevalence must lie between 0 and 1, got {prevalence}; 0.01 is one record in a hundred",
                "prevalence",
            )
        if preset is not None and preset not in PRESETS:
            raise ConfigError(f"preset must be {', '.join(PRESETS)}, got {preset!r}", "preset")
        if preset is not None and min_score is not None:
            raise ConfigError(
                "preset and min_score exclude each other: a preset sets a minimum for each length, min_score one for "
                "all lengths; give only one of them",
                "preset",
                "min_score",
            )
        if model.calibration is None:
            for name, value in (("prevalence", prevalence), ("preset", preset)):
                if value is not None:
                    raise ConfigError(
                        f"{name} needs a calibrated model, {model.name} is not; "
                        "leave it out, or make one with `virnucpro calibrate`",
                        name,
                    )
            return cls(None, None, None, model.threshold if min_score is None else min_score)
        if min_score is None:
            preset = preset or DEFAULT_PRESET
        thresholds = model.calibration.thresholds(preset) if preset else ()
        return cls(model.calibration, prevalence or model.calibration.prevalence, preset, min_score, thresholds)

    def scores(self, margins: Floats | float) -> Floats:
        """Return scores (C,) from log likelihood ratios, or from margins if there is no calibration."""
        return probability(margins, 0.5 if self.prevalence is None else self.prevalence)

    def are_virus(
        self, scores: npt.ArrayLike, log_ratios: npt.ArrayLike, lengths: npt.ArrayLike
    ) -> npt.NDArray[np.bool_]:
        """Return which chunks or records of these lengths (N,), nt, are called virus; NaN is never virus."""
        if self.min_score is not None:
            return np.asarray(np.asarray(scores) >= self.min_score)
        thresholds = np.array(self.thresholds)
        return np.asarray(np.asarray(log_ratios) >= thresholds[np.minimum(lengths, len(thresholds) - 1)])
