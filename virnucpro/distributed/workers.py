"""The workers of a run, as the driver sees them: Ray places and restarts them, the driver gives them units.

A worker is a Ray actor that Ray restarts any number of times, wherever there is room. Ray would retry a lost unit only
on the same actor, so the driver gives it to the next free worker instead.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from virnucpro.distributed.cluster import Plan, import_ray
from virnucpro.distributed.worker import Order, Reply, Worker
from virnucpro.errors import ConfigError, VirnucproError
from virnucpro.files import fingerprint
from virnucpro.run.directory import Directory
from virnucpro.run.manifest import RunnerReport, WorkerCounts
from virnucpro.run.progress import PLAIN_LINE_SECONDS, say
from virnucpro.run.provenance import differences
from virnucpro.run.runner import Done
from virnucpro.run.units import Unit
from virnucpro.words import counted

# A unit that has lost this many workers is assumed to kill them.
MAX_LOST = 5


@dataclass(slots=True)
class _Worker:
    number: int
    actor: Any
    process: str = ""
    up: bool = False
    units: int = 0  # in work now
    done: int = 0
    records: int = 0
    starts: int = 0
    busy: dict[str, float] = field(default_factory=dict)  # seconds, by process
    recovered: dict[str, dict[str, int]] = field(default_factory=dict)  # by process
    ready: float | None = None  # monotonic seconds when it became ready

    @property
    def name(self) -> str:
        return f"worker {self.number} ({self.process})" if self.process else f"worker {self.number}"

    def counts(self) -> WorkerCounts:
        """Return its counts for the manifest."""
        rate = 0.0 if self.ready is None else self.records / max(time.monotonic() - self.ready, 1e-6)
        busy = round(sum(self.busy.values()), 1)
        return WorkerCounts(self.process, self.starts, self.done, self.records, round(rate, 1), busy)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A unit in Ray's object store, and the number of workers lost with it."""

    number: int
    records: int
    reference: Any
    lost: int = 0


class Workers(AbstractContextManager["Workers"]):
    """Start the workers of a plan with an order, and wait for the first, whose setup all must share.

    `same` holds the values that the driver and all workers must share, by name; the first worker adds its own. A worker
    with a GPU has `units_at_a_time`, one on a CPU has two, of which one waits.

    Raises:
        ConfigError: a worker would not give the same results.
        VirnucproError: a worker could not start.
    """

    def __init__(
        self, order: Order, plan: Plan, same: dict[str, Any], directory: Directory, units_at_a_time: int
    ) -> None:
        self._ray = import_ray()
        self._same, self._directory = same, directory
        self._most = units_at_a_time if plan.gpus else 2
        self.setup: Any = None
        remote = self._ray.remote(
            num_cpus=plan.cpus, num_gpus=plan.gpus, max_restarts=-1, max_task_retries=0,
            max_concurrency=units_at_a_time if plan.gpus else 1, scheduling_strategy="SPREAD",
        )(Worker)  # fmt: skip
        self._workers = [_Worker(number, remote.remote(order)) for number in range(1, plan.workers + 1)]
        self._calls: dict[Any, tuple[_Worker, _Piece | None]] = {}
        self._again: deque[_Piece] = deque()
        for worker in self._workers:
            self._start(worker)
        try:
            while self.setup is None:
                self._ended()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def submit(self, unit: Unit) -> Sequence[Done[Any]]:
        """Give a unit to the worker with the fewest units as soon as one has room; return units done meanwhile.

        Raises:
            VirnucproError: a worker failed for a reason other than its unit, or a unit kills workers.
        """
        self._directory.begin()
        done: list[Done[Any]] = []
        self._again.append(_Piece(unit.number, len(unit.records), self._ray.put(unit)))
        self._hand_out()
        while self._again:
            done += self._ended()
            self._hand_out()
        return done

    def finish(self) -> Iterator[Done[Any]]:
        """Yield the remaining units as they are done; see `submit`."""
        while self._again or any(piece for _, piece in self._calls.values()):
            yield from self._ended()
            self._hand_out()

    def report(self) -> RunnerReport:
        """Return the report of the work for the manifest."""
        recovered: Counter[str] = Counter()
        for worker in self._workers:
            for counts in worker.recovered.values():
                recovered.update(counts)
        return RunnerReport(dict(recovered), tuple(worker.counts() for worker in self._workers))

    def _start(self, worker: _Worker) -> None:
        worker.up = False
        self._calls[worker.actor.start.options(max_task_retries=-1).remote()] = worker, None

    def _hand_out(self) -> None:
        """Give waiting units to workers with room, one to each worker in turn."""
        while self._again:
            free = [worker for worker in self._workers if worker.up and worker.units < self._most]
            if not free:
                return
            worker, piece = min(free, key=lambda one: one.units), self._again.popleft()
            worker.units += 1
            call = worker.actor.do.remote(piece.reference, fingerprint(self._same))
            self._calls[call] = worker, piece

    def _ended(self) -> list[Done[Any]]:
        """Wait for a call to end; return its unit if it has one, nothing after a timeout."""
        errors, done = self._ray.exceptions, []
        ended, _ = self._ray.wait(list(self._calls), timeout=PLAIN_LINE_SECONDS)
        if not ended and not any(worker.up for worker in self._workers):
            say(f"waiting for workers: none of {len(self._workers)} is ready; they wait for a place or load the model")
        for call in ended:
            worker, piece = self._calls.pop(call)
            try:
                answer = self._ray.get(call)
            except errors.RayActorError as error:
                self._lost(worker, piece, error)
            except errors.RayTaskError as error:
                if isinstance(error.cause, VirnucproError):
                    raise error.cause from None
                raise
            else:
                if piece is None:
                    self._admit(worker, *answer)
                else:
                    done.append(self._done(worker, piece, answer))
        return done

    def _admit(self, worker: _Worker, process: str, setup: Any, same: dict[str, Any]) -> None:
        if changes := differences(self._same, {name: same.get(name) for name in self._same}):
            first = next((w.name for w in self._workers if w.up), "the driver")
            raise ConfigError(
                f"worker {worker.number} ({process}) would not give the same bytes as {first}: {changes}; use nodes of "
                "one kind, with one installation and one model, or name --device, --precision and --attention"
            )
        self._same, self.setup = same, self.setup or setup
        worker.process, worker.up, worker.starts = process, True, worker.starts + 1
        worker.ready = worker.ready or time.monotonic()

    def _done(self, worker: _Worker, piece: _Piece, reply: Reply) -> Done[Any]:
        worker.units, worker.done, worker.records = worker.units - 1, worker.done + 1, worker.records + piece.records
        worker.busy[reply.process], worker.recovered[reply.process] = reply.busy, reply.recovered
        return Done(piece.records, reply.counts, worker.name, worker.ready)

    def _lost(self, worker: _Worker, piece: _Piece | None, error: Exception) -> None:
        reason = str(error).strip().splitlines()
        if piece is None:  # Ray restarts lost workers, so this one could not start at all
            raise VirnucproError(f"worker {worker.number} could not start: {reason[-1]}; see above") from error
        worker.units -= 1
        if piece.lost + 1 >= MAX_LOST:
            raise VirnucproError(
                f"unit {piece.number} lost {counted(MAX_LOST, 'workers')}, the last with: {reason[0]}; "
                "its records kill the process, perhaps for lack of memory: use a smaller --unit-records or --max-tokens"
            ) from error
        self._again.append(replace(piece, lost=piece.lost + 1))
        if worker.up:
            say(f"{worker.name} was lost; other workers do its units: {reason[0]}")
            self._start(worker)
