"""Memory that a process may not have: said in one line, before or after it is missing."""

from __future__ import annotations

import errno
import re
import resource

from virnucpro.errors import VirnucproError

# What the libraries, the bundled model and a batch take, and half as much again: with less, libraries may end the
# program themselves, in the middle of a run.
_MIN_BYTES = {"numpy": 256 << 20, "torch": 1536 << 20}
_ADVICE = "allow more (ulimit -v, the memory of the batch job), or use fewer --threads or a smaller --max-tokens"
# How libraries say that there is no memory, or no address space for them.
_SIGNS = re.compile(
    r"allocate memory|allocate \d+ bytes|not enough memory|out of memory|bad_alloc|can't start new thread"
    r"|failed to map segment|cannot (create|apply|enable|change|map)",
    re.IGNORECASE,
)


class MemoryLimitError(VirnucproError):
    """There is less memory than a command needs."""


def require_address_space(library: str) -> None:
    """Check that the limit of this process's address space leaves room for numpy or torch.

    Raises:
        MemoryLimitError: it does not.
    """
    limit, least = resource.getrlimit(resource.RLIMIT_AS)[0], _MIN_BYTES[library]
    if limit != resource.RLIM_INFINITY and limit < least:
        raise MemoryLimitError(
            f"this process may use {limit >> 20} MB of address space (ulimit -v), at least {least >> 20} MB are "
            "needed; allow more"
        )


def as_memory_error(error: BaseException) -> MemoryLimitError | None:
    """Return the error to report if this one comes of too little memory, else None."""
    lacking = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not lacking and not (isinstance(error, (ImportError, RuntimeError, OSError)) and _SIGNS.search(str(error))):
        return None
    words = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return MemoryLimitError(f"memory is used up ({words}); {_ADVICE}")
