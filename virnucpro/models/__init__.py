"""Models: tensors in, tensors out."""

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
