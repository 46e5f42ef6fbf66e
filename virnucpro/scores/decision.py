"""Decision: turn evidence into a score by the prevalence, and into a call by a preset or a minimum score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError
from virnucpro.scores.calibration import PRESETS, Calibration, Floats, against_mixture, probability

DEFAULT_PRESET = "balanced"
# The composition by which records are judged: estimated from the sample, or the default one of the model.
SAMPLE, EQUAL = "sample", "equal"


class DescribedModel(Protocol):
    """The part of a model's description that a decision needs."""

    @property
    def name(self) -> str: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def threshold(self) -> float: ...
    @property
    def classes(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """How a run decides. Without a `calibration` there are scores but no evidence, and `min_score` decides.

    `min_score` is the minimum `virus_score` of a virus. If it is None, `preset` decides by evidence and length:
    `thresholds` are its minimum log likelihood ratios by length, see `Calibration.thresholds`.

    `hosts` names the host classes if there are several. With `by_sample`, a preset decides under the composition of the
    sample, which is known when all records are; until then, calls follow from the default composition. With `max_fdr`,
    the `fdr` of a record in its sample decides, also `by_sample`; chunks, which have no `fdr`, are called by
    `DEFAULT_PRESET`. With `keep_all`, a run keeps the sequences of all records until then, not only of possible hits.
    """

    calibration: Calibration | None
    prevalence: float | None
    preset: str | None
    min_score: float | None
    thresholds: Sequence[float] = ()
    hosts: tuple[str, ...] = ()
    by_sample: bool = False
    max_fdr: float | None = None
    keep_all: bool = False

    @classmethod
    def choose(
        cls,
        model: DescribedModel,
        prevalence: float | None = None,
        preset: str | None = None,
        min_score: float | None = None,
        composition: str | Mapping[str, float] = SAMPLE,
        max_fdr: float | None = None,
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
        rules = {"preset": preset, "min_score": min_score}
        for name in [name for name, value in rules.items() if value is not None and max_fdr is not None]:
            raise ConfigError(
                f"max_fdr and {name} exclude each other, because each says which records are called virus; give only "
                "one of them",
                "max_fdr",
                name,
            )
        hosts = model.classes[:-1] if len(model.classes) > 2 else ()
        if not isinstance(composition, str):
            _check_composition(composition, model)
        if model.calibration is None:
            for name, value in (("prevalence", prevalence), ("preset", preset), ("max_fdr", max_fdr)):
                if value is not None:
                    raise ConfigError(
                        f"{name} needs a calibrated model, {model.name} is not; "
                        "leave it out, or make one with `virnucpro calibrate`",
                        name,
                    )
            return cls(None, None, None, model.threshold if min_score is None else min_score)
        if min_score is None and max_fdr is None:
            preset = preset or DEFAULT_PRESET
        thresholds = model.calibration.thresholds(preset or DEFAULT_PRESET) if min_score is None else ()
        return cls(
            model.calibration,
            prevalence or model.calibration.prevalence,
            preset,
            min_score,
            thresholds,
            hosts,
            max_fdr is not None or (bool(hosts) and preset is not None and composition != EQUAL),
            max_fdr,
        )

    @property
    def n_hosts(self) -> int:
        """The number of host classes for which there is evidence; 0 without a calibration."""
        return self.calibration.n_hosts if self.calibration else 0

    @property
    def chooses_late(self) -> bool:
        """Whether the files of hits are made of kept records when all calls are known."""
        return self.by_sample or self.keep_all

    def log_ratios(self, ratios: Floats) -> Floats:
        """Return log likelihood ratios (N,) against the default mixture of hosts, from those against each, (N, H)."""
        return against_mixture(ratios, self.calibration.default_shares) if self.calibration else ratios

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


def _check_composition(composition: Mapping[str, float], model: DescribedModel) -> None:
    """Check that a composition names classes of a model that knows several host classes.

    Raises:
        ConfigError: it does not.
    """
    if len(model.classes) == 2:
        raise ConfigError(
            f"composition gives shares of host classes, but the model {model.name} knows only one; use another "
            "--model, or leave it out",
            "composition",
        )
    if unknown := sorted(composition.keys() - set(model.classes)):
        raise ConfigError(
            f"composition names {unknown[0]!r}, which is not a class of the model {model.name}; its classes are "
            f"{', '.join(model.classes)}",
            "composition",
        )
