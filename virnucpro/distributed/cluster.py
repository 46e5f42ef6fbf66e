"""Join a Ray cluster, or start one on this machine, and plan its workers."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from virnucpro._optional import RAY
from virnucpro.config import ComputeOptions
from virnucpro.distributed.watchdog import MARK, watched
from virnucpro.environment import (
    default_threads,
    ray_address,
    silence_ray,
)
from virnucpro.errors import ConfigError, VirnucproError
from virnucpro.run.progress import say
from virnucpro.run.text_pool import MAX_CORES
from virnucpro.words import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scale:
    """The cluster (`auto`, HOST:PORT, or None: RAY_ADDRESS or this machine), and the workers and GPUs to use."""

    address: str | None = None
    workers: int | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of workers, the CPU cores and GPUs of each, and their device: cpu or cuda."""

    workers: int
    cpus: int
    gpus: float
    device: str

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{counted(self.workers, 'workers')} with {counted(self.cpus, 'CPU cores')}{gpus} each"


@contextmanager
def connected(scale: Scale) -> Iterator[None]:
    """Join the cluster for this block, or start one that listens only on this machine's loopback interface.

    An existing connection is used and stays open.

    Raises:
        ConfigError: Ray is not installed.
        VirnucproError: there is no such cluster, or the one that was started can be reached from other machines.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    address = ray_address(scale.address)
    if address in (None, "local"):
        with (
            _private_directory() as directory,
            watched(directory),
            _initialized(ray, "local", directory) as context,
        ):
            _require_loopback(context.address_info["node_ip_address"])
            yield
        return
    with _initialized(ray, address) as context:
        dashboard = context.dashboard_url
        say(f"Ray's dashboard: http://{dashboard}" if dashboard else "Ray has no dashboard; pip install 'ray[default]'")
        yield


@contextmanager
def _initialized(ray: Any, address: str, directory: Path | None = None) -> Iterator[Any]:
    """Join a cluster, or with the address `local` start one in a directory; give its context, and shut down.

    Our signal handlers are restored, because Ray installs its own.
    """
    options = _own(directory) if directory else {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _reach(address)
        with _for_loopback(directory):
            context = ray.init(address, logging_level=logging.WARNING, **options)
    except (OSError, ValueError, RuntimeError) as error:
        ray.shutdown()  # what has already started
        reason = str(error).strip().splitlines()[0]
        if address == "local":
            message = (
                f"no Ray cluster could be started: {reason}; if a path is too long, set RAY_TMPDIR to a short directory"
            )
            raise VirnucproError(message) from error
        raise VirnucproError(
            f"no Ray cluster could be joined at {address}: {reason}; "
            "see `ray status` there, or leave --ray-address out to use this machine alone"
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray installs its own for SIGTERM
            signal.signal(number, handler)
    try:
        yield context
    finally:
        ray.shutdown()


@contextmanager
def _private_directory() -> Iterator[Path]:
    """Make a private directory for Ray's sockets and logs, and remove it at the end.

    Ray's default, /tmp/ray, is writable for all users. The name is short because socket names have at most 107 bytes.
    """
    with TemporaryDirectory(prefix="ray-", dir=os.environ.get("RAY_TMPDIR"), ignore_cleanup_errors=True) as directory:
        yield Path(directory).resolve()  # /proc shows resolved paths


def _own(directory: Path) -> dict[str, Any]:
    """Return the options of a cluster on this machine only.

    Ray would use all cores, even those that a batch system did not allot. It opens its directory to all users, so that
    directory is put inside a private one.
    """
    return {"num_cpus": default_threads(), "include_dashboard": False, "_temp_dir": str(directory / "r")}


@contextmanager
def _for_loopback(directory: Path | None) -> Iterator[None]:
    """Make a cluster started in this block listen on the loopback interface, and mark its processes.

    Ray replaces 127.0.0.1 by the network address unless its support of several machines is disabled by a variable. It
    reads the variable at import, which may be earlier. Without a directory nothing changes.
    """
    if directory is None:
        yield
        return
    constants: Any = import_module("ray._private.ray_constants")
    before, changed = constants.ENABLE_RAY_CLUSTER, {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", MARK: str(directory)}
    variables = {name: os.environ.get(name) for name in changed}
    constants.ENABLE_RAY_CLUSTER = False
    os.environ.update(changed)
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        for name, value in variables.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _require_loopback(address: str) -> None:
    """Raise if other machines can reach the cluster of this machine."""
    if not ip_address(address).is_loopback:
        raise VirnucproError(
            f"Ray listens at {address}, where other machines can reach it; "
            "install another version of Ray, or start a cluster yourself and name it with --ray-address"
        )


def _reach(address: str) -> None:
    """Connect to HOST:PORT once, because Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def import_ray() -> Any:
    """Import Ray, with its usage statistics off unless RAY_USAGE_STATS_ENABLED turns them on.

    Raises:
        ConfigError: it is not installed, or too old.
    """
    version = RAY.version
    if version is None or RAY.is_older(version):
        found = "is not installed" if version is None else f"has version {version} here"
        raise ConfigError(f"--engine ray needs Ray, which {found}: {RAY.install_command}")
    silence_ray()
    import ray

    return ray


def make_plan(scale: Scale, options: ComputeOptions, nodes: Sequence[dict[str, float]]) -> Plan:
    """Return the number of workers, by default as many as the nodes have room for, and the resources of each.

    `nodes` are the resources CPU and GPU of each node.

    `options.threads` is the number of CPU cores of a worker: by default 1, beside a GPU its share of the node's cores,
    one of which is left to the driver, and no more than it can use.

    Raises:
        ConfigError: the cluster has no room for a worker, or the options contradict each other.
    """
    if options.device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"device must be auto, cpu or cuda on Ray, got {options.device!r}; gpus says how many", "device", "gpus"
        )
    cores, n_gpus = options.threads or 1, int(sum(node.get("GPU", 0) for node in nodes))
    on_gpus = options.device == "cuda" or (options.device == "auto" and (scale.gpus or (scale.gpus is None and n_gpus)))
    if not on_gpus:
        if scale.gpus:
            raise ConfigError(f"gpus {scale.gpus} and device {options.device} exclude each other", "gpus", "device")
        room = sum(int(node.get("CPU", 0)) // cores for node in nodes)
        return Plan(_some(scale.workers or room, cores, "", nodes), cores, 0, "cpu")
    if options.threads is None:
        shares = [int(node.get("CPU", 0) // node["GPU"]) - 1 for node in nodes if node.get("GPU", 0) >= 1]
        workers_of_gpu = max(1, (scale.workers or 1) // (scale.gpus or scale.workers or 1))
        cores = max(1, min(MAX_CORES, *shares) // workers_of_gpu) if shares else 1
    room = sum(min(int(node.get("CPU", 0)) // cores, int(node.get("GPU", 0))) for node in nodes)
    gpus = _some(scale.gpus or scale.workers or room, cores, " and a GPU", nodes)
    workers = scale.workers or gpus
    if workers % gpus:
        raise ConfigError(f"workers must be a multiple of gpus, got {workers} and {gpus}", "workers", "gpus")
    return Plan(workers, cores, gpus / workers, "cuda")


def _some(number: int, cores: int, gpu: str, nodes: Sequence[dict[str, float]]) -> int:
    if number < 1:
        found = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
        raise ConfigError(
            f"no node has {cores} CPU cores{gpu} for a worker; the cluster has: {found}. Use fewer --threads, another "
            "--device, or give --workers to wait for nodes that will join"
        )
    return number
