"""The asynchronous loader: a background thread prepares a bounded number of batches ahead.

The thread makes host tensors only. The consumer pins them and moves them to a device.
"""

from __future__ import annotations

import _thread
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from virnucpro.data.batch import PackedBatch, TokenSequence, pack
from virnucpro.data.collators import VarlenCollator
from virnucpro.data.packing import pack_by_tokens
from virnucpro.errors import ConfigError

S = TypeVar("S")
T = TypeVar("T")

# Sequences tokenised at a time, and sorted by length together.
WINDOW = 4096


def iter_packed(
    items: Iterable[tuple[str, bytes]], collator: VarlenCollator, max_tokens: int, sort: bool = True
) -> Iterator[PackedBatch]:
    """Tokenise, pack and collate a stream of (id, sequence) pairs.

    Args:
        items: pairs of an id and a sequence.
        collator: makes the batches.
        max_tokens: the token budget of a batch.
        sort: sort sequences by length within a window; the order of the items is then lost, use the ids.
    """

    def tokenized() -> Iterator[TokenSequence]:
        stream = iter(items)
        while window := list(islice(stream, WINDOW)):
            sequences = collator.tokenize(window)
            yield from sorted(sequences, key=lambda s: len(s.tokens)) if sort else sequences

    for group in pack_by_tokens(tokenized(), max_tokens):
        # A group may hold the long end of one window and the short start of the next, so sort it again.
        yield pack(sorted(group, key=lambda s: len(s.tokens)) if sort else group)


def prefetch(source: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Iterate over `source` in a background thread that reads at most `depth` items ahead.

    An exception in the thread is raised here, after the items before it. Closing the iterator stops the thread.

    Raises:
        ConfigError: `depth` is less than 1 (a queue of size 0 would have no bound).
    """
    if depth < 1:
        raise ConfigError(f"at least 1 batch must be prepared ahead, got {depth}")
    items: queue.Queue[tuple[T] | None] = queue.Queue(maxsize=depth)
    stopped, ended = threading.Event(), threading.Event()
    failure: list[BaseException] = []

    def offer(item: tuple[T] | None) -> bool:
        while not stopped.is_set():
            try:
                items.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in source:
                if not offer((item,)):
                    return
        except BaseException as error:  # raised in the consumer's thread
            failure.append(error)
        finally:
            offer(None)
            ended.set()

    try:
        # Not threading.Thread: an exception raised by a signal handler during its `start` would leave a running thread
        # that nothing stops.
        _thread.start_new_thread(work, ())
        while (item := items.get()) is not None:
            yield item[0]
        if failure:
            raise failure[0]
    finally:
        stopped.set()
        ended.wait(timeout=1.0)  # a thread that waits for input cannot be woken; it ends with the program


def map_concurrent(
    function: Callable[[S], T], items: Iterable[S], n: int, stop: Callable[[], object] = lambda: None
) -> Iterator[T]:
    """Yield the results of `function` in order, computed by `n` threads; on an error, call `stop` to end them early."""
    if n == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(n) as pool:
        pending: deque[Future[T]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > n:  # one item waits in the queue, so that no thread is idle
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            for future in pending:
                future.cancel()
            stop()
            raise
