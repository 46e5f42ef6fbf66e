"""Groups of what a stream gives: full ones of a fast stream, what has come of a slow one."""

import threading
from itertools import count

import pytest

from virnucpro.api.arrivals import gather


def weigh(item: int) -> tuple[int, int]:
    return 1, item


@pytest.mark.parametrize("patience", [None, 60.0])
def test_groups_of_a_fast_stream_follow_from_the_items(patience):
    assert list(gather([1] * 7, weigh, 3, 100, patience)) == [[1, 1, 1], [1, 1, 1], [1]]
    assert list(gather([5, 5, 1, 30, 2], weigh, 9, 10, patience)) == [[5, 5], [1, 30], [2]]
    assert list(gather([], weigh, 3, 100, patience)) == []


def test_what_has_come_of_a_slow_stream_is_not_held_back():
    go_on = threading.Event()

    def slow():
        yield from (1, 2)
        go_on.wait()
        yield 3

    groups = gather(slow(), weigh, 100, 100, 0.01)
    first = next(groups)  # would wait for ever if the stream had to go on
    while sum(map(len, [first])) < 2:
        first += next(groups)
    assert first == [1, 2]
    go_on.set()
    assert list(groups) == [[3]]


def test_an_error_comes_after_the_items_before_it():
    def faulty():
        yield from (1, 2, 3)
        raise OSError("gone")

    found = []
    with pytest.raises(OSError, match="gone"):
        found.extend(group for group in gather(faulty(), weigh, 2, 100, None))
    groups = gather(faulty(), weigh, 2, 100, None)
    assert [next(groups), next(groups)] == [[1, 2], [3]]
    with pytest.raises(OSError, match="gone"):
        next(groups)


@pytest.mark.parametrize("patience", [None, 0.01])
def test_no_more_than_a_group_is_read_ahead_and_reading_stops_with_the_consumer(patience):
    read, ended = [], threading.Event()

    def endless():
        try:
            for number in count():
                read.append(number)
                yield 1
        finally:
            ended.set()

    groups = gather(endless(), weigh, 4, 100, patience)
    taken = sum(len(next(groups)) for _ in range(5))
    assert len(read) <= taken + 4 + 1  # a group, and the item for which there is no room
    groups.close()
    assert ended.wait(60)
