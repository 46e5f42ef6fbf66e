"""The workers of a run, as its driver sees them: Ray places and restarts them, the driver hands each its next units.

A worker is a Ray actor that Ray restarts wherever there is room, without end. Its units are not tried again by Ray,
which would wait for this very actor: the driver gives them to the worker that is free next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from virnucpro.distributed.cluster import Plan, import_ray
from virnucpro.distributed.worker import Reply, Worker
from virnucpro.errors import ConfigError, VirnucproError
from virnucpro.files import fingerprint
from virnucpro.run.progress import PLAIN_LINE_SECONDS, Counter, say
from virnucpro.run.provenance import differences
from virnucpro.run.units import Unit

# Units that a worker has at a time. On a GPU it works on both: the text stage and the writing of one go on while the
# device computes for the other. On a CPU the second lies ready.
IN_FLIGHT = 2
# A unit that has lost so many workers is what kills them.
MOST_LOST = 5


@dataclass(slots=True)
class _Worker:
    number: int
    actor: Any
    process: str = ""
    up: bool = False
    units: int = 0  # it has now
    done: int = 0
    records: int = 0
    starts: int = 0
    busy: dict[str, float] = field(default_factory=dict)  # seconds, by process
    recovered: dict[str, dict[str, int]] = field(default_factory=dict)  # by process

    @property
    def name(self) -> str:
        return f"worker {self.number} ({self.process})" if self.process else f"worker {self.number}"

    def to_json(self, rate: float) -> dict[str, Any]:
        told = {"process": self.process, "starts": self.starts, "units": self.done, "records": self.records}
        return {**told, "records_per_second": round(rate, 1), "busy_seconds": round(sum(self.busy.values()), 1)}


@dataclass(frozen=True, slots=True)
class _Piece:
    """A unit in Ray's object store, and how many workers were lost with it."""

    number: int
    records: int
    reference: Any
    lost: int = 0


class Workers(AbstractContextManager["Workers"]):
    """Start workers with `settings` by a plan, and wait for the first.

    `same` is what must be the same here and there, by name; the first worker adds to it what is told of its model.

    Raises:
        ConfigError: a worker would not give the same results.
        VirnucproError: what kept a worker from starting.
    """

    def __init__(self, settings: dict[str, Any], plan: Plan, same: dict[str, Any]) -> None:
        self._ray = import_ray()
        self._same = same
        self.told: dict[str, Any] = {}
        remote = self._ray.remote(
            num_cpus=plan.cpus, num_gpus=plan.gpus, max_restarts=-1, max_task_retries=0,
            max_concurrency=IN_FLIGHT if plan.gpus else 1, scheduling_strategy="SPREAD",
        )(Worker)  # fmt: skip
        self._workers = [_Worker(number, remote.remote(settings)) for number in range(1, plan.workers + 1)]
        self._calls: dict[Any, tuple[_Worker, _Piece | None]] = {}
        self._again: deque[_Piece] = deque()
        self._counter = Counter()
        for worker in self._workers:
            self._start(worker)
        try:
            while not self.told:
                list(self._ended())
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def do(self, units: Iterator[Unit], counter: Counter) -> Iterator[Any]:
        """Hand out the units as workers are free and yield the counts of each that is done, in any order.

        Raises:
            VirnucproError: a worker met with an error that is not the unit's, or a unit kills workers.
        """
        self._counter = counter
        while True:
            self._hand_out(units)
            if not any(piece for _, piece in self._calls.values()) and not self._again:
                return
            yield from self._ended()

    def summary(self) -> dict[str, Any]:
        """Return what run.json says at the end."""
        recovered: dict[str, int] = {}
        for told in (told for worker in self._workers for told in worker.recovered.values()):
            recovered = {name: recovered.get(name, 0) + number for name, number in told.items()}
        rates = self._counter.rates()
        rows = [worker.to_json(rates.get(worker.name, 0)) for worker in self._workers]
        return {"recovered": recovered, "engine": "ray", "workers": rows}

    def _start(self, worker: _Worker) -> None:
        worker.up = False
        self._calls[worker.actor.start.options(max_task_retries=-1).remote()] = worker, None

    def _hand_out(self, units: Iterator[Unit]) -> None:
        for most in range(1, IN_FLIGHT + 1):  # one for each, then the next
            for worker in self._workers:
                if worker.up and worker.units < most:
                    piece = self._again.popleft() if self._again else self._read(units)
                    if piece is None:
                        return
                    worker.units += 1
                    call = worker.actor.do.remote(piece.reference, fingerprint(self._same))
                    self._calls[call] = worker, piece

    def _read(self, units: Iterator[Unit]) -> _Piece | None:
        unit = next(units, None)
        return None if unit is None else _Piece(unit.number, len(unit.records), self._ray.put(unit))

    def _ended(self) -> Iterator[Any]:
        """Wait for a call to end; yield the counts if it is a unit's."""
        errors = self._ray.exceptions
        ended, _ = self._ray.wait(list(self._calls), timeout=PLAIN_LINE_SECONDS)
        if not ended and not any(worker.up for worker in self._workers):
            say(f"waiting for workers: none of {len(self._workers)} has a place in the cluster yet, or all load")
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
                    yield self._done(worker, piece, answer)

    def _admit(self, worker: _Worker, process: str, told: dict[str, Any], same: dict[str, Any]) -> None:
        if changes := differences(self._same, {name: same.get(name) for name in self._same}):
            first = next((w.name for w in self._workers if w.up), "the driver")
            raise ConfigError(
                f"worker {worker.number} ({process}) would not give the same bytes as {first}: {changes}; use nodes of "
                "one kind, with one installation and one model, or name --device, --precision and --attention"
            )
        self._same, self.told = same, self.told or told
        worker.process, worker.up, worker.starts = process, True, worker.starts + 1
        self._counter.begin(worker.name)

    def _done(self, worker: _Worker, piece: _Piece, reply: Reply) -> Any:
        worker.units, worker.done, worker.records = worker.units - 1, worker.done + 1, worker.records + piece.records
        worker.busy[reply.process], worker.recovered[reply.process] = reply.busy, reply.recovered
        self._counter.advance(piece.records, worker.name)
        return reply.counts

    def _lost(self, worker: _Worker, piece: _Piece | None, error: Exception) -> None:
        reason = str(error).strip().splitlines()
        if piece is None:  # Ray restarts it without end, so this one failed by itself
            raise VirnucproError(f"worker {worker.number} could not start: {reason[-1]}; see above") from error
        worker.units -= 1
        if piece.lost + 1 >= MOST_LOST:
            raise VirnucproError(
                f"unit {piece.number} lost {MOST_LOST} workers, the last with: {reason[0]}; its records kill the "
                "process (memory of the node?): try a smaller --unit-records or --max-tokens"
            ) from error
        self._again.append(replace(piece, lost=piece.lost + 1))
        if worker.up:
            say(f"{worker.name} was lost; what it had is done elsewhere: {reason[0]}")
            self._start(worker)
