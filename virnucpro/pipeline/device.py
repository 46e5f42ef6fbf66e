"""Choose the device, the precision and the use of threads."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from virnucpro.environment import default_threads
from virnucpro.errors import ConfigError
from virnucpro.models.encoder import PackedEncoder
from virnucpro.words import counted

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}


def choose_device(name: str) -> torch.device:
    """Return the device named auto, cpu, cuda or cuda:N; auto takes the first GPU if there is one.

    Raises:
        ConfigError: the name is unknown, or there is no such device.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    device = torch.device(name)
    if device.type == "cuda":
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= n_gpus:
            raise ConfigError(f"there is no device {name}: torch sees {counted(n_gpus, 'CUDA GPUs')}; use --device cpu")
        return torch.device("cuda", device.index or 0)
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return fp32, bf16, fp16 or fp8; auto is bf16 on a GPU and on a CPU with bf16 instructions, else fp32.

    Raises:
        ConfigError: there is no such precision, or the device does not support it.
    """
    if name == "auto":
        return "bf16" if device.type == "cuda" or _cpu_multiplies_bf16() else "fp32"
    if name not in PRECISIONS:
        raise ConfigError(f"precision must be auto, {', '.join(PRECISIONS)}, got {name!r}")
    if name == "fp8" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9)):
        raise ConfigError(f"precision fp8 needs a GPU of compute capability 8.9 or later, got {device}; use bf16")
    return name


def _cpu_multiplies_bf16() -> bool:
    """Return whether the CPU has bf16 instructions, and oneDNN may use them (ONEDNN_MAX_CPU_ISA can forbid that)."""
    if not torch.cpu._is_avx512_bf16_supported():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def divide_threads(models: Sequence[PackedEncoder], threads: int | None) -> int:
    """Return how many batches to compute at a time, and set the number of threads of torch's operators.

    If a model is narrow, each thread computes a batch of its own; otherwise all threads share each operator. The
    default is one thread for each available core, but at most 4 beside a GPU, which leaves them little to do.

    Args:
        models: already on their device.
        threads: the total number, None: the default.
    """
    on_gpu = next(models[0].parameters()).device.type != "cpu"
    threads = threads or (min(default_threads(), 4) if on_gpu else default_threads())
    batches = threads if any(model.narrow for model in models) else 1
    torch.set_num_threads(threads // batches)
    return batches
