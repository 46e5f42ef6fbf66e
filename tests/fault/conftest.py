"""The lab of all tests of this folder, and the command line in this process."""

import logging

import pytest
import torch
from lab import Lab, make_lab

from virnucpro.cli.main import main


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def call(capfd):
    """Run a command in this process; return its exit code and what it said on stderr."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    threads = torch.get_num_threads()

    def run(arguments: list[str]) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return end.value.code or 0, capfd.readouterr().err

    yield run
    torch.set_num_threads(threads)
    root.handlers[:] = handlers
    root.setLevel(level)
