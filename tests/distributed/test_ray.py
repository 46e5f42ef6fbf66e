"""Runs on a Ray cluster of three nodes end with the bytes of the local engine, whatever is killed meanwhile."""

import os
import pickle
import random
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, replace

import pytest
import torch
from support.files import run_json
from support.hosts import write_hosts_model
from support.screens import make_published_model

from virnucpro.cli.signals import stoppable
from virnucpro.config import Options
from virnucpro.distributed import cluster, worker, workers
from virnucpro.distributed.cluster import Plan, Scale, connected, make_plan
from virnucpro.distributed.ray_engine import open_ray
from virnucpro.environment import ray_address
from virnucpro.errors import ConfigError, ModelError, OutputError, StoppedError
from virnucpro.files import fingerprint
from virnucpro.run.directory import RunDirectory
from virnucpro.run.task import PredictTask
from virnucpro.run.units import iter_units
from virnucpro.seq import read_records
from virnucpro.types import Record


@pytest.fixture(scope="module")
def long_lab(lab):
    """An input of 40 units that take a while, and the local engine's tables."""
    letters = random.Random(3)
    path, output = lab.folder / "long.fa", lab.folder / "long"
    records = [(f"long_{i}", "".join(letters.choices("ACGT", k=9_000))) for i in range(40)]
    path.write_text(lab.fasta(records))
    code, err = lab.ended(lab.start(output, "--unit-records", 1, source=path))
    assert code == 0, err
    return path, output


def test_a_run_on_three_nodes(lab, call, nodes, on_ray, tmp_path):
    output = tmp_path / "out"
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    code, err = call(lab.arguments(output, *on_ray))
    assert code == 0, err
    assert "Ray starts 3 workers with 1 CPU core each" in err
    assert lab.tables(output) == lab.expected
    assert {path.name for path in output.iterdir()} == {*lab.expected, *lab.reports(output), "run.json"}
    found, whole = run_json(output), run_json(lab.folder / "unbroken")
    for entry in ("status", "fingerprint", "counts", "units", "recovered"):
        assert found[entry] == whole[entry]
    assert sum(row["records"] for row in found["workers"]) == 300
    assert sum(row["units"] for row in found["workers"]) == lab.n_units
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    code, err = call(lab.arguments(output, "--resume"))  # the local engine knows it for its own
    assert (code, err.endswith("is already complete\n")) == (0, True)


def test_a_run_with_a_screen(lab, call, nodes, on_ray, tmp_path):
    published = lab.write_model(make_published_model(), tmp_path / "published")
    small = write_hosts_model(tmp_path / "small", read_records([lab.input]))
    given = ["--model", published, "--screen", 0.8, "--screen-model", small]
    assert call(lab.arguments(tmp_path / "local", *given))[0] == 0
    code, err = call(lab.arguments(tmp_path / "out", *given, *on_ray))
    assert code == 0, err
    assert lab.tables(tmp_path / "out") == lab.tables(tmp_path / "local")
    found, whole = run_json(tmp_path / "out"), run_json(tmp_path / "local")
    assert found["counts"]["screened_chunks"] > 0
    for entry in ("fingerprint", "counts", "screen"):
        assert found[entry] == whole[entry]


def test_a_node_leaves_and_another_joins(lab, long_lab, nodes, on_ray, tmp_path):
    source, expected = long_lab
    text, output = source.read_bytes(), tmp_path / "out"
    process = lab.start(output, "--unit-records", 1, *on_ray, source="-", stdin=subprocess.PIPE)
    cut = text.index(b">long_28")
    process.stdin.write(text[:cut])
    process.stdin.flush()
    leaving = nodes.nodes.pop()
    lab.wait_for(lambda: nodes.workers(leaving, "do"), process)
    nodes.remove(leaving)
    joined = nodes.add()
    nodes.nodes.append(joined)
    lab.wait_for(lambda: nodes.workers(joined, ""), process)  # its model is loaded
    process.stdin.write(text[cut:])
    process.stdin.close()
    process.stdin = None
    lab.wait_for(lambda: nodes.workers(joined, "do"), process)
    assert process.poll() is None
    code, err = lab.ended(process)
    assert code == 0, err
    assert "was lost" in err
    assert lab.tables(output) == lab.tables(expected)
    rows = run_json(output)["workers"]
    assert max(row["starts"] for row in rows) >= 2  # more where Ray took one for lost that was only slow
    assert sum(row["units"] for row in rows) == 40


