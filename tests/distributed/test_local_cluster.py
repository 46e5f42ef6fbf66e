"""A cluster that a command starts on this machine: who can reach it, and what is left when the command is gone."""

import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from virnucpro.distributed import cluster
from virnucpro.errors import VirnucproError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
LISTENS = "0A"
SECONDS = 30


def listening() -> dict[str, str]:
    """Return the address at which each listening TCP socket is bound, by the link that a process has to it."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != LISTENS:
                continue
            digits = fields[1].partition(":")[0]
            packed = b"".join(struct.pack("=I", int(digits[i : i + 8], 16)) for i in range(0, len(digits), 8))
            family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
            found[f"socket:[{fields[9]}]"] = socket.inet_ntop(family, packed)
    return found


def is_loopback(address: str) -> bool:
    """Tell whether an address is the loopback interface's; ::ffff:127.0.0.1 is IPv4 in an IPv6 socket."""
    parsed = ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


class Local:
    """A command that starts its own cluster, and a look at all of its processes."""

    def __init__(self, command: list[object], folder: Path) -> None:
        self.folder, self._mark = folder, f"LAB_FOLDER={folder}".encode()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("virnucpro"), *map(str, command)],
            env={**environment, "LAB_FOLDER": str(folder), "RAY_TMPDIR": str(folder)}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def running(self) -> dict[int, str]:
        """Return the command lines of what the command has started, and of itself.

        They are in its session, or have its variable if they left that; Ray's title hides the variables of some.
        """
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                marked = self._mark in (folder / "environ").read_bytes().split(b"\0")
                if state != "Z" and (marked or int(session) == self.process.pid):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def runs(self, *names: str) -> bool:
        return all(any(name in line for line in self.running().values()) for name in names)

    def addresses(self) -> list[str]:
        """Return the addresses at which the processes listen."""
        sockets, found = listening(), []
        for pid in self.running():
            with suppress(OSError):
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):
                        found.append(sockets.get(os.readlink(link), ""))
        return [address for address in found if address]

    def leftovers(self) -> dict[int, str]:
        """Return what still runs once nothing does, or after 30 seconds."""
        deadline = time.monotonic() + SECONDS
        while (found := self.running()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


@pytest.fixture
def start(lab):
    """Start a command on an input that takes minutes, or on stdin that stays open, in a directory of a short name."""
    pytest.importorskip("ray", reason="Ray is not installed")
    folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    (folder / "long.fa").write_text(lab.fasta([(f"r{i}", "ACGTTCATGA" * 900) for i in range(2000)]))
    started: list[Local] = []

    def start(command: str, source: Path | None = None) -> Local:
        more = ["--engine", "ray", "--workers", 2, "-t", 1, "--model", lab.model]
        more += ["--unit-records", 1] if command == "predict" else []
        source = source or (folder / "long.fa" if command == "predict" else Path("-"))
        started.append(Local([command, source, "-o", folder / "out", *more], folder))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        one.process.stderr.close()
        one.process.stdin.close()
        for pid in one.running():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def at_work(local: Local) -> bool:
    return local.runs("gcs_server", "raylet/raylet", "RuntimeEnvAgent", "ray::Worker")


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_it_is_private_and_nothing_outlives_a_killed_driver(lab, start, command):
    local = start(command)
    lab.wait_for(lambda: at_work(local) and (command == "embed" or lab.units_of(local.folder / "out")), local.process)
    assert local.process.poll() is None
    addresses = local.addresses()
    assert len(addresses) >= 5  # GCS, raylet and its objects, an agent, workers, the driver
    assert [address for address in addresses if not is_loopback(address)] == []
    (directory,) = local.folder.glob("ray-*")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    lab.kill(local.process)
    assert local.leftovers() == {}
    assert list(local.folder.glob("ray*")) == []


@pytest.mark.parametrize("last", ["watchdog.py", "gcs_server", "log_monitor.py", "raylet/raylet", "default_worker.py"])
def test_nothing_outlives_a_driver_that_is_killed_while_ray_starts(lab, start, last):
    local = start("predict")
    lab.wait_for(lambda: local.runs(last), local.process)
    lab.kill(local.process)
    assert local.leftovers() == {}
    assert list(local.folder.glob("ray*")) == []


def test_nothing_outlives_a_driver_that_is_stopped(lab, start):
    local = start("predict")
    lab.wait_for(lambda: at_work(local), local.process)
    local.process.terminate()
    code, err = lab.ended(local.process)
    assert (code, "stopped by SIGTERM" in err) == (75, True)
    assert local.running() == {}
    assert list(local.folder.glob("ray*")) == []


def test_a_run_that_ends_leaves_nothing_and_joins_no_cluster_by_itself(lab, start):
    """A file that any user can write where Ray keeps its own names a cluster, which is not joined."""
    local = start("predict", lab.input)
    (local.folder / "ray").mkdir()
    (local.folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    code, err = lab.ended(local.process)
    assert code == 0, err
    assert "Ray starts 2 workers" in err
    assert local.running() == {}
    assert list(local.folder.glob("ray-*")) == []


def test_a_joined_cluster_outlives_a_killed_driver_and_its_workers_do_not(lab, nodes, on_ray, tmp_path):
    process = lab.start_on_part(tmp_path / "out", *on_ray)
    lab.wait_for(lambda: len(nodes.workers(doing="")) == 3, process)
    lab.kill(process)
    deadline = time.monotonic() + SECONDS
    while nodes.workers(doing="") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert nodes.workers(doing="") == []
    raylets = [node.all_processes["raylet"][0].process for node in nodes.cluster.list_all_nodes()]
    assert [raylet.poll() for raylet in raylets] == [None] * 3


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
def test_a_cluster_on_loopback_is_accepted(address):
    cluster._require_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.2", "10.0.0.1"])
def test_a_cluster_that_others_can_reach_is_refused(address):
    with pytest.raises(VirnucproError, match="where other machines can reach it"):
        cluster._require_loopback(address)
