"""Attention within packed sequences: position ids, the FlashAttention wrapper, the backends.

Sequences lie end to end. `cu_seqlens` (N+1,) int32 holds the cumulative lengths, first 0, last T.
T total tokens, N sequences, H heads, Dh head width, L length of one sequence.
This is the only module that names flash-attn or torch's varlen operator.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from virnucpro._optional import FLASH_ATTN
from virnucpro.errors import ConfigError, PackedFormatError
from virnucpro.models.grouped_sdpa import GroupedSDPA
from virnucpro.models.packed_checks import HALVES, INTEGERS, check_borders, check_packed, format_error
from virnucpro.models.positions import position_ids_unchecked

logger = logging.getLogger(__name__)

try:
    from flash_attn import __version__ as _flash_attn_version
    from flash_attn import flash_attn_varlen_func as _flash_attn_varlen_func

    FLASH_ATTN_AVAILABLE: bool = True
except Exception as error:  # a broken binary raises any error at import; treat it as absent
    _flash_attn_version, _flash_attn_varlen_func = "", None
    FLASH_ATTN_AVAILABLE = False
    if not (isinstance(error, ModuleNotFoundError) and error.name == "flash_attn"):
        logger.warning("flash-attn is installed but cannot be imported (%s: %s)", type(error).__name__, error)

if FLASH_ATTN_AVAILABLE and FLASH_ATTN.is_older(_flash_attn_version):
    logger.warning(
        "flash-attn %s has known faults in varlen attention; upgrade with: pip install --upgrade 'flash-attn>=%s'",
        _flash_attn_version,
        FLASH_ATTN.minimum,
    )


@cache
def _torch_varlen_attn() -> Callable[..., Any] | None:
    """Return torch's varlen operator, None before torch 2.10. Its import takes seconds: call this for a GPU only."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def create_position_ids_packed(cu_seqlens: Tensor) -> Tensor:
    """Return position ids that restart at 0 for each sequence of a packed batch.

    Examples:
        >>> create_position_ids_packed(torch.tensor([0, 3, 7, 10])).tolist()
        [0, 1, 2, 0, 1, 2, 3, 0, 1, 2]

    Args:
        cu_seqlens: (N+1,) integer, cumulative lengths: first 0, strictly increasing, last T.

    Returns:
        (T,) int64 on the device of cu_seqlens.

    Raises:
        PackedFormatError: cu_seqlens has another form or no integer dtype. The class is both an AssertionError and a
            ValueError.
    """
    if cu_seqlens.dtype not in INTEGERS:
        format_error(f"cu_seqlens must have an integer dtype, got {cu_seqlens.dtype}")
    borders = cu_seqlens.cpu().long()  # one synchronisation; all checks then run on the host
    check_borders(borders)
    position_ids = position_ids_unchecked(cu_seqlens, int(borders[-1]))
    if position_ids.index_select(0, cu_seqlens[:-1].int()).any():
        raise PackedFormatError("internal fault: position ids do not restart at 0 at every border of cu_seqlens")
    return position_ids


