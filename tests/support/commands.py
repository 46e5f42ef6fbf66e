"""The command line, run in the process of the tests."""

import sys
from dataclasses import dataclass

import pytest


def run(*arguments: object) -> int:
    """Run the command line in this process; return its exit code."""
    from virnucpro.cli.main import main

    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code or 0


@dataclass
class Done:
    """The exit code of a command, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


def run_captured(capfdbinary: pytest.CaptureFixture[bytes], *arguments: object) -> Done:
    """Run the command line in this process; return its exit code and what it wrote."""
    capfdbinary.readouterr()
    code = run(*arguments)
    sys.stdout.flush()
    out, err = capfdbinary.readouterr()
    return Done(code, out.decode(errors="surrogateescape"), err.decode())
