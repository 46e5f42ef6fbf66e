"""Standard streams that are closed, full or read by nobody: an error of one line and a documented exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("virnucpro")


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A record that is too short to be scored."""
    path = tmp_path_factory.mktemp("streams") / "short.fa"
    path.write_text(">a\nACGT\n")
    return path


def run(line: str, path: Path) -> tuple[int, str]:
    """Run a line of shell in which $0 is the command and $1 an input, with buffers as usual."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["sh", "-c", line, COMMAND, path], capture_output=True, text=True, check=False, env=environment, cwd=path.parent
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ['predict "$1" -o -', 'check "$1"', "--version", "models list"])
@pytest.mark.parametrize(("where", "reason"), [("/dev/full", "No space left on device"), ("&-", "Bad file descriptor")])
def test_standard_output_that_cannot_be_written(path, command, where, reason):
    code, err = run(f'"$0" {command} >{where}', path)
    assert code == 1
    assert err.splitlines()[-1].endswith(f"standard output cannot be used: {reason}")


@pytest.mark.parametrize("command", ['predict "$1" -o -', 'check "$1"'])
def test_a_reader_that_has_enough_is_no_matter(path, command):
    code, err = run(f'{{ "$0" -q {command}; echo $? >code; }} | true', path)
    assert (code, err) == (0, "")
    assert (path.parent / "code").read_text() in ("0\n", "1\n")  # it may also have written all before


def test_standard_input_that_is_closed_is_not_taken_for_an_empty_file(path):
    code, err = run('"$0" predict - -o out <&-', path)
    assert code == 65
    assert "-: Bad file descriptor" in err
    assert not (path.parent / "out" / "records.tsv").exists()


@pytest.mark.parametrize("where", ["&-", "/dev/full"])
def test_messages_that_nobody_can_read_change_nothing(path, where):
    output = f"of{where.strip('&/').replace('/', '_')}"
    assert run(f'"$0" predict "$1" -o {output} 2>{where}', path) == (0, "")
    assert (path.parent / output / "report.html").exists()
    assert run(f'"$0" check none.fa 2>{where}', path) == (66, "")