def test_the_driver_is_killed_and_stopped_a_worker_is_killed_and_the_run_goes_on(
    lab, long_lab, nodes, on_ray, tmp_path
):
    source, expected = long_lab
    output = tmp_path / "out"
    arguments = [output, "--unit-records", 1, "--resume", *on_ray, "--workers", 2]
    process = lab.start(*arguments, source=source)
    lab.wait_for(lambda: len(lab.units_of(output)) >= 5, process)
    lab.kill(process)
    process = lab.start(*arguments, source=source)
    done = len(lab.units_of(output))
    assert 5 <= done < 35
    lab.wait_for(lambda: len(lab.units_of(output)) > done + 2, process)
    process.terminate()
    code, err = lab.ended(process)
    assert (code, "stopped by SIGTERM; run it again with --resume" in err) == (75, True)
    process = lab.start(*arguments, source=source)
    lab.wait_for(lambda: nodes.workers(doing="do"), process)
    os.kill(nodes.workers(doing="do")[0], signal.SIGKILL)
    code, err = lab.ended(process)
    assert code == 0, err
    assert "was lost" in err
    assert "of 40 units were done before" in err
    assert run_json(output)["units"]["kept"] >= done
    assert lab.tables(output) == lab.tables(expected)
    assert {path.name for path in output.iterdir()} == {*lab.expected, *lab.reports(output), "run.json"}


def test_a_record_that_makes_the_model_fail_is_isolated(lab, call, on_ray, tmp_path):
    """The embedding of GGT is NaN, so that only records with one get no number."""
    model = lab.make_model()
    with torch.no_grad():
        model.nucleotide.model.embedding.weight[model.nucleotide.tokenizer([b"GGT"])[0][1]] = float("nan")
    poisoned = lab.write_model(model, tmp_path / "poisoned")
    path = tmp_path / "input.fa"
    path.write_text(lab.fasta([("bad", "GGT" * 40) if i == 5 else (f"r{i}", "ACGTTCA" * 20) for i in range(12)]))
    code, err = call(lab.arguments(tmp_path / "local", "--model", poisoned, source=path))
    assert code == 0, err
    code, err = call(lab.arguments(tmp_path / "ray", "--model", poisoned, *on_ray, "--workers", 1, source=path))
    assert code == 0, err
    assert "1 failed" in err
    assert lab.tables(tmp_path / "ray") == lab.tables(tmp_path / "local")


def test_a_unit_that_loses_worker_after_worker_stops_the_run(lab, call, long_lab, nodes, on_ray, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "MAX_LOST", 1)
    over = threading.Event()

    def kill_a_worker() -> None:
        while not over.wait(0.01):
            for pid in nodes.workers(doing="do"):
                os.kill(pid, signal.SIGKILL)
                return

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    try:
        arguments = lab.arguments(tmp_path / "out", "--unit-records", 1, *on_ray, "--workers", 1, source=long_lab[0])
        code, err = call(arguments)
    finally:
        over.set()
        killer.join()
    assert code == 1
    assert re.search(r"error: unit \d+ lost 1 worker, the last with: .*; its records kill the process", err), err


@dataclass(frozen=True)
class OtherFiles:
    """A task whose driver has other files of its model than its workers."""

    task: PredictTask

    def __getattr__(self, name):
        return getattr(self.task, name)

    def checked(self):
        return self.task, {"SHA-256 of protein.safetensors": "0" * 64}


def opened(nodes, task):
    return open_ray(Scale(nodes.address, 1))(task, task.directory())


