"""What is set up before torch computes: memory that the C library keeps, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

# Page faults of 20 blocks of 16 MB, each filled and freed: before memory is kept, and after.
FAULTS = """
import resource
from virnucpro.environment import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        b"x" * (1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), int(keep_freed_memory()), faults())
"""
# Whoever runs the tests may have some of these: each case has exactly its own.
MALLOC = {name: value for name, value in os.environ.items() if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}


def run(settings):
    environ = {name: value for name, value in os.environ.items() if name not in MALLOC}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**environ, **settings}, capture_output=True, text=True, check=True
    )
    return map(int, done.stdout.split())


def on_glibc():
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError):
        return False


@pytest.mark.skipif(not on_glibc(), reason="only glibc has these settings")
def test_freed_memory_is_kept_and_faults_no_pages_again():
    before, kept, after = run({})
    assert kept
    assert after < before / 4


@pytest.mark.parametrize(
    "settings",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"},
    ],
    ids=["trim threshold", "mmap threshold", "tunables"],
)
def test_settings_of_the_user_stay(settings):
    before, kept, after = run(settings)
    assert not kept
    assert after > before / 4
