"""Join a Ray cluster, or start one on this machine, and plan how many workers it holds."""

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

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scale:
    """Which cluster (`auto`, HOST:PORT, or None: RAY_ADDRESS or this machine), and how many workers and GPUs of it."""

    address: str | None = None
    workers: int | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """So many workers, each with so many CPU cores and GPUs, on a device cpu or cuda."""

    workers: int
    cpus: int
    gpus: float
    device: str

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.workers} workers with {self.cpus} CPU core{'s' * (self.cpus > 1)}{gpus} each"


@contextmanager
def connected(scale: Scale) -> Iterator[None]:
    """Join the cluster for the block, or start one that listens on this machine's loopback interface alone.

    A connection that was there before is used and left.

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
    """Join a cluster, or start one in a directory with the address `local`; give its context, and shut down.

    The handlers of signals stay ours.
    """
    options = _own(directory) if directory else {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _reach(address)
        with _for_loopback(directory):
            context = ray.init(address, logging_level=logging.WARNING, **options)
    except (OSError, ValueError, RuntimeError) as error:
        ray.shutdown()  # what was started already
        reason = str(error).strip().splitlines()[0]
        if address == "local":
            message = (
                f"no Ray cluster could be started: {reason}; RAY_TMPDIR may name a directory of a short path for it"
            )
            raise VirnucproError(message) from error
        raise VirnucproError(
            f"no Ray cluster could be joined at {address}: {reason}; "
            "see `ray status` there, or leave --ray-address out to use this machine alone"
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray has its own for SIGTERM
            signal.signal(number, handler)
    try:
        yield context
    finally:
        ray.shutdown()


@contextmanager
def _private_directory() -> Iterator[Path]:
    """Make a directory for Ray's sockets and logs that no other user can enter or guess, and remove it at the end.

    Ray's own, /tmp/ray, is writable for all users. Names of sockets have at most 107 bytes, so this name is short.
    """
    with TemporaryDirectory(prefix="ray-", dir=os.environ.get("RAY_TMPDIR"), ignore_cleanup_errors=True) as directory:
        yield Path(directory).resolve()  # as /proc shows it


def _own(directory: Path) -> dict[str, Any]:
    """Return the options of a cluster on this machine alone.

    Ray would take all cores, whatever a batch system allots. It opens its own directory to all users, so that lies
    in one that stays closed.
    """
    return {"num_cpus": default_threads(), "include_dashboard": False, "_temp_dir": str(directory / "r")}


@contextmanager
def _for_loopback(directory: Path | None) -> Iterator[None]:
    """Make a cluster that is started in this block listen on the loopback interface, and mark its processes.

    Ray replaces 127.0.0.1 by the address of the network, except where its support of several machines is turned off.
    It reads that variable when it is imported, which may have been before. Nothing is changed without a directory.
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
    """Refuse a cluster of this machine that other machines can reach."""
    if not ip_address(address).is_loopback:
        raise VirnucproError(
            f"Ray listens at {address}, where other machines can reach it, and not on this machine alone; "
            "install another version of Ray, or start a cluster yourself and name it with --ray-address"
        )


def _reach(address: str) -> None:
    """Connect to HOST:PORT once: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def import_ray() -> Any:
    """Import Ray, which then reports nothing to its makers unless RAY_USAGE_STATS_ENABLED says so.

    Raises:
        ConfigError: it is not installed, or too old.
    """
    version = RAY.version
    if version is None or RAY.is_older(version):
        found = "is not installed" if version is None else f"is {version} here"
        raise ConfigError(f"--engine ray needs Ray, which {found}: {RAY.install_command}")
    silence_ray()
    import ray

    return ray


def make_plan(scale: Scale, options: ComputeOptions, nodes: Sequence[dict[str, float]]) -> Plan:
    """Return how many workers to start, by default as many as the nodes have room for, and what each gets.

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