def test_a_worker_with_another_model_is_refused(lab, nodes, tmp_path):
    (tmp_path / ".lock").touch()
    task = PredictTask(model=str(lab.model), options=Options(), output=tmp_path)
    with pytest.raises(ConfigError, match=r"as the driver: SHA-256 of protein.safetensors was 0{64} and is \w{64}"):  # noqa: SIM117
        with opened(nodes, OtherFiles(task)):
            pass
    with pytest.raises(ModelError, match="there is no model '/nowhere'"):  # noqa: SIM117
        with opened(nodes, replace(task, model="/nowhere")):
            pass
    (tmp_path / ".lock").unlink()
    with pytest.raises(OutputError, match=r"the worker on .*: this node has no"):  # noqa: SIM117
        with opened(nodes, task):
            pass


def interrupt():
    signal.raise_signal(signal.SIGTERM)
    return "whole"


class Interrupted:
    def __reduce__(self):
        return interrupt, ()


def test_a_signal_while_ray_reads_an_answer_is_heeded_after_it(nodes, caplog):
    """Ray would log the traceback and raise an error of its own."""
    found, ray = [], cluster.import_ray()

    @stoppable()
    def run():
        with connected(Scale(nodes.address)):
            found.append(ray.get(ray.put(Interrupted())))
            time.sleep(60)

    with pytest.raises(StoppedError, match="SIGTERM"):
        run()
    assert found == ["whole"]
    assert "Traceback" not in caplog.text


def order(task, version=worker.__version__):
    return worker.Order(version, 30, pickle.dumps(task))


def test_a_worker_that_cannot_work_says_why_where_it_is(lab, tmp_path):
    task = PredictTask(model=str(lab.model), options=Options(), output=tmp_path)
    for given, error, message in (
        (order(None, "0.0.1"), ConfigError, f"this node has virnucpro {worker.__version__}, the driver 0.0.1"),
        (order(task), OutputError, f"this node has no {tmp_path}; use a run directory"),
    ):
        with pytest.raises(error, match=f"the worker on .*: {message}"):
            worker.Worker(given).start()


def test_want_of_memory_lowers_the_budget_of_one_worker_alone(lab, tmp_path, monkeypatch):
    """Two workers, here in one process; one has room for 40 tokens at a time."""
    (tmp_path / ".lock").touch()
    directory = RunDirectory(tmp_path)
    directory.units.mkdir()
    task = PredictTask(model=str(lab.model), options=Options(device="cpu", precision="fp32"), output=tmp_path)
    small, large = worker.Worker(order(task)), worker.Worker(order(task))
    runner = small.task.predictor.protein
    embed, budget = runner._embed_rows, runner.max_tokens

    def with_little_memory(model, sequences, rows, vectors):
        if sequences.lengths[rows].sum() > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        embed(model, sequences, rows, vectors)

    monkeypatch.setattr(runner, "_embed_rows", with_little_memory)
    letters = random.Random(1)
    records = [Record(f"r{i}", "".join(letters.choices("ACGT", k=100)).encode()) for i in range(20)]
    (unit,) = iter_units(records, 32, 1 << 20)
    found = []
    for one in (small, large):
        reply = one.do(unit, fingerprint(one.start()[2]))
        found.append((reply.recovered["batches_halved_for_memory"] > 0, directory.unit_path(0).read_bytes()))
        directory.unit_path(0).unlink()
    assert [halved for halved, _ in found] == [True, False]
    assert found[0][1] == found[1][1]  # and the same bytes
    assert runner.max_tokens <= 40 < budget == large.task.predictor.protein.max_tokens


GPU_NODE, CPU_NODE = {"CPU": 16, "GPU": 4}, {"CPU": 8}


