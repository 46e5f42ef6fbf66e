"""CPU seconds of `predict` on 2 750 windows of 500 nt on two cores: this version, another, and DeepMicroClass in turn.

    python benchmarks/cpu_end_to_end.py DATA --avx2 [--before CHECKOUT] [--deepmicroclass EXE] [--rounds 3]

DATA and the windows are those of `peers.py`, which says how DeepMicroClass is installed. Each run is a process of its
own, its start included; tools take turns, and figures are the medians of the rounds. CPU seconds are of user and
system, of the process and its children. `--avx2` has every library compute as on a CPU with AVX2 alone, in float32.
OpenMP threads sleep while they wait (OMP_WAIT_POLICY), so that on a busy machine waiting is not counted as work.
Writes benchmarks/results/cpu_end_to_end.json, with a cold start on four sequences and `--version` besides.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import CORES, N_HOST, N_RARE_HOST, N_VIRUS, RARE
from timing import cpu_name, write_results

from virnucpro.evaluate.genomes import VIRUS, read_genomes, sample_windows, write_windows

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
MEASURES = ("cpu_s", "user_s", "sys_s", "wall_s", "peak_mb")


def measure(command: list[str], folder: Path, settings: dict[str, str]) -> dict[str, float]:
    """Run a command in `folder`; return its seconds and its peak memory."""
    begin = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=os.environ | settings)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{' '.join(command)} failed: {(folder / 'log').read_text(errors='replace')[-1000:]}")
    values = (used.ru_utime + used.ru_stime, used.ru_utime, used.ru_stime, wall, used.ru_maxrss / 1024)
    return dict(zip(MEASURES, values, strict=True))


def commands(arguments: argparse.Namespace, folder: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return the command and the further environment of each contender by name."""
    ours = [sys.executable, "-m", "virnucpro"]
    options = ["--restart", "--device", "cpu", "--threads", str(CORES), *(["--precision", "fp32"] * arguments.avx2)]
    predict = [*ours, "predict", "windows.fa", "-o", "out", *options]
    here = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    found = {"virnucpro": (predict, here)}
    if arguments.before:
        found["virnucpro, before"] = predict, {"PYTHONPATH": str(arguments.before.resolve())}
    if arguments.deepmicroclass:
        peer = [os.path.abspath(arguments.deepmicroclass), "predict", "-i", "windows.fa", "-o", "peer", "-d", "cpu"]
        found["DeepMicroClass"] = [*peer, "-ct", str(CORES)], {}
    lines = (folder / "windows.fa").read_text().splitlines(keepends=True)
    (folder / "four.fa").write_text("".join(lines[: [i for i, s in enumerate(lines) if s.startswith(">")][4]]))
    found["virnucpro, four sequences"] = [*ours, "predict", "four.fa", "-o", "four", *options], here
    found["virnucpro --version"] = [*ours, "--version"], here
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--before", type=Path, help="directory of another version's checkout")
    parser.add_argument("--deepmicroclass", default="", metavar="EXE", help="path of its executable")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--avx2", action="store_true", help="leave AVX-512 and AMX unused")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    genomes = read_genomes(arguments.data, "val", exclude=["viroid"])
    counts = {name: N_RARE_HOST if name in RARE else N_HOST for name in set(genomes.classes.tolist())}
    settings = {"OMP_WAIT_POLICY": "PASSIVE", **(AVX2 if arguments.avx2 else {})}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_windows(sample_windows(genomes, 500, {**counts, VIRUS: N_VIRUS}, seed=0), folder)
        runs: dict[str, list[dict[str, float]]] = {}
        for _ in range(arguments.rounds):
            for tool, (command, further) in commands(arguments, folder).items():
                runs.setdefault(tool, []).append(measure(command, folder, settings | further))
                print(tool, {key: round(value, 2) for key, value in runs[tool][-1].items()}, flush=True)
    rows: list[dict[str, Any]] = []
    peer = [run["cpu_s"] for run in runs.get("DeepMicroClass", [])]
    whole = ("virnucpro", "virnucpro, before", "DeepMicroClass")
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for tool, measured in runs.items():
        medians = {key: round(statistics.median(run[key] for run in measured), 2) for key in MEASURES}
        if medians["peak_mb"] < 1.05 * floor:  # a child begins with the peak of this process
            del medians["peak_mb"]
        ratio = [run["cpu_s"] / theirs for run, theirs in zip(measured, peer, strict=False)]
        compared = {"cpu_to_deepmicroclass": round(statistics.median(ratio), 2)} if ratio and tool in whole else {}
        rows.append({"tool": tool, **medians, **compared, "rounds": len(measured)})
    isa = ", AVX2 only" if arguments.avx2 else ""
    write_results("cpu_end_to_end", rows, device=f"{cpu_name()}, {CORES} cores for each tool{isa}")


if __name__ == "__main__":
    main()
