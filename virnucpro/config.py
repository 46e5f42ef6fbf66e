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
    minimum: float = -math.inf,
    maximum: float = math.inf,
    *,
    whole: bool = False,
    inclusive: bool = True,
) -> Any:
    """Check the number given as an option or a setting; return it as an int or a float.

    Args:
        name: the setting or field, as messages name it.
        value: the number as given.
        minimum, maximum: its bounds.
        whole: accept whole numbers only.
        inclusive: accept the bounds themselves.

    Raises:
        ConfigError: it is not a number (bool and NaN are not), is infinite, or lies outside the bounds.
    """
    kind = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise ConfigError(f"{name} must be {kind}, got {value!a}", name)
    if not isinstance(value, Integral) and not math.isfinite(value):
        raise ConfigError(f"{name} must be {kind}, got {value!a}", name)
    found = int(value) if isinstance(value, Integral) else float(value)
    if (minimum <= found <= maximum) if inclusive else (minimum < found < maximum):
        return found
    if not math.isfinite(maximum):
        raise ConfigError(
            f"{name} must be {kind}, {'at least' if inclusive else 'more than'} {minimum}, got {value}", name
        )
    bounds = f"in {minimum}..{maximum}" if inclusive else f"between {minimum} and {maximum}"
    raise ConfigError(f"{name} must lie {bounds}, got {value}", name)


def _set_numbers(options: Any, bounds: Mapping[str, tuple[float, float]], **how: bool) -> None:
    """Check the numeric fields of frozen options, except None, and store them as int or float."""
    for name, (minimum, maximum) in bounds.items():
        if (value := getattr(options, name)) is not None:
            object.__setattr__(options, name, number(name, value, minimum, maximum, **how))


def _require_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, got {value!a}", name)


def _check_composition(options: Any) -> None:
    """Check the field `composition`, and make its shares floats."""
    given = options.composition
    if isinstance(given, str):
        if given not in ("sample", "equal"):
            raise ConfigError(f"composition must be sample, equal or shares of classes, got {given!a}", "composition")
        return
    if not isinstance(given, Mapping):
        raise ConfigError(f"composition must be sample, equal or shares of classes, got {given!a}", "composition")
    for name, share in given.items():
        _require_text("a class of composition", name)
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < math.inf:
            raise ConfigError(f"composition must give {name} a share of at least 0, got {share!a}", "composition")
    hosts = sum(share for name, share in given.items() if name != "virus")
    if not hosts or not given.get("virus", 0.5) < 1:
        raise ConfigError(
            "composition must give a host class a share above 0, and virus, if named, one below 1", "composition"
        )
    object.__setattr__(options, "composition", {name: float(share) for name, share in given.items()})


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
    """How to call: minimum record length (nt), minimum score of a virus or a preset, assumed share of virus.

    `min_length` (at least 3) defaults to the model's own. A `chunk_length` (nt) other than the model's own is an
    error. A calibrated model calls by `preset` (default: balanced), or by `min_score` if given; its scores assume
    `prevalence` (default: the model's own). A model without calibration calls by `min_score` (default: its own).
    With `max_fdr`, a calibrated model calls those records virus whose `fdr` is at most this, when all are known.
    `composition` says by which mixture of hosts records are judged: `sample` (estimated from all records), `equal`
    (the model's default), or the share of each host class; with `virus`, also that of virus.

    With `screen`, a small model judges each chunk first, and only chunks with as much evidence as this share of viruses
    has go on to the model. `screen_model` is that model, by name or directory (default: the one in the package).
    """

    min_length: int | None = None
    min_score: float | None = None
    chunk_length: int | None = None
    preset: str | None = None
    prevalence: float | None = None
    composition: str | dict[str, float] = "sample"
    screen: float | None = None
    screen_model: str | None = None
    max_fdr: float | None = None

    def __post_init__(self) -> None:
        for name in ("preset", "screen_model"):
            if getattr(self, name) is not None:
                _require_text(name, getattr(self, name))
        if self.screen_model is not None and self.screen is None:
            raise ConfigError(
                "screen_model needs screen, the share of viruses that it lets through, such as 0.99",
                "screen_model",
                "screen",
            )
        _check_composition(self)
        _set_numbers(self, {"min_length": (0, math.inf), "chunk_length": (3, math.inf)}, whole=True)
        _set_numbers(self, {"min_score": (0, 1), "max_fdr": (0, 1)})
        _set_numbers(self, {"prevalence": (0, 1), "screen": (0, 1)}, inclusive=False)


@dataclass(frozen=True, kw_only=True)
class Options(CallOptions, ComputeOptions):
    """How to compute (`ComputeOptions`) and how to call (`CallOptions`), by keyword."""

    def __post_init__(self) -> None:
        ComputeOptions.__post_init__(self)
        CallOptions.__post_init__(self)


@dataclass(frozen=True, slots=True)
class FrameRule:
    """Which reading frames of a chunk are used, and which sequences of each the encoders read.

    `stop_free` is the published tool's rule: every frame without a stop codon over the whole chunk.
    `longest_segments` takes the longest stop-free segment of each of the six frames and keeps the
    `segments` longest of these. A segment needs at least `min_aa` amino acids and the share `min_share` of the
    longest segment's, which is always kept: short segments add little to a long one and cost as much time.
    `nucleotide` says which nucleotides go with a frame: its `own`, or those of the chunk's `longest` segment,
    which leaves one nucleotide sequence per chunk to embed.
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
            raise ConfigError("the frame rule stop_free reads nucleotides in their own frame; set nucleotide to own")
        if self.min_aa < 1:
            raise ConfigError(f"min_aa of a frame rule must be at least 1, got {self.min_aa}")
        if not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share of a frame rule must lie in 0..1, got {self.min_share}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
