"""virnucpro beside DeepMicroClass, Jaeger and geNomad: accuracy and time on the same windows of labelled genomes.

    python benchmarks/peers.py DATA --split val --deepmicroclass EXE --jaeger EXE --genomad EXE [--rounds 3]

DATA is a directory of SPLIT/CLASS.fna (see `virnucpro sample`). Of every length 2 750 windows are drawn by taxon:
1 200 of virus, 200 of each host class, 75 of archaea and of protozoa, of which there is little. Each tool is one
process on two cores, its start included; tools take turns. Rounds are repeated and the least wall and CPU time of
a tool is kept, for others may be busy on the machine; `load` is the machine's load before that round. A tool whose
executable is not given is left out. Writes benchmarks/results/peers_SPLIT.json.

This script installs nothing. Each peer wants an environment of its own (python3 -m venv ENV), CPU builds suffice:

    DeepMicroClass   pip install torch --index-url https://download.pytorch.org/whl/cpu
                     pip install DeepMicroClass==1.0.6.2 requests         (requests is needed and not declared)
    Jaeger           pip install 'jaeger-bio[cpu]==1.26.5'
    geNomad          pip install genomad==1.13.0
                     or, without CUDA's libraries: pip install tensorflow-cpu 'keras>=3' numba pyrodigal-gv \\
                     python-crfsuite rich-click taxopy scipy; pip install --no-deps xgboost genomad==1.13.0

Their models are in the packages. geNomad runs its neural network only, as its other half needs a database and genes
longer than these windows. DeepMicroClass refuses sequences below 500 bp. Jaeger is made for phages and for 2 000 bp;
it gets windows of the length measured. The peers may have been trained on genomes that the windows are from.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timing import cpu_name, write_results

from virnucpro.errors import VirnucproError
from virnucpro.evaluate.genomes import VIRUS, read_genomes, sample_windows, write_windows
from virnucpro.evaluate.truth import evaluate_tables

CORES = 2
N_VIRUS, N_HOST, N_RARE_HOST = 1200, 200, 75
RARE = ("archaea", "protozoa")


@dataclass(slots=True)
class Tool:
    """A tool's name, distribution, executable, arguments and table; both may name {fasta}, {out} and {length}."""

    name: str
    distribution: str
    executable: str
    arguments: str
    table: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    failure: str = ""

    def version(self) -> str:
        code = f"from importlib.metadata import version; print(version({self.distribution!r}))"
        python = Path(os.path.abspath(self.executable)).parent / "python"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        return done.stdout.strip() or "unknown"

    def run(self, fasta: Path, out: Path, length: int) -> Path | None:
        """Run the tool and note its time; return its table, or None where it fails."""
        places = {"fasta": fasta, "out": out, "length": length}
        command = [os.path.abspath(self.executable), *self.arguments.format(**places).split()]
        self.load.append(os.getloadavg()[0])
        cpu, begin = _cpu_seconds(), time.perf_counter()
        with (out.parent / f"{out.name}.log").open("w") as log:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=out.parent, check=False)
        self.wall.append(time.perf_counter() - begin)
        self.cpu.append(_cpu_seconds() - cpu)
        table = Path(self.table.format(**places))
        if done.returncode == 0 and table.is_file():
            return table
        last = (out.parent / f"{out.name}.log").read_text(errors="replace").strip().splitlines()[-1:]
        self.failure = f"failed with exit code {done.returncode}: {' '.join(last)}"
        print(f"{self.name} at {length} bp {self.failure}", flush=True)
        return None

    def times(self) -> dict[str, Any]:
        best = self.wall.index(min(self.wall))
        return {
            "wall_s": round(self.wall[best], 1),
            "cpu_s": round(min(self.cpu), 1),
            "load": round(self.load[best], 1),
            "rounds": len(self.wall),
        }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tools(arguments: argparse.Namespace) -> list[Tool]:
    """Return virnucpro and the peers that were given; say which are left out."""
    ours = f"-m virnucpro predict {{fasta}} -o {{out}} --restart --device cpu --threads {CORES}"
    known = [
        Tool("virnucpro", "virnucpro", sys.executable, ours, "{out}/records.tsv"),
        Tool(
            "DeepMicroClass", "DeepMicroClass", arguments.deepmicroclass,
            f"predict -i {{fasta}} -o {{out}} -d cpu -ct {CORES}", "{out}/windows.fa_pred_one-hot_hybrid.tsv",
        ),
        Tool(
            "Jaeger", "jaeger-bio", arguments.jaeger,
            f"predict -i {{fasta}} -o {{out}} --fsize {{length}} --stride {{length}} --cpu --workers {CORES} -f",
            "{out}/default/windows_jaeger.tsv",
        ),
        Tool(
            "geNomad, neural network", "genomad", arguments.genomad,
            f"nn-classification --restart --threads {CORES} {{fasta}} {{out}}",
            "{out}/windows_nn_classification/windows_nn_classification.tsv",
        ),
    ]  # fmt: skip
    for tool in known:
        if not tool.executable:
            print(f"left out: {tool.name}, its executable is not given", flush=True)
    return [tool for tool in known if tool.executable]


def accuracy(truth: Path, table: Path) -> dict[str, Any]:
    """Return the figures of a table, or why there are none."""
    try:
        found = evaluate_tables(truth, table).summary()
    except VirnucproError as error:
        return {"note": f"no figures: {error}"}
    if found["n_unscored"] == found["n"]:
        return {"n": found["n"], "n_unscored": found["n"], "note": "gave no sequence a score"}
    return {key: value for key, value in found.items() if key not in ("tool", "bootstrap", "calibration_bins")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--lengths", default="500,300", help="nt, with commas between")
    parser.add_argument("--rounds", type=int, default=1)
    for peer in ("deepmicroclass", "jaeger", "genomad"):
        parser.add_argument(f"--{peer}", default="", metavar="EXE", help="path of its executable")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    genomes = read_genomes(arguments.data, arguments.split, exclude=["viroid"])
    counts = {name: N_RARE_HOST if name in RARE else N_HOST for name in set(genomes.classes.tolist())}
    rows = []
    for length in map(int, arguments.lengths.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            write_windows(sample_windows(genomes, length, {**counts, VIRUS: N_VIRUS}, seed=0), work)
            there = tools(arguments)
            tables = {}
            for _ in range(arguments.rounds):
                for number, tool in enumerate(there):
                    tables[tool.name] = tool.run(work / "windows.fa", work / f"tool_{number}", length)
            for tool in there:
                table = tables[tool.name]
                figures = accuracy(work / "truth.tsv", table) if table else {"note": tool.failure}
                named = {"tool": tool.name, "version": tool.version(), "length": length}
                rows.append({**named, **figures, **tool.times()})
    write_results(f"peers_{arguments.split}", rows, device=f"{cpu_name()}, {CORES} cores for each tool")


if __name__ == "__main__":
    main()
