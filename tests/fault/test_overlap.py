"""Two units at a time, as on a GPU: the same bytes, and an orderly end."""

import threading
import time
from itertools import count

import pytest

from virnucpro.data import VarlenCollator, map_concurrent
from virnucpro.errors import StoppedError
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.types import Record


def test_units_that_overlap_give_the_same_bytes(lab, call, tmp_path, monkeypatch):
    score, numbers = Predictor.run, count()
    both = threading.Barrier(2, timeout=60)

    def watched(self, records):
        if next(numbers) < 2:
            both.wait()  # for the other unit
        return score(self, records)

    for module in ("run.task", "pipeline.predict"):  # units, and the encoders of each
        monkeypatch.setattr(f"virnucpro.{module}.in_flight", lambda device: 2)
    monkeypatch.setattr(Predictor, "run", watched)
    assert call(lab.arguments(tmp_path / "out"))[0] == 0
    assert lab.tables(tmp_path / "out") == lab.expected


def test_one_computes_while_the_other_prepares(lab, monkeypatch):
    records = [Record(str(i), b"ACGGCTAAG" * 12) for i in range(8)]
    predictor = Predictor(lab.make_model(), Options(threads=1, max_tokens=64))
    expected = [result.call for result in predictor.run(records)]
    launch, make = AsyncInferenceRunner._launch, VarlenCollator.tokenize
    at_work, most, numbers, both = [], [], count(1), threading.Event()

    def launched(self, batch):
        at_work.append(batch)
        assert both.wait(60)  # the other, whose turn it is not, makes its first batch meanwhile
        most.append(len(at_work))
        result = launch(self, batch)
        at_work.pop()
        return result

    def made(self, items):
        if next(numbers) == 2:  # the other's: whose turn it is waits in its first launch
            both.set()
        return make(self, items)

    monkeypatch.setattr(AsyncInferenceRunner, "_launch", launched)
    monkeypatch.setattr(VarlenCollator, "tokenize", made)
    found = list(map_concurrent(lambda own: [result.call for result in predictor.run(own)], [records, records], 2))
    assert found == [expected, expected]
    assert set(most) == {1}


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
