"""Files that appear whole or not at all, under temporary names that no two writers share."""

import os
import re

import pytest

from virnucpro.errors import OutputError
from virnucpro.files import atomic_path, is_temporary, leftovers


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "table.tsv"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
        assert not path.exists()
        assert is_temporary(first.name)
    assert path.read_text() == "first"  # whose block ends last
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_could_not_be_written_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"table\.tsv cannot be written: "), atomic_path(tmp_path / "table.tsv"):
        pass
    with pytest.raises(KeyError), atomic_path(tmp_path / "table.tsv") as temporary:
        _ = {temporary.write_text("half"): 1}[0]  # a KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_found_by_the_names_of_the_files(tmp_path):
    pid = os.fork()
    if pid == 0:
        with atomic_path(tmp_path / "unit_000001") as temporary:
            temporary.write_text("half")
            os._exit(0)  # as if killed: nothing is cleaned up
    os.waitpid(pid, 0)
    (left,) = tmp_path.iterdir()
    for name in ("unit_000001", "unit_1.tmp", ".unit_000001.tmp", ".notes.node-1-2.tmp", f"{left.name}.old"):
        (tmp_path / name).write_text("mine")
    assert leftovers(tmp_path, re.compile(r"unit_\d{6}")) == [left]
    assert leftovers(tmp_path, re.compile("unit")) == []
