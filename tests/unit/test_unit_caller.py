"""How many processes make text beside a GPU."""

import pytest

from virnucpro.run.text_pool import text_processes


@pytest.mark.parametrize(("threads", "processes"), [(1, 0), (2, 0), (3, 1), (8, 6), (10, 8), (64, 8)])
def test_text_processes_by_threads(threads: int, processes: int) -> None:
    """With one thread there is no process, and no pool that a unit would wait for: the caller's threads make text."""
    assert text_processes(threads) == processes
