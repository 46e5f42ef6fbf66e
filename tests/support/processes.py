"""Processes that run a command: waiting for them, and ending them."""

import signal
import subprocess
import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 120) -> None:
    """Wait until the condition holds or the process has ended."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.001)


def ended(process: subprocess.Popen, seconds: float = 120) -> tuple[int, str]:
    """Return the exit code and what was said on stderr, without a traceback, of a process that is to end."""
    try:
        _, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert b"Traceback" not in err, err.decode()
    return process.returncode, err.decode()


def kill(process: subprocess.Popen) -> None:
    """Kill a process that is still at work."""
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
