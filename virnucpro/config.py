"""Frozen, validated configuration. A configuration is also what a run's fingerprint is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal

from virnucpro.errors import ConfigError


def number(
    name: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    whole: bool = False,
    inclusive: bool = True,
) -> Any:
    """Return a number that was given as an option or a setting, an int if it is to be `whole`, else a float or an int.

    Args:
        name: of the setting or field, in messages.
        value: what was given.
        least, most: its bounds; with `inclusive` they may be reached.

    Raises:
        ConfigError: it is no number (bool and NaN are none), is infinite, or lies outside the bounds.
    """
    kind = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise ConfigError(f"{name} must be {kind}, got {value!a}", name)
    if not isinstance(value, Integral) and not math.isfinite(value):
        raise ConfigError(f"{name} must be {kind}, got {value!a}", name)
    found = int(value) if isinstance(value, Integral) else float(value)
    if (least <= found <= most) if inclusive else (least < found < most):
        return found
    if not math.isfinite(most):
        raise ConfigError(
            f"{name} must be {kind}, {'at least' if inclusive else 'more than'} {least}, got {value}", name
        )
    raise ConfigError(
        f"{name} must lie {f'in {least}..{most}' if inclusive else f'between {least} and {most}'}, got {value}", name
    )


def _set_numbers(options: Any, bounds: Mapping[str, tuple[float, float]], **how: bool) -> None:
    """Check the fields of frozen options that are numbers and are not None, and keep them as plain numbers."""
    for name, (least, most) in bounds.items():
        if (value := getattr(options, name)) is not None:
            object.__setattr__(options, name, number(name, value, least, most, **how))


def _require_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, got {value!a}", name)


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """How to compute: device, precision and attention backend by name, token budget of a batch, packing, threads.

    `threads` defaults to the cores available, `max_tokens` to what suits the device.
    """

    device: str = "auto"
    precision: str = "auto"
    attention: str = "auto"
    max_tokens: int | None = None
    packing: bool = True
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("device", "precision", "attention"):
            _require_text(name, getattr(self, name))
        if not isinstance(self.packing, bool):
            raise ConfigError(f"packing must be True or False, got {self.packing!a}", "packing")
        # Token positions are int32.
        _set_numbers(self, {"max_tokens": (1, 2**31 - 1), "threads": (1, 1024)}, whole=True)


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """How to call: the shortest record (nt), the least score of a virus or a preset, the stated share of virus.

    `min_length` (at least 3) defaults to the model's own. A `chunk_length` (nt) that is not the model's own is an
    error. A calibrated model calls by `preset` (balanced) or, if it is given, by `min_score`, and states scores at
    `prevalence` (the model's own). A model that is not calibrated has `min_score` alone, which defaults to its own.
    """

    min_length: int | None = None
    min_score: float | None = None
    chunk_length: int | None = None
    preset: str | None = None
    prevalence: float | None = None

    def __post_init__(self) -> None:
        if self.preset is not None:
            _require_text("preset", self.preset)
        _set_numbers(self, {"min_length": (0, math.inf), "chunk_length": (3, math.inf)}, whole=True)
        _set_numbers(self, {"min_score": (0, 1)})
        _set_numbers(self, {"prevalence": (0, 1)}, inclusive=False)


@dataclass(frozen=True, kw_only=True)
class Options(CallOptions, ComputeOptions):
    """How to compute (`ComputeOptions`) and how to call (`CallOptions`), by keyword."""

    def __post_init__(self) -> None:
        ComputeOptions.__post_init__(self)
        CallOptions.__post_init__(self)


@dataclass(frozen=True, slots=True)
class FrameRule:
    """Which reading frames of a chunk are used, and what each gives to the encoders.

    `stop_free` is the published tool's rule: every frame without a stop codon over the whole chunk.
    `longest_segments` takes the longest stop-free segment of each of the six frames and keeps the
    `segments` longest of these that have at least `min_aa` amino acids, and at least the share `min_share` of the
    longest one's, which is always kept: beside a long one, short ones say little and cost as much time.
    The nucleotides beside a frame are `own`, read in that frame, or those of the chunk's `longest` one, so
    that a chunk has one nucleotide sequence to embed.
    """

    kind: Literal["stop_free", "longest_segments"] = "stop_free"
    segments: int = 2
    min_aa: int = 20
    nucleotide: Literal["own", "longest"] = "own"
    min_share: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("stop_free", "longest_segments"):
            raise ConfigError(f"frame rule must be stop_free or longest_segments, got {self.kind!r}")
        if self.segments not in range(1, 7):
            raise ConfigError(f"a frame rule keeps 1 to 6 segments, got {self.segments}")
        if self.nucleotide not in ("own", "longest"):
            raise ConfigError(f"nucleotide of a frame rule must be own or longest, got {self.nucleotide!r}")
        if self.kind == "stop_free" and self.nucleotide != "own":
            raise ConfigError("the frame rule stop_free reads nucleotides in their own frame; use nucleotide = own")
        if self.min_aa < 1:
            raise ConfigError(f"min_aa of a frame rule must be at least 1, got {self.min_aa}")
        if not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share of a frame rule must lie in 0..1, got {self.min_share}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
