"""Simulate a run on many GPUs: where it stops scaling, with failures, stragglers and a slow file system.

A model of costs, not a measurement: the rates are arguments. Costs of the driver default to those of
results/hand_out.json; the rate of a GPU and what a file system does are assumptions until they are measured.

    python benchmarks/simulate_scale.py                      # all scenarios, results/scale_simulation.json
    python benchmarks/simulate_scale.py --gpu-rate 4000      # another GPU or model
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from dataclasses import asdict, dataclass, replace

from timing import RESULTS, write_results

GPUS = (8, 16, 32, 64, 128, 256, 512)
# Units that are simulated as one, so that a run has at most so many events.
EVENTS = 100_000
UNIT = 1024  # records of the unit that bench_hand_out.py hands out
IN_FLIGHT = 2  # as in virnucpro/distributed/workers.py


@dataclass(frozen=True)
class Rates:
    """Costs: seconds, records, bytes; those of the driver are per record and for one core."""

    reads: int = 1_000_000_000
    unit_records: int = 1024
    gpu_rate: float = 1000.0  # records/s of one GPU
    spread: float = 0.05  # relative deviation of a unit's time
    load_seconds: float = 90.0  # Ray, process, model
    read_seconds: float = 4e-6  # the driver reads and cuts a record
    send_seconds: float = 5e-7  # the driver pickles a record
    hand_out_seconds: float = 3e-3  # what a unit costs the driver besides
    merge_seconds: float = 2e-6  # the driver merges a record
    record_bytes: float = 425.0  # of the unit files
    fs_bytes: float = 1e9  # written per second by all
    fs_files: float = 500.0  # written, synced and renamed per second by all
    hours_to_failure: float = 0.0  # of one GPU; 0: none fails
    replace_seconds: float = 600.0  # until another is there, without the load
    stragglers: float = 0.0  # share of GPUs
    slowness: float = 2.0  # of these
    shards: int = 1  # drivers, each of which reads the whole input and has its part of the GPUs
    runs: int = 1  # drivers, each of which reads its part of the input and has its part of the GPUs


SCENARIOS = {
    "as built": {},
    "spot GPUs lost every 24 h": {"hours_to_failure": 24.0},
    "5 % of GPUs at half speed": {"stragglers": 0.05},
    "slow file system": {"fs_bytes": 1e8, "fs_files": 50.0},
    "slow file system, units of 4096": {"fs_bytes": 1e8, "fs_files": 50.0, "unit_records": 4096},
    "units of 4096": {"unit_records": 4096},
    "units of 4096, 4 shards": {"unit_records": 4096, "shards": 4},
    "units of 4096, 4 runs": {"unit_records": 4096, "runs": 4},
    "model 10 times as fast": {"gpu_rate": 10_000.0},
    "model 10 times as fast, units of 4096, 8 runs": {"gpu_rate": 10_000.0, "unit_records": 4096, "runs": 8},
}


@dataclass(order=True)
class Gpu:
    free: float
    number: int
    slow: float = 1.0
    fails: float = float("inf")
    written: tuple[float, ...] = ()


def simulate(rates: Rates, gpus: int, seed: int = 0) -> dict[str, float | int | str]:
    """Return hours, how busy the GPUs are, the speed-up over one GPU without any other cost, and losses."""
    chance = random.Random(seed)
    parts = rates.shards * rates.runs
    gpus_of_one = gpus // parts
    units = -(-rates.reads // rates.unit_records // parts)
    grain = max(1, units // EVENTS)
    records = grain * rates.unit_records
    cost_of_unit = (
        rates.unit_records * (rates.read_seconds * rates.shards + rates.send_seconds) + rates.hand_out_seconds
    )
    driver = grain * cost_of_unit
    # All parts share one file system.
    disk = parts * max(records * rates.record_bytes / rates.fs_bytes, grain / rates.fs_files)

    def next_failure(now: float) -> float:
        hours = rates.hours_to_failure
        return now + 3600 * hours * chance.expovariate(1) if hours else float("inf")

    fleet = [Gpu(rates.load_seconds, number, fails=next_failure(0)) for number in range(gpus_of_one)]
    for gpu in fleet[: round(rates.stragglers * gpus_of_one)]:
        gpu.slow = rates.slowness
    heapq.heapify(fleet)
    read = disk_free = busy = end = 0.0
    lost = 0
    left = -(-units // grain)
    while left:
        gpu = heapq.heappop(fleet)
        read += driver
        start = max(gpu.free, read)
        seconds = records / rates.gpu_rate * gpu.slow * max(0.1, chance.gauss(1, rates.spread))
        finish = start + seconds
        if gpu.fails < finish:  # what it had is done again
            lost += 1
            gpu.free = max(gpu.fails, gpu.free) + rates.replace_seconds + rates.load_seconds
            gpu.fails, gpu.written = next_failure(gpu.free), ()
        else:
            left -= 1
            busy += seconds / gpu.slow
            disk_free = max(disk_free, finish) + disk
            gpu.written = (*gpu.written, disk_free)[-IN_FLIGHT:]
            # A worker has two units: it computes the next while it writes one, but no further.
            gpu.free = max(finish, gpu.written[0]) if len(gpu.written) == IN_FLIGHT else finish
            end = max(end, disk_free)
        heapq.heappush(fleet, gpu)
    merge = rates.reads * max(rates.merge_seconds / rates.runs, 2 * rates.record_bytes / rates.fs_bytes)
    floor = {
        "GPUs": rates.reads / rates.gpu_rate / gpus,
        "driver": units * cost_of_unit,
        "file system": rates.reads * max(rates.record_bytes / rates.fs_bytes, 1 / rates.unit_records / rates.fs_files),
        "merging": merge,
    }
    return {
        "gpus": gpus,
        "hours": round((end + merge) / 3600, 2),
        "hours_scoring": round(end / 3600, 2),
        "hours_merging": round(merge / 3600, 2),
        "gpus_busy_while_scoring": round(busy / (gpus_of_one * end), 3),
        "speedup_scoring": round(rates.reads / rates.gpu_rate / end, 1),
        "units_lost_and_redone": lost * grain * parts,
        "longest_part": max(floor, key=lambda name: floor[name]),
    }


def measured() -> Rates:
    """Return rates with the driver's costs of results/hand_out.json."""
    rows = json.loads((RESULTS / "hand_out.json").read_text())["rows"]
    cost = {row["what"]: 1e-6 * row["cpu_microseconds_per_record"] for row in rows}
    size = {row["what"]: row.get("bytes_per_record") for row in rows}
    return Rates(
        read_seconds=cost["read FASTQ and cut into units"],
        send_seconds=cost["pickle records"],
        hand_out_seconds=UNIT * (cost["driver with Ray: pickle and hand out"] - cost["pickle records"]),
        merge_seconds=cost["merge"],
        record_bytes=size["write a unit file"],
    )


def main() -> None:
    base = measured()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(base).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value, help=f"default {value:g}")
    base = Rates(**vars(parser.parse_args()))
    rows = []
    for name, changes in SCENARIOS.items():
        rates = replace(base, **changes)
        rows += [
            {"scenario": name, **changes, **simulate(rates, gpus)} for gpus in GPUS if gpus >= rates.shards * rates.runs
        ]
    write_results("scale_simulation", [{"rates": asdict(base)}, *rows], "simulated: no GPU was used", ("ray",))


if __name__ == "__main__":
    main()
