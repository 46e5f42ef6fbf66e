"""Choose the kernels for a device and a dtype, once, when a model is placed."""

from __future__ import annotations

import logging

import torch

from virnucpro.models.cpu_kernels import CPU
from virnucpro.models.float8 import FLOAT8
from virnucpro.models.kernels import PLAIN, Kernels

logger = logging.getLogger(__name__)


def kernels_for(device: torch.device, dtype: torch.dtype, narrow: bool = False) -> Kernels:
    """Return the kernels for dense layers in `dtype` on `device`; on a GPU, launch one to check that they work.

    On a CPU only `narrow` models get the fused kernels (`cpu_kernels`). Their batches have one thread each; with
    several threads the last bits of a complex product depend on how the threads divide it.
    """
    if narrow and device.type == "cpu" and dtype in (torch.float32, torch.bfloat16):
        return CPU
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16, FLOAT8):
        return PLAIN
    try:
        from virnucpro.models import triton_kernels

        triton_kernels.probe(device, torch.bfloat16 if dtype == FLOAT8 else dtype)
    except Exception as error:  # Triton needs a C compiler and a known driver, and raises any class without them
        logger.warning(
            "Triton does not work here, so inference is slower (%s: %s); it needs a C compiler",
            type(error).__name__,
            error,
        )
        return PLAIN
    return triton_kernels.TRITON
