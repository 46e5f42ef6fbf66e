"""Frozen, validated configuration. A configuration is also what a run's fingerprint is made from."""

from __future__ import annotations

import math
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
        name: of the setting, in messages.
        value: what was given.
        least, most: its bounds; with `inclusive` they may be reached.

    Raises:
        ConfigError: it is no number (bool and NaN are none), is infinite, or lies outside the bounds.
    """
    kind = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise ConfigError(f"{name} must be {kind}, got {value!a}")
    if not isinstance(value, Integral) and not math.isfinite(value):
        raise ConfigError(f"{name} must be {kind}, got {value!a}")
    found = int(value) if isinstance(value, Integral) else float(value)
    if (least <= found <= most) if inclusive else (least < found < most):
        return found
    if not math.isfinite(most):
        raise ConfigError(f"{name} must be {kind}, {'at least' if inclusive else 'more than'} {least}, got {value}")
    raise ConfigError(
        f"{name} must lie {f'in {least}..{most}' if inclusive else f'between {least} and {most}'}, got {value}"
    )


def option(field: str) -> str:
    """Return how messages name a field that is an option of the command line, too.

    >>> option("prevalence"), option("min_score")
    ('--prevalence', '--min-score (min_score)')
    """
    dashed = f"--{field.replace('_', '-')}"
    return f"{dashed} ({field})" if "_" in field else dashed


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
