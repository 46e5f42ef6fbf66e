"""Report a lack of memory in one line, before or after it occurs."""

from __future__ import annotations

import errno
import re
import resource

from virnucpro.errors import VirnucproError

# 1.5 times the need of the libraries, the bundled model and a batch. With less, libraries may end the program
# themselves, in the middle of a run.
_MIN_BYTES = {"numpy": 256 << 20, "torch": 1536 << 20}
_ADVICE = "allow more (ulimit -v, the memory of the batch job), or use fewer --threads or a smaller --max-tokens"
# Messages of libraries that lack memory or address space.
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
    limit, minimum = resource.getrlimit(resource.RLIMIT_AS)[0], _MIN_BYTES[library]
    if limit != resource.RLIM_INFINITY and limit < minimum:
        raise MemoryLimitError(
            f"this process may use {limit >> 20} MB of address space, but needs at least {minimum >> 20} MB; allow "
            "more with ulimit -v"
        )


def as_memory_error(error: BaseException) -> MemoryLimitError | None:
    """Return the error to report if this one is due to a lack of memory, else None."""
    lacking = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not lacking and not (isinstance(error, (ImportError, RuntimeError, OSError)) and _SIGNS.search(str(error))):
        return None
    words = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return MemoryLimitError(f"out of memory ({words}); {_ADVICE}")
