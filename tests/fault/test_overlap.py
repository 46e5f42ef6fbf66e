"""Several units at a time, as on a GPU: the same bytes, and an orderly end."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from virnucpro.data import map_concurrent
from virnucpro.errors import NumericalError, StoppedError
from virnucpro.pipeline.frame_tokens import FrameScores, FrameTokens
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pretrained.registry import load_model
from virnucpro.run.rows import UnitTables
from virnucpro.run.text_pool import TextPool
from virnucpro.run.unit_caller import UnitCaller
from virnucpro.seq.blocks import iter_blocks
from virnucpro.seq.source import Source
from virnucpro.types import Record

OPTIONS = Options(device="cpu", precision="fp32", threads=1)


def called(caller: UnitCaller, lab) -> UnitTables:
    """Return the tables of the input, whose units are called by several threads."""
    blocks = list(iter_blocks(Source([str(lab.input)]), n_records=lab.unit))
    assert len(blocks) == lab.n_units
    with ThreadPoolExecutor(caller.at_a_time + 1) as threads:
        return UnitTables.concat(list(threads.map(caller.tables, blocks)))


def test_units_that_overlap_give_the_same_bytes(lab):
    with UnitCaller(Predictor(load_model(str(lab.model)), OPTIONS), legacy=False, pool=TextPool(2)) as caller:
        tables = called(caller, lab)
    for name, section in zip(lab.tables(lab.folder / "unbroken"), tables.sections, strict=False):
        first_line = b"" if name.endswith(".fasta") else lab.expected[name].partition(b"\n")[0] + b"\n"
        assert first_line + section == lab.expected[name]
    assert tables.tally.records == 300


class Failing(Predictor):
    """A predictor that long proteins make fail."""

    def score(self, tokens: FrameTokens) -> FrameScores:
        if tokens.protein_lengths.max() > 30:
            raise NumericalError("not finite")
        return super().score(tokens)


def test_records_at_fault_are_found_beside_processes(lab):
    statuses = {}
    for processes in (0, 2):
        pool = TextPool(processes) if processes else None
        with UnitCaller(Failing(lab.make_model(), OPTIONS), legacy=False, pool=pool) as caller:
            rows = called(caller, lab).sections[0].splitlines()
        statuses[processes] = [row.split(b"\t")[-2:] for row in rows]
    assert statuses[0] == statuses[2]
    assert len(statuses[0]) == 300
    numbers = Counter(status for status, _ in statuses[0])
    assert numbers[b"failed"] > 16
    assert numbers[b"ok"] > 16
    assert {reason for status, reason in statuses[0] if status == b"failed"} == {b"not finite"}


class Noting(Predictor):
    """A predictor that launches its first work when the other thread has its tokens ready, and notes who is at work."""

    def note(self) -> None:
        self.at_work, self.most = [], []
        self.numbers, self.both = count(1), threading.Event()

    def score(self, tokens: FrameTokens) -> FrameScores:
        if next(self.numbers) == 2:
            self.both.set()
        return super().score(tokens)

    def _launch(self, tokens, repair=False):
        self.at_work.append(tokens)
        assert self.both.wait(60)
        self.most.append(len(self.at_work))
        launched = super()._launch(tokens, repair)
        self.at_work.pop()
        return launched


def test_one_computes_while_the_other_prepares(lab):
    records = [Record(str(i), b"ACGGCTAAG" * 12, index=i) for i in range(8)]
    model, options = lab.make_model(), Options(threads=1, max_tokens=64)
    expected = [result.call for result in Predictor(model, options).run(records)]
    predictor = Noting(model, options)
    predictor.note()
    found = list(map_concurrent(lambda own: [result.call for result in predictor.run(own)], [records, records], 2))
    assert found == [expected, expected]
    assert predictor.most == [1, 1]


def test_an_interruption_ends_what_is_at_work():
    stopped = threading.Event()

    def work(item):
        if item and not stopped.wait(60):
            raise AssertionError("nobody stopped it")
        return item

    results = map_concurrent(work, range(10), 2, stopped.set)
    assert next(results) == 0
    begin = time.monotonic()
    results.close()
    assert stopped.is_set()
    assert time.monotonic() - begin < 30


def test_a_stopped_predictor_stops(lab):
    predictor = Predictor(lab.make_model())
    records = [Record(str(i), b"ACGGCTAAG" * 12) for i in range(3)]
    assert len(list(predictor.run(records))) == 3
    predictor.stop()
    with pytest.raises(StoppedError):
        list(predictor.run(records))
