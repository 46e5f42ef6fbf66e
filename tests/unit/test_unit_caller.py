"""How many processes make text beside a GPU."""

import pytest

from virnucpro.run.unit_caller import MOST_PROCESSES, text_processes


@pytest.mark.parametrize(("threads", "processes"), [(1, 0), (2, 0), (3, 1), (8, 6), (64, MOST_PROCESSES)])
def test_text_processes_by_threads(threads: int, processes: int) -> None:
    """A worker of Ray has one thread unless asked for more: without a process, its text is made in its own threads."""
    assert text_processes(threads) == processes
