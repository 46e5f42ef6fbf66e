"""Models: tensors in, tensors out. Names are imported on first use, because the tokenizers need no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virnucpro.models.dnabert_flash import DNABERT, DNABERTConfig
    from virnucpro.models.esm2_flash import ESM2, ESM2_SHAPES, ESM2Config
    from virnucpro.models.packed_attention import (
        FLASH_ATTN_AVAILABLE,
        create_position_ids_packed,
        flash_attn_varlen_wrapper,
    )

__all__ = [
    "DNABERT",
    "ESM2",
    "ESM2_SHAPES",
    "FLASH_ATTN_AVAILABLE",
    "DNABERTConfig",
    "ESM2Config",
    "create_position_ids_packed",
    "flash_attn_varlen_wrapper",
]

_MODULES = {
    "virnucpro.models.dnabert_flash": ("DNABERT", "DNABERTConfig"),
    "virnucpro.models.esm2_flash": ("ESM2", "ESM2_SHAPES", "ESM2Config"),
    "virnucpro.models.packed_attention": (
        "FLASH_ATTN_AVAILABLE", "create_position_ids_packed", "flash_attn_varlen_wrapper",
    ),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
