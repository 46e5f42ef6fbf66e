"""What the environment says: threads, memory, caches, addresses. Nothing else reads environment variables."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from virnucpro.errors import ConfigError

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU time, and in how many

# glibc's numbers for `mallopt`, and the size from which blocks are mapped and unmapped singly, and free memory at the
# end of the heap is given back: above an activation of a small model, so that the next batch finds the same pages.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 26


def default_threads() -> int:
    """Return the number of CPU cores that this process may use.

    It is SLURM's allotment if there is one, else the process's affinity, limited by the quota of its container (cgroup
    version 2).
    """
    allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if allotted.isdecimal() and int(allotted) > 0:
        return int(allotted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no file, or `max`: there is no quota
        quota, period = map(int, CPU_QUOTA.read_text().split())
        return max(1, min(cores, quota // period))
    return cores


def make_sums_reproducible() -> None:
    """Make Intel's MKL, which torch uses on most CPUs, add in the same order for any number of threads and any batch.

    MKL reads this setting only before its first product, so call this before importing torch. A user's own setting
    stays.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next batch; return whether it will.

    By default it gives every large activation back to the system, which then has to fill its pages with zeros again: up
    to a fifth of the CPU time of a small model. Settings of the user's stay, and other C libraries are left alone.
    """
    named = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")
    if any(name in os.environ for name in named) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError):  # Windows; macOS and musl
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, _KEPT_BYTES) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))


def prepare_for_torch() -> None:
    """Set up what has to be set before torch computes: the order of sums, and what becomes of freed memory."""
    make_sums_reproducible()
    keep_freed_memory()


def ray_address(given: str | None) -> str | None:
    """Return the Ray cluster to join: the one given, else RAY_ADDRESS, None for this machine only."""
    return given or os.environ.get("RAY_ADDRESS") or None


def silence_ray() -> None:
    """Turn off Ray's usage statistics, unless the user has set the variable."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def models_directory() -> Path:
    """Return the directory of downloaded models: VIRNUCPRO_MODELS, else virnucpro/models in the user's cache (XDG).

    Raises:
        ConfigError: neither is set and the user has no home directory, as for a bare user number in a container.
    """
    if named := os.environ.get("VIRNUCPRO_MODELS"):
        return Path(named)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "virnucpro" / "models"
    try:
        return Path.home() / ".cache" / "virnucpro" / "models"
    except RuntimeError as error:
        raise ConfigError(
            "models are looked up in the home directory, but there is none; set HOME or VIRNUCPRO_MODELS"
        ) from error


def launched_rank() -> tuple[int, int, int]:
    """Return rank, rank on this machine and number of processes, as torchrun sets them; (0, 0, 1) without it."""
    rank, local, world = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    if rank is None or local is None or world is None:
        return 0, 0, 1
    return int(rank), int(local), int(world)