@pytest.mark.parametrize(
    ("scale", "options", "plan"),
    [
        (Scale(), Options(), Plan(8, 3, 1, "cuda")),
        (Scale(gpus=0), Options(), Plan(40, 1, 0, "cpu")),
        (Scale(), Options(device="cpu", threads=3), Plan(12, 3, 0, "cpu")),
        (Scale(gpus=2), Options(threads=4), Plan(2, 4, 1, "cuda")),
        (Scale(workers=12, gpus=4), Options(), Plan(12, 1, 1 / 3 * 1, "cuda")),
        (Scale(workers=100), Options(), Plan(100, 3, 1, "cuda")),
    ],
    ids=str,
)
def test_a_plan_fills_the_nodes_or_does_what_is_asked(scale, options, plan):
    assert make_plan(scale, options, [GPU_NODE, CPU_NODE, GPU_NODE]) == plan


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7), (64, 10)])
def test_a_gpu_has_the_cores_that_it_can_use(cores, threads):
    assert make_plan(Scale(), Options(), [{"CPU": cores, "GPU": 1}]) == Plan(1, threads, 1, "cuda")


@pytest.mark.parametrize(
    ("scale", "options", "message"),
    [
        (Scale(), Options(device="cuda"), "no node has 1 CPU cores and a GPU .*: 8 CPU, 0 GPU"),
        (Scale(), Options(threads=9), "no node has 9 CPU cores for a worker"),
        (Scale(), Options(device="cuda:1"), "device must be auto, cpu or cuda on Ray, got 'cuda:1'"),
        (Scale(gpus=1), Options(device="cpu"), "exclude each other"),
        (Scale(workers=3, gpus=2), Options(), "workers must be a multiple of gpus, got 3 and 2"),
    ],
    ids=str,
)
def test_a_plan_without_room_is_refused(scale, options, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(scale, options, [CPU_NODE])


def test_without_ray_the_error_says_what_to_install(lab, call, tmp_path, monkeypatch):
    missing = cluster.RAY.__class__("no-such-distribution", "ray", "2.30", "ray", "")
    monkeypatch.setattr(cluster, "RAY", missing)
    code, err = call(lab.arguments(tmp_path / "out", "--engine", "ray"))
    assert (code, "--engine ray needs Ray, which is not installed: pip install 'virnucpro[ray]'" in err) == (2, True)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_an_error(lab, call, tmp_path, nodes, address):
    code, err = call(lab.arguments(tmp_path / "out", "--engine", "ray", "--ray-address", address))
    assert (code, f"no Ray cluster could be joined at {address}: " in err) == (1, True), err
    assert list((tmp_path / "out").iterdir()) == []


def test_the_address_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert (ray_address(None), ray_address("auto")) == ("10.0.0.1:6379", "auto")


def test_embeddings(lab, call, nodes, on_ray, tmp_path):
    proteins = tmp_path / "p.faa"
    ends = ("", "*", "--*")  # left out before the units are made
    proteins.write_text("".join(f">p{i}\n{'MKVLWAGTRE' * (1 + i % 9)}{ends[i % 3]}\n" for i in range(5000)))
    given = ["embed", proteins, "--model", lab.model, "--precision", "fp32", "-t", 1]
    found = {}
    for name, more in (("local", []), ("ray", [*on_ray, "--workers", 2])):
        code, err = call([str(argument) for argument in (*given, "-o", tmp_path / name, *more)])
        assert code == 0, err
        found[name] = {p.name: p.read_bytes() for p in (tmp_path / name).iterdir() if p.name != "run.json"}
    assert len(found["ray"]) == 3  # ids and two shards
    assert found["ray"] == found["local"]
    for key in ("fingerprint", "counts", "left_out"):
        assert run_json(tmp_path / "ray")[key] == run_json(tmp_path / "local")[key]
    assert run_json(tmp_path / "ray")["left_out"] == {"letters": 1667 + 3 * 1666, "sequences": 3333}
    (tmp_path / "ray" / "embeddings_00001.safetensors").unlink()
    code, err = call([str(argument) for argument in (*given, "-o", tmp_path / "ray", "--resume")])
    assert (code, "done before: 1 shard" in err) == (0, True)
