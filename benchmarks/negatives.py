"""False calls on hard negatives: python benchmarks/negatives.py DATA [--split val] [--elements FASTA].

Hosts are windows of each class, as they are and as tandem repeats: copies of their first 20 to 200 nt with up to 10 %
of the letters replaced. FASTA has mobile elements that the model was not trained on. Each window is a record by itself
under the default composition; figures are the shares that each preset calls virus. Writes
benchmarks/results/negatives_SPLIT.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from timing import write_results

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.evaluate.genomes import VIRUS, read_genomes, sample_windows
from virnucpro.seq import read_records

PRESETS = ("sensitive", "balanced", "strict")
N_HOST = 200
WINDOWS = (150, 300, 500, 1000, 2000, 5000)
ACGT = np.frombuffer(b"ACGT", np.uint8)


def repeat(text: bytes, rng: np.random.Generator) -> bytes:
    """Return copies of the first 20 to 200 nt of a text, as long as the text, with up to 10 % of letters replaced."""
    unit = int(rng.integers(20, min(200, len(text) // 2) + 1))
    letters = np.resize(np.frombuffer(text, np.uint8)[:unit], len(text)).copy()
    changed = rng.random(len(text)) < 0.1 * rng.random()
    letters[changed] = ACGT[rng.integers(4, size=int(changed.sum()))]
    return letters.tobytes()


def pieces(path: Path, length: int, rng: np.random.Generator) -> list[bytes]:
    """Return one piece of each record that is long enough, at a random place."""
    texts = [record.sequence for record in read_records([path]) if len(record.sequence) >= length]
    return [text[place : place + length] for text in texts for place in [int(rng.integers(len(text) - length + 1))]]


def measure(predictors: dict[str, Predictor], sequences: list[bytes]) -> dict[str, Any]:
    """Return how many sequences there are, and the shares that presets call virus."""
    records = [Record(str(row), text) for row, text in enumerate(sequences)]
    shares = {
        name: np.mean([bool(result.call.is_virus) for result in predictor.run(records)])
        for name, predictor in predictors.items()
    }
    return {"windows": len(records), **{name: round(float(share), 4) for name, share in shares.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--elements", type=Path, help="FASTA of mobile elements")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    predictors = {
        name: Predictor(
            load_model(arguments.model),
            Options(device="cpu", precision="fp32", threads=arguments.threads, preset=name),
        )
        for name in PRESETS
    }
    genomes = read_genomes(arguments.data, arguments.split, exclude=["viroid"])
    hosts = sorted(set(genomes.classes.tolist()) - {VIRUS})
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []

    def add(what: str, nt: int, sequences: list[bytes]) -> None:
        rows.append({"what": what, "nt": nt, **measure(predictors, sequences)})
        print(rows[-1], flush=True)

    for length in WINDOWS:
        drawn = sample_windows(genomes, length, dict.fromkeys(hosts, N_HOST if length < 1000 else N_HOST // 2), seed=4)
        drawn = [window for window in drawn if len(window.sequence) == length]
        for host in hosts:
            add(host, length, [window.sequence for window in drawn if window.class_name == host])
        if length <= 500:
            add("tandem repeats", length, [repeat(window.sequence, rng) for window in drawn[::2]])
            if arguments.elements:
                add("mobile elements", length, pieces(arguments.elements, length, rng))
    write_results(f"negatives_{arguments.split}", rows, show=False)


if __name__ == "__main__":
    main()
