"""Processes for the text half: the same tables as in one process, errors that pass, processes that die."""

import os
import signal
from threading import Thread

import numpy as np
import pytest

from virnucpro.config import FrameRule
from virnucpro.errors import NumericalError, VirnucproError
from virnucpro.models.tokenizers import ESM2Tokenizer, KmerTokenizer
from virnucpro.pipeline.frame_tokens import FrameScores, FrameTokens
from virnucpro.pipeline.text import TextStage, drive
from virnucpro.run.rows import UnitTables
from virnucpro.run.text_pool import TextPool
from virnucpro.scores.decision import Decision
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.screen import Limits
from virnucpro.types import Record

STAGE = TextStage(
    Limits(20, 100, max_repetition=0.5), FrameRule("longest_segments", 2, 5), KmerTokenizer(3), ESM2Tokenizer(),
    "weighted", Decision(None, None, None, 0.5), slice_chunks=7,
)  # fmt: skip


def score(tokens: FrameTokens) -> FrameScores:
    """Return scores that follow from the lengths of a frame's tokens and from its first residues."""
    starts = np.cumsum(tokens.protein_lengths) - tokens.protein_lengths
    margins = (tokens.protein_lengths % 7 - 3) + tokens.protein_tokens[starts + 1] / 10
    return FrameScores(np.stack((np.zeros(len(tokens)), margins), axis=1), margins / 2)


def block_of(number: int) -> RecordBlock:
    rng = np.random.default_rng(number)
    sequences = [rng.choice(list(b"ACGTACGTN"), rng.integers(0, 400)) for _ in range(30)]
    return RecordBlock.of([Record(f"r{i}", bytes(s.tolist()), index=i) for i, s in enumerate(sequences)])


def same(one: UnitTables, other: UnitTables) -> bool:
    return (one.sections, one.evidence.tolist(), one.tally) == (other.sections, other.evidence.tolist(), other.tally)


def expected(block: RecordBlock) -> UnitTables:
    return UnitTables.of(drive(STAGE.call(block), score), STAGE.decision, legacy=True)


@pytest.fixture(scope="module")
def pool():
    with TextPool(2) as made:
        yield made


def test_the_tables_are_those_of_one_process(pool):
    found: dict[int, UnitTables] = {}

    def work(mine: range) -> None:
        for number in mine:
            found[number] = pool.tables(STAGE, True, block_of(number), score)

    threads = [Thread(target=work, args=(range(start, 12, 4),)) for start in range(4)]  # more than processes
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(12))
    assert all(same(tables, expected(block_of(number))) for number, tables in found.items())
    assert len({tables.sections for tables in found.values()}) == 12


@pytest.mark.parametrize("error", [NumericalError("not finite"), KeyboardInterrupt()], ids=["fault", "signal"])
@pytest.mark.parametrize("turn", [1, 3])
def test_an_error_in_the_middle_leaves_the_pool_usable(pool, turn, error):
    seen = []

    def failing(tokens: FrameTokens) -> FrameScores:
        seen.append(len(tokens))
        if len(seen) == turn:
            raise error
        return score(tokens)

    for _ in range(3):  # more often than there are processes
        seen.clear()
        with pytest.raises(type(error)):
            pool.tables(STAGE, True, block_of(1), failing)
        assert len(seen) == turn
    assert same(pool.tables(STAGE, True, block_of(2), score), expected(block_of(2)))


@pytest.mark.parametrize("error", [MemoryError("no more"), ValueError("a mistake")], ids=["memory", "mistake"])
def test_an_error_in_a_process_is_raised_here_and_the_process_lives(pool, error):
    def strange(tokens: FrameTokens) -> FrameScores:
        return FrameScores(Strange(error), np.zeros(len(tokens)))

    for _ in range(3):
        with pytest.raises(type(error), match=str(error)):
            pool.tables(STAGE, True, block_of(1), strange)
    assert same(pool.tables(STAGE, True, block_of(2), score), expected(block_of(2)))


class Strange:
    """Values that lead to an error where they are used."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise self.error


def test_a_process_that_is_killed_is_an_error_with_a_remedy():
    with TextPool(1) as pool:
        [process] = pool._processes

        def killing(tokens: FrameTokens) -> FrameScores:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            return score(tokens)

        for one in (killing, score):  # who comes later does not wait for it
            with pytest.raises(VirnucproError, match=r"was lost, .* run it again with --resume"):
                pool.tables(STAGE, True, block_of(1), one)


def test_the_processes_end_with_the_pool():
    pool = TextPool(2)
    pool.close()
    assert [process.is_alive() for process in pool._processes] == [False, False]
