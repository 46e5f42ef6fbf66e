"""What every benchmark shares: medians, the device line, and the JSON under benchmarks/results/."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def median_seconds(function: Callable[[], object], repeats: int = 200, warmup: int = 20) -> float:
    """Return the median wall time of a call; on a GPU each call is waited for."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    for _ in range(warmup):
        function()
    wait()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        wait()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def cpu_name() -> str:
    """Return the CPU's name as the operating system gives it, with its core count."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


def write_results(
    name: str, rows: list[dict[str, Any]], device: str | None = None, peers: Sequence[str] = (), show: bool = True
) -> None:
    """Write benchmarks/results/NAME.json with device, command, date and versions, also of `peers`; show the rows."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for peer in peers:
        with suppress(metadata.PackageNotFoundError):
            versions[peer] = metadata.version(peer)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    result = {
        "device": device or gpu or cpu_name(),
        "command": " ".join(
            ["python", *(Path(word).name if word.startswith(("/", "..")) else word for word in sys.argv)]
        ),
        "date": date.today().isoformat(),
        "versions": versions,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if not show:
        return
    print(f"{result['device']}, torch {torch.__version__}")
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))
