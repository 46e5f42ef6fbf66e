"""What tests of several folders need."""

import ctypes
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import settings

from virnucpro.environment import make_sums_reproducible

pytest.register_assert_rewrite("support")

make_sums_reproducible()  # as the command line does, and before anything multiplies: runs are compared byte by byte

settings.register_profile("virnucpro", deadline=None)  # how long an example takes is not what tests are about
settings.load_profile("virnucpro")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Accept the limit in pyproject.toml where pytest-timeout is not installed: tests run there without one."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "seconds a test may take; needs pytest-timeout")


_LIBC = ctypes.CDLL(None)
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


def _obey_permissions() -> None:
    """Take from root, before a program starts, what lets it read and write whatever the permissions say.

    Root stays root otherwise: another user could not even reach the interpreter where root's home holds it.
    """
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        if _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError("this capability cannot be dropped")


@pytest.fixture(scope="session")
def unprivileged(tmp_path_factory) -> dict[str, Any]:
    """Arguments of `subprocess.Popen` for a program that permissions bind, also where root runs the tests."""
    keywords: dict[str, Any] = {"preexec_fn": _obey_permissions} if os.geteuid() == 0 else {}
    probe = tmp_path_factory.mktemp("probe") / "closed"
    probe.touch(mode=0)
    code = f"open({str(probe)!r})"
    try:
        done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False, **keywords)
    except (subprocess.SubprocessError, AttributeError):
        pytest.skip("root cannot give up its privileges here")
    if b"PermissionError" not in done.stderr:
        pytest.skip("permissions bind nobody here")
    return keywords


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """An input, a tiny model, and what an unbroken run makes of them, see `support.lab.Lab`."""
    from support.lab import make_lab

    return make_lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(autouse=True)
def _process_as_before():
    """Restore logging and the number of threads, which commands set for this process; seed torch's generator."""
    import torch

    root, threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = root.handlers[:], root.level
    torch.manual_seed(0)  # new layers draw from torch's own generator: not from where the tests before left it
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    if torch.get_num_threads() != threads:  # setting them starts them anew
        torch.set_num_threads(threads)


@pytest.fixture
def call(capfd):
    """Run a command in this process; return its exit code and what it said on stderr."""
    from support.commands import run

    def call(arguments: list[str]) -> tuple[int, str]:
        capfd.readouterr()
        return run(*arguments), capfd.readouterr().err

    return call
