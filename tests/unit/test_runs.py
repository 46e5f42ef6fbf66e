"""The main loop, the runner of this process and the beginning of a run, with a task that needs no model."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from virnucpro.run.directory import RunDirectory
from virnucpro.run.manifest import Manifest
from virnucpro.run.run import run
from virnucpro.run.state import RunState
from virnucpro.run.tally import EmbedTally
from virnucpro.run.units import Unit, iter_units
from virnucpro.types import Record

UNITS = list(iter_units([Record(f"r{i}", b"ACGT", index=i) for i in range(12)], 2, 1000))


@dataclass
class CountingTask:
    """Counts the records of units, `at_a_time` of them; unit `fails` is an error, after which all else waits."""

    at_a_time: int = 1
    fails: int | None = None
    setup: str = "as it was opened"
    done: list[int] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def open(self, directory: Path) -> "CountingTask":
        return self

    def do(self, unit: Unit) -> EmbedTally:
        if unit.number == self.fails:
            raise ValueError(f"unit {unit.number}")
        if self.fails is not None and unit.number > self.fails:
            self.stopped.wait(60)
        self.done.append(unit.number)
        return EmbedTally(len(unit.records), 0)

    def recovered(self) -> dict[str, int]:
        return {"units": len(self.done)}

    def stop(self) -> None:
        self.stopped.set()


@dataclass
class ListedUnits:
    """An output of listed units, of which some are kept of an earlier run."""

    task: CountingTask
    directory: Path
    earlier: tuple[int, ...] = ()
    complete: bool = False
    source: None = None
    finished: list[str] = field(default_factory=list)

    @contextmanager
    def opened(self) -> Iterator[None]:
        self.finished.append("opened")
        yield
        self.finished.append("closed")

    def start(self, setup):
        assert setup == "as it was opened"
        return None if self.complete else RunState(EmbedTally())

    def units(self, state):
        for unit in UNITS:
            state.read(unit)
            yield unit

    def kept(self, unit):
        return EmbedTally(len(unit.records), 0) if unit.number in self.earlier else None

    def finish(self, state, report):
        assert report.recovered == {"units": len(UNITS) - len(self.earlier)}
        self.finished.append("finished")


@pytest.mark.parametrize("at_a_time", [1, 2, 5])
@pytest.mark.parametrize("earlier", [(), (1, 2, 5), tuple(range(len(UNITS)))], ids=str)
def test_units_are_kept_or_done(tmp_path, at_a_time, earlier):
    output = ListedUnits(CountingTask(at_a_time), tmp_path, earlier)
    state = run(output)
    assert sorted(output.task.done) == [unit.number for unit in UNITS if unit.number not in earlier]
    assert (state.tally, state.units.all, state.units.kept) == (EmbedTally(12, 0), len(UNITS), len(earlier))
    assert state.digest.content().records == 12
    assert output.finished == ["opened", "finished", "closed"]
    assert output.task.stopped.is_set()


def test_a_complete_run_does_nothing(tmp_path):
    output = ListedUnits(CountingTask(), tmp_path, complete=True)
    assert run(output) is None
    assert (output.task.done, output.finished) == ([], ["opened", "closed"])


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_an_error_of_a_unit_stops_the_others(tmp_path, at_a_time):
    output = ListedUnits(CountingTask(at_a_time, fails=2), tmp_path)
    with pytest.raises(ValueError, match="unit 2"):
        run(output)
    assert output.finished == ["opened"]
    assert output.task.stopped.is_set()
    assert output.task.done[:2] == [0, 1]
    assert len(output.task.done) < len(UNITS)


def test_threads_do_as_many_units_as_the_task_asks_for(tmp_path):
    both = threading.Barrier(2, timeout=60)

    class Meeting(CountingTask):
        def do(self, unit):
            both.wait()  # for the other of the two
            return super().do(unit)

    state = run(ListedUnits(Meeting(2), tmp_path))
    assert state.tally.sequences == 12


def earlier_run(path: Path) -> RunDirectory:
    """Make the directory of a run with a unit and tables."""
    directory = RunDirectory(path)
    directory.units.mkdir(parents=True)
    for name in ("run.json", "records.tsv", "report.html", "mine.txt"):
        (path / name).write_text("earlier")
    directory.unit_path(0).write_text("earlier")
    return directory


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_a_run_begins_once_and_not_before_it_must(tmp_path, fresh, keep):
    directory = earlier_run(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    directory.begin()  # nothing was prepared, as on a worker
    directory.prepare(Manifest("running", {"run": "new"}), fresh=fresh, keep_results=keep)
    assert sorted(tmp_path.rglob("*")) == before
    threads = [threading.Thread(target=directory.begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert directory.manifest() == Manifest("running", {"run": "new"}, inputs=())
    left = {path.name for path in tmp_path.rglob("*")}
    assert left - {"units"} == {
        "run.json", "mine.txt",
        *(() if fresh else ("unit_000000",)), *(("records.tsv", "report.html") if keep else ()),
    }  # fmt: skip
    (tmp_path / "records.tsv").write_text("new")
    directory.begin()
    assert (tmp_path / "records.tsv").exists()
