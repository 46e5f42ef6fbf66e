"""End the processes of a Ray cluster whose driver is gone, and remove its directory.

A killed driver cannot clean up. Ray's own processes notice its end after up to a minute, and some only after they have
started. So a small process in a session of its own watches the driver and kills the processes that its cluster left.
It runs without the package, so it starts at once and needs little memory.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Every process of the cluster starts with this environment variable; its value is the directory of the cluster.
MARK = "VIRNUCPRO_RAY_DIRECTORY"
SECONDS = 0.5  # between two searches for processes
MAX_SECONDS = 60  # for all searches; a process that waits for a broken disk cannot be killed


@contextmanager
def watched(directory: Path) -> Iterator[None]:
    """Watch this process during the block; when either ends, kill what is left of the cluster in `directory`.

    This needs /proc, where Linux shows the variables of processes. Elsewhere Ray's own cleanup must do.
    """
    command = [sys.executable, "-I", __file__, str(os.getpid()), str(directory)]
    nothing = subprocess.DEVNULL
    # In a session of its own, because Ctrl-C at a terminal would end it first.
    process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    try:
        yield
    finally:
        sweep(directory)
        process.kill()
        process.wait()


def sweep(directory: Path) -> None:
    """Kill the processes of the cluster in `directory` until two searches in a row find none."""
    deadline, empty = time.monotonic() + MAX_SECONDS, 0
    while empty < 2 and time.monotonic() < deadline:
        found = list(members(directory))
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        empty = 0 if found else empty + 1
        time.sleep(SECONDS / 5)


def members(directory: Path) -> Iterator[int]:
    """Yield the processes of the cluster in a directory.

    They have its mark among their variables, or write to files in it, because Ray's workers and agents overwrite their
    variables with their title. Copies of this process share its files but are not members.
    """
    mark, own = os.fsencode(f"{MARK}={directory}"), Path("/proc/self/cmdline")
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is another user's
            if (folder / "cmdline").read_bytes() == own.read_bytes():
                continue
            if mark in (folder / "environ").read_bytes().split(b"\0") or _writes_in(folder, directory):
                yield int(folder.name)


def _writes_in(process: Path, directory: Path) -> bool:
    """Return whether a process, given by its folder in /proc, has a file in a directory open for writing."""
    for link in (process / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if os.readlink(link).startswith(f"{directory}/"):
                flags = (process / "fdinfo" / link.name).read_text().partition("flags:")[2].split()[0]
                if int(flags, 8) & os.O_ACCMODE:
                    return True
    return False


def main(driver: int, directory: Path) -> None:
    """Wait until the driver, which is the parent, is gone; then kill its processes and remove its directory."""
    while os.getppid() == driver:
        time.sleep(SECONDS)
    sweep(directory)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
