"""Worker processes for the text work beside a GPU: frames and tokens before the device, votes and rows after it.

Who waits for whom: each unit has a thread of the runner. The thread takes a free process and sends it the block. It
then passes tokens from the process to the device and scores back, some thousand chunks at a time. At the end the
process sends the rows. A process waits for the device while other processes prepare tokens; the device never waits
while a process has tokens ready. No two units share a process or a batch. The processes start while the model is
loaded, and receive the text stage with their first block. Nothing here imports torch, which would cost each process a
second and 300 MB.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from virnucpro.environment import default_threads
from virnucpro.errors import VirnucproError
from virnucpro.pipeline.calls import CallTable
from virnucpro.pipeline.frame_tokens import FrameScores, FrameTokens
from virnucpro.pipeline.text import TextStage
from virnucpro.run.rows import UnitTables
from virnucpro.seq.block import RecordBlock

MAX_PROCESSES = 8
# Cores that a GPU can use at most: one for each process, one for the thread that launches kernels, one for reading.
MAX_CORES = MAX_PROCESSES + 2

Score = Callable[[FrameTokens], FrameScores]


class TextPool(AbstractContextManager["TextPool"]):
    """A pool of `size` processes with copies of a text stage, started once and used by any number of threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        # A forked copy of a process with threads and a GPU would not work.
        context = multiprocessing.get_context("spawn")
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._processes = []
        # Signals that the terminal or a batch system sends to all processes are for this one, which ends the others.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            for _ in range(size):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs,), daemon=True)
                process.start()
                theirs.close()
                self._processes.append(process)
                self._free.put(_Process(ours))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all processes."""
        for process in self._processes:
            process.kill()  # they have nothing to lose
        for process in self._processes:
            process.join()

    def tables(self, stage: TextStage, legacy: bool, block: RecordBlock, score: Score) -> UnitTables:
        """Return the tables of a block, with `score` to score its tokens; `stage` and `legacy` are always the same.

        Raises:
            VirnucproError: a process ended, for example for lack of memory.
        """
        process = self._free.get()
        connection = process.connection
        try:
            if not process.has_stage:
                connection.send((stage, legacy))
                process.has_stage = True
            connection.send(block)
            while isinstance(answer := connection.recv(), FrameTokens):
                connection.send(score(answer))
        except (EOFError, ConnectionError) as error:
            raise VirnucproError(
                "a process that prepares text for the GPU was lost, perhaps killed for lack of memory; run it again "
                "with --resume, and with more memory or fewer --threads"
            ) from error
        except BaseException:
            with suppress(OSError, EOFError):  # otherwise it would wait for scores forever
                connection.send(None)
                connection.recv()
            raise
        finally:
            self._free.put(process)  # a lost one too: a thread that waits for one must not wait forever
        if isinstance(answer, Exception):
            raise answer
        tables: UnitTables = answer
        return tables


@dataclass(slots=True)
class _Process:
    """The connection to a process, and whether it has the text stage."""

    connection: Connection
    has_stage: bool = False


def _serve(connection: Connection) -> None:
    """Receive the text stage, then serve blocks until the other end of the connection is closed."""
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        stage, legacy = connection.recv()
        while True:
            connection.send(_answer(connection, stage, connection.recv(), legacy))


def _answer(
    connection: Connection, stage: TextStage, block: RecordBlock, legacy: bool
) -> UnitTables | Exception | None:
    """Return the tables of a block, or the error that it raised; None if its scores could not be computed."""
    calling = stage.call(block)
    try:
        tokens = next(calling)
        while True:
            connection.send(tokens)
            scores = connection.recv()
            if scores is None:
                return None
            tokens = calling.send(scores)
    except StopIteration as end:
        calls: CallTable = end.value
        return UnitTables.of(calls, stage.decision, legacy)
    except Exception as error:
        return error


def text_processes(threads: int | None) -> int:
    """Return how many processes make text beside a GPU: two less than the threads asked for, or than the cores."""
    return max(0, min(MAX_PROCESSES, (threads or default_threads()) - (MAX_CORES - MAX_PROCESSES)))
