"""Too little memory ends a command with one line and exit code 1, wherever it shows."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from virnucpro.cli.memory import MemoryLimitError, as_memory_error, require_address_space
from virnucpro.errors import ConfigError

COMMAND = Path(sys.executable).with_name("virnucpro")
MB = 1 << 20


def limited(megabytes: int, *arguments: object) -> tuple[int, list[str]]:
    """Run a command with so much address space; return its exit code and the lines on stderr."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * MB, megabytes * MB))

    given = [COMMAND, *map(str, arguments)]
    done = subprocess.run(given, capture_output=True, text=True, check=False, preexec_fn=limit)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("megabytes", [100, 255, 400, 700, 1000, 1535])
@pytest.mark.parametrize("command", ["predict", "scan", "embed"])
def test_less_than_the_libraries_take_is_refused_before_they_are_loaded(lab, tmp_path, command, megabytes):
    code, lines = limited(megabytes, command, lab.input, "-o", tmp_path / "out", "--model", lab.model)
    assert code == 1
    [line] = lines
    assert line.startswith(f"virnucpro: error: this process may use {megabytes} MB of address space")
    assert not (tmp_path / "out").exists()


def test_check_needs_less(lab):
    assert limited(255, "check", lab.input)[0] == 1
    assert limited(500, "check", lab.input) == (0, [])


@pytest.mark.parametrize("command", ["check", "frames"])
def test_a_record_that_memory_does_not_hold_is_one_line(tmp_path, command):
    source = tmp_path / "input.fa"
    with source.open("wb") as file:
        file.write(b">a\n")
        file.truncate(300 * MB)  # zeros, which are read like letters and take no room on the disk
    output = ["-o", tmp_path / "out"] if command == "frames" else []
    code, lines = limited(400, command, source, *output)
    assert code == 1
    [line] = lines
    assert line.startswith("virnucpro: error: out of memory (")
    assert not (tmp_path / "out" / "chunks.fa").exists()


def test_the_space_that_is_left_is_compared_with_the_need_of_the_library(monkeypatch):
    for limit, refused in (
        (resource.RLIM_INFINITY, ()),
        (8 << 30, ()),
        (1 << 30, ("torch",)),
        (1 << 20, ("numpy", "torch")),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limit=limit: (limit, limit))
        for library in ("numpy", "torch"):
            if library in refused:
                with pytest.raises(MemoryLimitError, match="at least"):
                    require_address_space(library)
            else:
                require_address_space(library)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("std::bad_alloc\nat some place"),
    ],
)
def test_errors_that_come_of_too_little_memory(error):
    found = as_memory_error(error)
    assert found is not None
    assert found.exit_code == 1
    assert "\n" not in str(found)
    assert "ulimit -v" in str(found)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes differ"), ImportError("no module named x"), OSError(errno.EPIPE, "x"), ConfigError("x")],
)
def test_other_errors_are_none_of_memory(error):
    assert as_memory_error(error) is None