def flash_attn_varlen_wrapper(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    dropout_p: float = 0.0,
    causal: bool = False,
    softmax_scale: float | None = None,
) -> Tensor:
    """Attend within each packed sequence with FlashAttention (self-attention: one cu_seqlens for q and k).

    Each call checks all arguments, which costs one device synchronisation. Models check once per batch and call the
    backend directly.

    Args:
        q: (T, H, Dh) float16 or bfloat16, on CUDA.
        k: as q.
        v: as q.
        cu_seqlens: (N+1,) int32, first 0, strictly increasing, last T.
        max_seqlen: length of the longest sequence, or more.
        dropout_p: attention dropout probability.
        causal: let a token see only itself and earlier tokens of its sequence.
        softmax_scale: factor on the logits; None means Dh ** -0.5.

    Returns:
        (T, H, Dh), dtype of q.

    Raises:
        ImportError: flash-attn is not installed.
        RuntimeError: no CUDA device, or the tensors are not on one.
        ValueError: cu_seqlens is not int32, or q, k, v differ in shape or are not half precision.
        PackedFormatError: cu_seqlens or max_seqlen does not describe q.
    """
    if not FLASH_ATTN_AVAILABLE:
        raise ImportError(f"flash-attn is not installed; {FLASH_ATTN.install_command}")
    if not torch.cuda.is_available():
        raise RuntimeError("flash-attn needs a CUDA GPU, and torch sees none; use the 'sdpa' attention backend")
    if not (q.is_cuda and k.is_cuda and v.is_cuda and cu_seqlens.is_cuda):
        found = ", ".join(str(t.device) for t in (q, k, v, cu_seqlens))
        raise RuntimeError(f"q, k, v and cu_seqlens must be on a CUDA device, got {found}; use .to('cuda')")
    check_packed(q, k, v, cu_seqlens, max_seqlen)
    return _flash(q, k, v, cu_seqlens, max_seqlen, dropout_p=dropout_p, causal=causal, softmax_scale=softmax_scale)


class AttentionBackend(Protocol):
    """Computes attention within packed sequences: not causal, logits scaled by Dh ** -0.5.

    `refusal` returns why it does not support a device, dtype and head width ("" if it does). `prepare` does the work
    of a batch; `attend` runs once per layer and never synchronises the device. `differentiable` says whether autograd
    can go through `attend`.
    """

    @property
    def name(self) -> str: ...

    @property
    def differentiable(self) -> bool: ...

    def refusal(self, device: torch.device, dtype: torch.dtype, head_width: int, alibi: bool) -> str: ...

    def prepare(self, cu_seqlens: Tensor, max_seqlen: int) -> Any: ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, plan: Any, alibi_slopes: Tensor | None = None) -> Tensor: ...


def _half_on_gpu(device: torch.device, dtype: torch.dtype, head_width: int) -> str:
    if device.type != "cuda":
        return f"needs a CUDA GPU, the model is on {device.type}"
    if not torch.cuda.is_available():
        return "needs a CUDA GPU, and torch sees none"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "needs a GPU of compute capability 8.0 or newer"
    if dtype not in HALVES:
        return f"needs float16 or bfloat16, the model computes in {str(dtype).removeprefix('torch.')}"
    if head_width % 8 or head_width > 256:
        return f"needs a head width that is a multiple of 8 up to 256, got {head_width}"
    return ""


@cache
def _triton_fault(device: torch.device, dtype: torch.dtype) -> str:
    """Return why the Triton attention kernel cannot be compiled and launched, "" if it can."""
    try:
        from virnucpro.models.triton_attention import attention

        with torch.cuda.device(device):
            x = torch.zeros(1, 1, 16, device=device, dtype=dtype)
            attention(x, x, x, torch.tensor([0, 1], dtype=torch.int32, device=device), 1)
    except Exception as error:  # Triton needs a C compiler and a known driver, and raises any class without them
        return f"needs Triton, which cannot be used ({type(error).__name__}: {error})"
    return ""


def _triton(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, longest: int, slopes: Tensor | None) -> Tensor:
    from virnucpro.models.triton_attention import attention

    with torch.cuda.device_of(q):  # type: ignore[no-untyped-call]
        return attention(q, k, v, cu_seqlens, longest, slopes)


def _torch_varlen(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, longest: int, _: Tensor | None) -> Tensor:
    varlen_attn = _torch_varlen_attn()
    assert varlen_attn is not None  # for the type checker; `refusal` has checked it
    # Positional arguments only: the keywords changed between torch 2.10 and 2.11; their defaults are what we need.
    out: Tensor = varlen_attn(q, k, v, cu_seqlens, cu_seqlens, longest, longest)
    return out


