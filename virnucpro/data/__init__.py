"""Host tensors: packing sequences into batches. No models here."""

from virnucpro.data.batch import PackedBatch, TokenSequence, pack, pad, unpad
from virnucpro.data.collators import VarlenCollator
from virnucpro.data.loader import iter_packed, map_concurrent, prefetch
from virnucpro.data.packing import pack_by_tokens, pack_rows

__all__ = [
    "PackedBatch",
    "TokenSequence",
    "VarlenCollator",
    "iter_packed",
    "map_concurrent",
    "pack",
    "pack_by_tokens",
    "pack_rows",
    "pad",
    "prefetch",
    "unpad",
]
