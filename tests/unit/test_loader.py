"""The loader: order, bounds, errors and the end of its thread."""

import _thread
import sys
import time
import traceback
from itertools import count, islice

import pytest

from virnucpro.data import VarlenCollator, iter_packed, loader, prefetch
from virnucpro.errors import ConfigError
from virnucpro.models.tokenizers import ESM2Tokenizer

COLLATOR = VarlenCollator(ESM2Tokenizer())


def loader_threads():
    """Return the stacks of the threads that run the loader's `work`."""
    stacks = [traceback.extract_stack(frame) for frame in sys._current_frames().values()]
    return [stack for stack in stacks if any((at.filename, at.name) == (loader.__file__, "work") for at in stack)]


def assert_ended():
    deadline = time.monotonic() + 5
    while loader_threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not loader_threads()


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_prefetch_keeps_order(depth):
    assert list(prefetch(range(50), depth)) == list(range(50))
    assert_ended()


@pytest.mark.parametrize("source", [[], [None], [None, False, 0]])
def test_prefetch_passes_every_value(source):
    assert list(prefetch(source)) == source


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_prefetch_raises_after_the_items_before(error):
    def failing():
        yield from range(5)
        raise error("broken input")

    seen = []
    with pytest.raises(error, match="broken input"):
        seen.extend(prefetch(failing()))  # keeps what came before the error
    assert seen == list(range(5))
    assert_ended()


def test_prefetch_is_bounded():
    made = []
    stream = prefetch((made.append(i) or i for i in count()), depth=3)
    assert next(stream) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)  # time to run on, if nothing held it
    assert len(made) == 5  # one taken, three waiting, one in the thread's hand
    stream.close()
    assert_ended()


def test_prefetch_refuses_a_queue_without_bound():
    with pytest.raises(ConfigError, match="at least 1"):
        next(prefetch([1], depth=0))


def test_closing_early_ends_the_thread():
    stream = prefetch(count(), depth=1)
    next(stream)
    assert loader_threads()
    stream.close()
    assert_ended()


def test_a_signal_just_after_the_start_ends_the_thread(monkeypatch):
    start = _thread.start_new_thread

    def interrupted(*arguments):
        start(*arguments)
        while not loader_threads():
            time.sleep(0.001)
        raise KeyboardInterrupt

    monkeypatch.setattr(_thread, "start_new_thread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(prefetch(count()))
    assert_ended()


@pytest.mark.parametrize("sort", [True, False])
def test_iter_packed_is_lazy(monkeypatch, sort):
    monkeypatch.setattr(loader, "WINDOW", 8)
    taken = []
    items = ((taken.append(i) or str(i), b"MK" * (1 + i % 3)) for i in count())
    batches = list(islice(iter_packed(items, COLLATOR, 40, sort=sort), 3))
    assert len(batches) == 3
    assert len(taken) <= 8 * 4


def test_sorting_brings_lengths_together(monkeypatch):
    monkeypatch.setattr(loader, "WINDOW", 6)
    items = [(str(i), b"M" * n) for i, n in enumerate([9, 1, 8, 2, 7, 3, 9, 1])]
    sorted_ = list(iter_packed(items, COLLATOR, 12))
    # lengths with <cls> and <eos>: 11 3 10 4 9 5 in the first window, 11 3 in the second
    assert [b.cu_seqlens.diff().tolist() for b in sorted_] == [[3, 4, 5], [9], [10], [11], [3], [11]]
    plain = [name for batch in iter_packed(items, COLLATOR, 12, sort=False) for name in batch.sequence_ids]
    assert plain == [name for name, _ in items]
    assert sorted(name for batch in sorted_ for name in batch.sequence_ids) == sorted(plain)


def test_errors_of_the_tokenizer_reach_the_consumer():
    def tokenizer(sequences):
        raise UnicodeDecodeError("ascii", b"\xff", 0, 1, "not ASCII")

    with pytest.raises(UnicodeDecodeError, match="not ASCII"):
        list(prefetch(iter_packed([("a", b"\xff")], VarlenCollator(tokenizer), 10)))
