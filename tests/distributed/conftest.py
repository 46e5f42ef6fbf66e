"""A Ray cluster of several nodes on this machine, for all tests of this folder."""

import os
import signal
import warnings
from contextlib import suppress
from pathlib import Path

import pytest


class Nodes:
    """A cluster whose nodes have one CPU core each, and a look at what runs on them."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        # Workers as nice as all else: on a busy machine those of Ray's niceness would hardly get on.
        system = {
            "health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 10,
            "worker_niceness": 0,
        }  # fmt: skip
        small = {"num_cpus": 1, "object_store_memory": 80 << 20}
        self._small = small
        self.cluster = Cluster(
            initialize_head=True, head_node_args={**small, "include_dashboard": False, "_system_config": system}
        )
        self.address = self.cluster.address
        self.nodes = [self.cluster.head_node, self.add(), self.add()]

    def add(self):
        return self.cluster.add_node(**self._small)

    def remove(self, node) -> None:
        """Kill a node and all that runs on it."""
        workers = self.workers(node)
        self.cluster.remove_node(node, allow_graceful=False)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def workers(self, node=None, doing: str | None = None) -> list[int]:
        """Return the processes of our workers on a node or on all; those that do `doing` ("" for nothing), if given."""
        title = None if doing is None else f"ray::Worker{doing and '.'}{doing}".encode()
        asked = [node] if node else self.cluster.list_all_nodes()
        raylets = [one.all_processes["raylet"][0].process.pid for one in asked]
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                named = (folder / "cmdline").read_bytes().strip(b"\0 ")
            except (OSError, ValueError):
                continue  # it ended meanwhile
            if parent in raylets and (named == title if title else named.startswith(b"ray::Worker")):
                found.append(int(folder.name))
        return found


@pytest.fixture(scope="session")
def nodes():
    pytest.importorskip("ray", reason="Ray is not installed")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        made = Nodes()
        yield made
        made.cluster.shutdown()


@pytest.fixture
def on_ray(nodes):
    """Arguments that run a command on the cluster."""
    return ["--engine", "ray", "--ray-address", nodes.address, "--workers", "3"]
