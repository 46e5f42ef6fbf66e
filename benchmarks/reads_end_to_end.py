"""`virnucpro predict` with the bundled model, from a file to all tables and the report.

    python benchmarks/reads_end_to_end.py --genomes DIR [--reads 1000000] [--records 200000]
        [--before DIR] [--ray] [--model NAME]

DIR holds virus.fna.xz and other classes of genomes (CLASS.fna.xz), of which 20 % and 80 % of the reads are drawn;
--before names the sources of another version, which runs in turn with this one. Rates are of the whole command, start
of Python and loading included. GPU use is nvidia-smi's between the first and the last work of the GPU. Peak memory is
that of the process and of all its children together. Writes benchmarks/results/reads_end_to_end.json.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import cpu_name, write_results
from xopen import xopen

from virnucpro.seq.strings import Strings, join_columns

HERE = Path(__file__).resolve().parents[1]
VIRUS_SHARE = 0.2
BATCH = 50_000


def genome_text(path: Path) -> np.ndarray:
    """Return the sequences of a class end to end, as letters (B,) uint8."""
    with lzma.open(path, "rb") as lines:
        return np.frombuffer(b"".join(line.strip() for line in lines if not line.startswith(b">")), np.uint8)


def write_reads(genomes: Path, path: Path, number: int, length: int, fastq: bool) -> None:
    """Write reads of one length, `VIRUS_SHARE` of them virus, with one error in 200 bases."""
    rng = np.random.default_rng(0)
    texts = {file.name.split(".")[0]: genome_text(file) for file in sorted(genomes.glob("*.fna.xz"))}
    hosts = [text for name, text in texts.items() if name != "virus"]
    bases = np.frombuffer(b"ACGT", np.uint8)
    mark, rest = (b"@r", b"\n+\n" + b"F" * length + b"\n") if fastq else (b">r", b"\n")
    with xopen(path, "wb", compresslevel=1, threads=4) as out:
        for begin in range(0, number, BATCH):
            n = min(BATCH, number - begin)
            reads = np.empty((n, length), np.uint8)
            kinds = np.where(rng.random(n) < VIRUS_SHARE, len(hosts), rng.integers(len(hosts), size=n))
            for kind, text in enumerate([*hosts, texts["virus"]]):
                rows = np.flatnonzero(kinds == kind)
                starts = rng.integers(len(text) - length, size=len(rows))
                reads[rows] = text[starts[:, None] + np.arange(length)]
            wrong = np.flatnonzero(rng.random(n * length) < 1 / 200)
            reads.reshape(-1)[wrong] = bases[rng.integers(4, size=len(wrong))]
            numbers = Strings.of([b"%d\n" % row for row in range(begin, begin + n)])
            sequences = Strings(reads.reshape(-1), np.arange(n + 1) * length)
            columns = [Strings.repeat(mark, n), numbers, sequences, Strings.repeat(rest, n)]
            out.write(join_columns(columns).data)


@contextmanager
def watched_gpu(samples: list[int]) -> Iterator[None]:
    """Append the use of the first GPU in percent, five times a second, while the block runs."""
    if not torch.cuda.is_available():
        yield
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", "0", "-lms", "200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = threading.Thread(
            target=lambda: samples.extend(int(line) for line in process.stdout if line.strip().isdigit()), daemon=True
        )
        reader.start()
        try:
            yield
        finally:
            process.terminate()


def memory_of(group: int) -> int:
    """Return the bytes of memory of all processes of a group, what they share counted once for each its part."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if os.getpgid(int(folder.name)) == group:
                rollup = (folder / "smaps_rollup").read_text()
                total += next(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def run(tree: Path, reads: Path, output: Path, extra: list[str]) -> dict[str, Any]:
    """Run `predict` of a source tree; return seconds, GPU use, CPU seconds, peak memory and bytes of output."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    command = [
        sys.executable, "-m", "virnucpro", "-q", "predict", str(reads), "-o", str(output), "--device", device, *extra,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), os.environ.get("PYTHONPATH", "")])}
    environment |= {"PYTHONPYCACHEPREFIX": str(output.parent / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installation has bytecode beside its modules
    samples: list[int] = []
    peak = 0
    with watched_gpu(samples):
        before, begin = os.times(), time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=output.parent, start_new_session=True)
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(0.25)
        seconds, after = time.perf_counter() - begin, os.times()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    stages = json.loads((output / "run.json").read_text())["seconds"]
    busy = [place for place, sample in enumerate(samples) if sample]
    used = samples[busy[0] : busy[-1] + 1] if busy else []
    return {
        "seconds": round(seconds, 2),
        "load_seconds": stages["load"],
        "predict_seconds": stages["predict"],
        "gpu_use": round(statistics.mean(used) / 100, 3) if used else None,
        "cpu_seconds": round(
            after.children_user + after.children_system - before.children_user - before.children_system, 1
        ),
        "peak_memory_mb": peak >> 20,
        "output_mb": sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) >> 20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genomes", type=Path, required=True)
    parser.add_argument("--reads", type=int, default=1_000_000, help="reads of 150 nt, FASTQ.gz")
    parser.add_argument("--records", type=int, default=200_000, help="records of 500 nt, FASTA")
    parser.add_argument("--before", type=Path, help="sources of another version")
    parser.add_argument("--before-reads", type=int, default=100_000, help="reads for it; a fifth of records")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--ray", action="store_true", help="run the reads on Ray, too")
    parser.add_argument("--model", help="a model beside the default one")
    parser.add_argument("--name", default="reads_end_to_end")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what, number, length, fastq in (
            ("reads of 150 nt", given.reads, 150, True), ("records of 500 nt", given.records, 500, False),
        ):  # fmt: skip
            if not number:
                continue
            path = Path(folder, f"{length}.fq.gz" if fastq else f"{length}.fa")
            write_reads(given.genomes, path, number, length, fastq)
            contenders: list[tuple[str, Path, Path, int, list[str]]] = [("this version", HERE, path, number, [])]
            if given.model:
                contenders.append(
                    (f"this version, --model {given.model}", HERE, path, number, ["--model", given.model])
                )
            if given.ray and fastq:
                contenders.append(
                    ("this version, --engine ray", HERE, path, number, ["--engine", "ray", "--gpus", "1"])
                )
            if given.before:
                fewer = min(number, given.before_reads if fastq else given.before_reads // 5)
                few = path.with_name(f"few_{path.name}")
                write_reads(given.genomes, few, fewer, length, fastq)
                contenders.append(("before", given.before.resolve(), few, fewer, []))
            warm = path.with_name(f"warm_{path.name}")
            write_reads(given.genomes, warm, 5000, length, fastq)
            for place, (_, tree, _, _, extra) in enumerate(contenders):  # compiled kernels are then in caches
                run(tree, warm, Path(folder, f"warm_{length}_{place}"), extra)
            for repeat in range(given.repeats):
                for name, tree, source, n, extra in contenders:
                    output = Path(folder, f"out_{len(rows)}")
                    figures = run(tree, source, output, extra)
                    rate = round(n / figures["seconds"])
                    row = {
                        "input": what,
                        "number": n,
                        "contender": name,
                        "per_second": rate,
                        **figures,
                        "repeat": repeat,
                    }
                    rows.append(row)
                    print(row, flush=True)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    write_results(given.name, rows, device=f"{gpu}, {os.cpu_count()} cores" if gpu else cpu_name())


if __name__ == "__main__":
    main()
