"""What a read of 150 nt costs outside the model: reading, sending to a worker, text stage, writing, merging.

CPU time of this process, so that other work of the machine hardly matters; with Ray, what a unit costs its driver, by
actors that do nothing with it.
"""

from __future__ import annotations

import pickle
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from timing import cpu_name, write_results

from virnucpro.distributed.cluster import Scale, connected, import_ray
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pretrained.registry import load_model
from virnucpro.run.directory import RunDirectory
from virnucpro.run.units import UNIT_RECORDS, ContentDigest, Unit, iter_units
from virnucpro.seq import read_records

READS, LENGTH, REPEATS = 32 * UNIT_RECORDS, 150, 7


def cpu_seconds(function: Callable[[], object], repeats: int, warmup: int = 2) -> float:
    """Return the median CPU time of a call, of all threads of this process."""
    seconds = []
    for _ in range(warmup + repeats):
        begin = time.process_time()
        function()
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds[warmup:])


def write_reads(path: Path) -> None:
    letters = random.Random(1)
    with path.open("w") as file:
        for number in range(READS):
            bases = "".join(letters.choices("ACGT", k=LENGTH))
            file.write(f"@read_{number} lane:{number % 8}\n{bases}\n+\n{'I' * LENGTH}\n")


def through_ray(unit: Unit, n_units: int = 400) -> float:
    """Return the CPU seconds that a unit takes of a driver that hands out one after the other to two idle actors."""
    ray = import_ray()
    with connected(Scale()):
        remote = ray.remote(num_cpus=1)(Idle)
        actors = [remote.remote(), remote.remote()]
        ray.get([actor.do.remote(unit) for actor in actors])

        def hand_out() -> None:
            calls = {actor.do.remote(ray.put(unit)): actor for actor in actors for _ in range(2)}
            waiting = deque(range(n_units - len(calls)))
            while calls:
                for call in ray.wait(list(calls))[0]:
                    actor = calls.pop(call)
                    ray.get(call)
                    if waiting:
                        waiting.popleft()
                        calls[actor.do.remote(ray.put(unit))] = actor

        return cpu_seconds(hand_out, 3, 1) / n_units


class Idle:
    def do(self, unit: Unit) -> int:
        return len(unit.records)


def main() -> None:
    torch.set_num_threads(1)
    device = cpu_name()
    rows = []

    def add(what: str, seconds: float, records: int, size: int | None = None) -> None:
        row = {"what": what, "cpu_microseconds_per_record": round(1e6 * seconds / records, 2)}
        rows.append(row | ({"bytes_per_record": round(size / records)} if size else {}))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reads = folder / "reads.fq"
        write_reads(reads)
        cut = cpu_seconds(lambda: sum(1 for _ in iter_units(read_records([reads]))), REPEATS, 1)
        add("read FASTQ and cut into units", cut, READS)
        units = list(islice(iter_units(read_records([reads])), 32))
        unit, n = units[0], len(units[0].records)
        sent = pickle.dumps(unit, 5)
        add("pickle records", cpu_seconds(lambda: pickle.dumps(unit, 5), 50), n, len(sent))
        add("unpickle records", cpu_seconds(lambda: pickle.loads(sent), 50), n)
        predictor = Predictor(load_model(), Options(device="cpu", threads=1))
        frames = list(predictor._prepared(unit.records))
        add("text stage", cpu_seconds(lambda: list(predictor._prepared(unit.records)), REPEATS), n)
        sent = pickle.dumps(frames, 5)
        add("pickle frames", cpu_seconds(lambda: pickle.dumps(frames, 5), REPEATS), n, len(sent))
        add("unpickle frames", cpu_seconds(lambda: pickle.loads(sent), REPEATS), n)
        results = list(predictor.run(unit.records))
        directory = RunDirectory(folder)
        write = cpu_seconds(lambda: directory.write_unit(unit, results), REPEATS)
        add("write a unit file", write, n, directory.unit_path(0).stat().st_size)
        digest = ContentDigest()
        for other in units:
            directory.write_unit(other, results)  # as many bytes as its own
            digest.add(other.digest, len(other.records))
        paths, content = [directory.unit_path(number) for number in range(len(units))], digest.content(fastq=True)
        add("merge", cpu_seconds(lambda: directory.merge(paths, content), REPEATS), content.records)
    add("driver with Ray: pickle and hand out", through_ray(unit), n)
    write_results("hand_out", rows, device, ("ray",))


if __name__ == "__main__":
    main()