def _flash(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, longest: int, slopes: Tensor | None = None, **options: Any
) -> Tensor:
    assert _flash_attn_varlen_func is not None  # for the type checker; callers have checked it
    out: Tensor = _flash_attn_varlen_func(
        q, k, v, cu_seqlens, cu_seqlens, longest, longest, alibi_slopes=slopes, **options
    )
    return out


def _torch_varlen_fault(device: torch.device, dtype: torch.dtype) -> str:
    return "" if _torch_varlen_attn() else f"needs torch 2.10 or newer, this is {torch.__version__}"


def _flash_fault(device: torch.device, dtype: torch.dtype) -> str:
    return "" if FLASH_ATTN_AVAILABLE else f"is not installed: {FLASH_ATTN.install_command}"


@dataclass(frozen=True, slots=True)
class VarlenBackend:
    """A kernel that reads cu_seqlens itself, on CUDA in half precision.

    `function` takes q, k, v, cu_seqlens, the longest length and the ALiBi slopes (None: no bias). `fault` returns why
    the kernel cannot be loaded for a device and dtype, "" if it can. It may import or compile, so it is called last.
    """

    name: str
    function: Callable[[Tensor, Tensor, Tensor, Tensor, int, Tensor | None], Tensor]
    fault: Callable[[torch.device, torch.dtype], str]
    alibi: bool
    differentiable: bool

    def refusal(self, device: torch.device, dtype: torch.dtype, head_width: int, alibi: bool) -> str:
        if alibi and not self.alibi:
            return "has no ALiBi"
        return _half_on_gpu(device, dtype, head_width) or self.fault(device, dtype)

    def prepare(self, cu_seqlens: Tensor, max_seqlen: int) -> tuple[Tensor, int]:
        return cu_seqlens, max_seqlen

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, plan: tuple[Tensor, int], alibi_slopes: Tensor | None = None
    ) -> Tensor:
        return self.function(q, k, v, *plan, alibi_slopes)


# In order of preference. Our own kernel has tiles for short sequences; GroupedSDPA runs everywhere.
BACKENDS: tuple[AttentionBackend, ...] = (
    VarlenBackend("triton", _triton, _triton_fault, alibi=True, differentiable=False),
    VarlenBackend("torch-varlen", _torch_varlen, _torch_varlen_fault, alibi=False, differentiable=True),
    VarlenBackend("flash-attn", _flash, _flash_fault, alibi=True, differentiable=True),
    GroupedSDPA(),
)


def explain_backends(
    device: torch.device, dtype: torch.dtype, head_width: int, alibi: bool = False
) -> list[tuple[str, str]]:
    """Return (name, reason it cannot be used or "") for every backend, in order of preference."""
    return [(backend.name, backend.refusal(device, dtype, head_width, alibi)) for backend in BACKENDS]


def choose_backend(
    device: torch.device,
    dtype: torch.dtype,
    head_width: int,
    alibi: bool = False,
    request: str = "auto",
    differentiable: bool = False,
) -> AttentionBackend:
    """Return the requested backend, or the first that supports the arguments.

    Args:
        device, dtype: of q, k and v.
        head_width: Dh.
        alibi: whether attention has an ALiBi bias.
        request: "auto" or a backend's name.
        differentiable: skip backends that autograd cannot go through.

    Raises:
        ConfigError: there is no backend of that name, or the requested one does not support the arguments.
    """
    by_name = {backend.name: backend for backend in BACKENDS}
    if request != "auto":
        if request not in by_name:
            raise ConfigError(f"attention must be auto or one of {', '.join(by_name)}, got {request!r}")
        reason = by_name[request].refusal(device, dtype, head_width, alibi)
        if reason:
            raise ConfigError(f"attention backend {request} cannot be used: it {reason}")
        return by_name[request]
    candidates = (b for b in BACKENDS if b.differentiable or not differentiable)
    return next(b for b in candidates if not b.refusal(device, dtype, head_width, alibi))
