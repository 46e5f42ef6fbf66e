"""The shell in which commands of the documents run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.pages import ROOT
from docs.warm import CLIENT
from support.processes import wait_for

WARM = Path(__file__).with_name("warm.py")


@pytest.fixture(scope="session")
def shell(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of a user's shell, in which `virnucpro` and `python` are clients of a process that is warm."""
    home = tmp_path_factory.mktemp("home")
    (home / "bin").mkdir()
    for name in ("virnucpro", "python"):
        client = home / "bin" / name
        client.write_text(CLIENT)
        client.chmod(0o755)
    environment = {
        "HOME": str(home), "PATH": f"{home / 'bin'}:/usr/bin:/bin", "WARM_SOCKET": str(home / "socket"),
        "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg", "COLUMNS": "120",
        "SLURM_CPUS_PER_TASK": "1",  # threads of such small work wait for each other where others are busy
    }  # fmt: skip
    inherited = {name: value for name, value in os.environ.items() if name not in ("PATH", "HOME")}
    server = subprocess.Popen([sys.executable, str(WARM), environment["WARM_SOCKET"]], env=inherited | environment)
    try:
        wait_for((home / "socket").exists, server)
        yield environment
    finally:
        server.kill()
        server.wait()
