"""virnucpro: find viral sequences among short DNA with packed transformer encoders.

>>> import virnucpro
>>> for call in virnucpro.predict("reads.fastq.gz"):  # doctest: +SKIP
...     print(call.id, call.prediction, call.virus_score)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virnucpro.api.called import Calls
    from virnucpro.api.calling import predict
    from virnucpro.api.embedding import embed
    from virnucpro.api.scanning import scan
    from virnucpro.config import Options
    from virnucpro.errors import VirnucproError
    from virnucpro.pipeline.engines import DNABERT, ESM2
    from virnucpro.pipeline.predict import Predictor
    from virnucpro.pretrained.registry import load_model
    from virnucpro.run.scan import FoundRegion
    from virnucpro.seq import read_pairs, read_records
    from virnucpro.types import Call, Prediction, Record, Status

__version__ = "0.1.0"

__all__ = [
    "DNABERT",
    "ESM2",
    "Call",
    "Calls",
    "FoundRegion",
    "Options",
    "Prediction",
    "Predictor",
    "Record",
    "Status",
    "VirnucproError",
    "__version__",
    "embed",
    "load_model",
    "predict",
    "read_pairs",
    "read_records",
    "scan",
]

# The module of each name, imported on first use, so that `import virnucpro` is fast.
_HOMES = {
    "virnucpro.api.called": ("Calls",),
    "virnucpro.api.calling": ("predict",),
    "virnucpro.api.embedding": ("embed",),
    "virnucpro.api.scanning": ("scan",),
    "virnucpro.config": ("Options",),
    "virnucpro.errors": ("VirnucproError",),
    "virnucpro.pretrained.registry": ("load_model",),
    "virnucpro.pipeline.engines": ("DNABERT", "ESM2"),
    "virnucpro.pipeline.predict": ("Predictor",),
    "virnucpro.run.scan": ("FoundRegion",),
    "virnucpro.seq": ("read_pairs", "read_records"),
    "virnucpro.types": ("Call", "Prediction", "Record", "Status"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
