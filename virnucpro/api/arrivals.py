"""Gather what a slow stream gives, in a thread that reads: full groups of a fast one, what has come of a slow one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# A group that is not full is closed when its first item has waited for so many seconds.
PATIENCE = 0.25


def gather(
    items: Iterable[T], weigh: Callable[[T], tuple[int, int]], n_records: int, n_bases: int, patience: float | None
) -> Iterator[list[T]]:
    """Yield consecutive items in groups, each closed once it has `n_records` or `n_bases`, by the weights of its items.

    A background thread reads one group ahead. An error of `items` is raised after the items before it.

    Args:
        items: what is read; it may be slow, and it may be endless.
        weigh: gives the records and nt of an item.
        n_records, n_bases: where a group is full.
        patience: seconds after which a group that is not full is closed, if somebody waits for it; None waits until it
            is full, so that the groups follow from the items alone.
    """
    held: list[T] = []
    weight = [0, 0]  # records and nt of what is held
    changed = threading.Condition()
    began = 0.0  # when the first of what is held came
    is_stopped = has_ended = False
    failure: list[BaseException] = []

    def is_full() -> bool:
        return weight[0] >= n_records or weight[1] >= n_bases

    def hold(item: T) -> bool:
        """Add an item once there is room; return whether reading goes on."""
        nonlocal began
        records, bases = weigh(item)
        with changed:
            changed.wait_for(lambda: is_stopped or not is_full())
            held.append(item)
            weight[0] += records
            weight[1] += bases
            if len(held) == 1:
                began = time.monotonic()
            if len(held) == 1 or is_full():
                changed.notify_all()
            return not is_stopped

    def read() -> None:
        nonlocal has_ended
        try:
            for item in items:
                if not hold(item):
                    break
        except BaseException as error:  # handed to the consumer, who raises it
            failure.append(error)
        with changed:
            has_ended = True
            changed.notify_all()

    try:
        threading.Thread(target=read, name="virnucpro reader", daemon=True).start()
        while True:
            with changed:
                changed.wait_for(lambda: held or has_ended)
                if patience is None:
                    changed.wait_for(lambda: has_ended or is_full())
                else:
                    changed.wait_for(lambda: has_ended or is_full(), max(0.0, began + patience - time.monotonic()))
                group = held[:]
                held.clear()
                weight[:] = 0, 0
                changed.notify_all()
            if not group:
                break
            yield group
            del group  # not held while the next one is waited for
        if failure:
            raise failure[0]
    finally:
        with changed:  # a thread that waits for its input cannot be woken; it ends with the program
            is_stopped = True
            changed.notify_all()
