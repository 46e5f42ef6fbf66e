"""Run the tools that `make check-integrations` installs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# An environment of its own, since their many dependencies would mix with what is tested.
TOOLS = Path(os.environ.get("VIRNUCPRO_TOOLS", ""))


@pytest.fixture
def tools():
    """Return the environment of the tools, or skip the test."""
    if not TOOLS.name:
        pytest.skip("needs other tools: make check-integrations")
    return TOOLS


@pytest.fixture
def run(tools, tmp_path):
    """Run a tool in an empty folder; it finds virnucpro on PATH, and a home that is not the user's."""
    home = tmp_path / "home"
    home.mkdir()
    folders = (Path(sys.executable).parent, tools / "bin")
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}

    def run(tool, *arguments, cwd=tmp_path, stdin=None):
        done = subprocess.run(
            [tools / "bin" / tool, *map(str, arguments)],
            cwd=cwd,
            env=environment | {"PATH": path, "HOME": str(home)},
            input=stdin,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
