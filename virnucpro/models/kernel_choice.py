"""Which kernels serve a device and a dtype, chosen once when a model is placed."""

from __future__ import annotations

import logging

import torch

from virnucpro.models.cpu_kernels import CPU
from virnucpro.models.float8 import FLOAT8
from virnucpro.models.kernels import PLAIN, Kernels

logger = logging.getLogger(__name__)


def kernels_for(device: torch.device, dtype: torch.dtype, narrow: bool = False) -> Kernels:
    """Return the kernels for dense layers in `dtype` on `device`, of a GPU with a small launch to see that they work.

    On a CPU those of `narrow` models, whose batches have a thread each, are fused (`cpu_kernels`): how several threads
    divide a product of complex numbers shows in its last bits.
    """
    if narrow and device.type == "cpu" and dtype in (torch.float32, torch.bfloat16):
        return CPU
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16, FLOAT8):
        return PLAIN
    try:
        from virnucpro.models import triton_kernels

        triton_kernels.probe(device, torch.bfloat16 if dtype == FLOAT8 else dtype)
    except Exception as error:  # Triton needs a C compiler and a driver that it knows: its faults are of any class
        logger.warning("Triton cannot be used, inference is slower (%s: %s)", type(error).__name__, error)
        return PLAIN
    return triton_kernels.TRITON
