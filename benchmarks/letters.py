"""What letters and ends of real reads do to calls: python benchmarks/letters.py DATA [--split val].

600 windows of virus and 200 of every host class, each as it is and damaged in one way: single N, IUPAC codes, runs of
N, homopolymers at an end. `false_calls` is the share of hosts that the default preset calls virus, mean over host
classes; `recall` that of viruses. For comparison, `random` puts random bases in the places of N. Writes
benchmarks/results/letters_SPLIT.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.evaluate.genomes import VIRUS, read_genomes, sample_windows

LENGTHS = (500, 300, 150)
N_VIRUS, N_HOST = 600, 200
IUPAC = {"A": "RMW", "C": "YMS", "G": "RKS", "T": "YKW"}

Damage = Callable[[str, np.random.Generator], str]


def scattered(share: float, letters: str) -> Damage:
    """Put one of the letters in a share of the places."""

    def damage(sequence: str, rng: np.random.Generator) -> str:
        text = list(sequence)
        for place in rng.choice(len(text), max(1, round(share * len(text))), replace=False):
            text[place] = letters[rng.integers(len(letters))]
        return "".join(text)

    return damage


def iupac(share: float) -> Damage:
    """Put a code for two bases, one of them the right one, in a share of the places."""

    def damage(sequence: str, rng: np.random.Generator) -> str:
        text = list(sequence)
        for place in rng.choice(len(text), max(1, round(share * len(text))), replace=False):
            text[place] = IUPAC[text[place]][rng.integers(3)]
        return "".join(text)

    return damage


def indels(share: float) -> Damage:
    """Insert a random base after, or delete, a share of the bases, each as often."""

    def damage(sequence: str, rng: np.random.Generator) -> str:
        lots = rng.random(len(sequence))
        return "".join(
            "" if lot < share / 2 else base + "ACGT"[rng.integers(4)] if lot < share else base
            for base, lot in zip(sequence, lots, strict=True)
        )

    return damage


def masked(nt: int) -> Damage:
    """Put a run of N in the place of the middle."""
    return lambda sequence, _: _around(sequence, nt, "N" * nt)


def _around(sequence: str, nt: int, middle: str) -> str:
    begin = (len(sequence) - nt) // 2
    return sequence[:begin] + middle + sequence[begin + nt :]


def with_end(base: str, nt: int, errors: float = 0.0, head: bool = False) -> Damage:
    """Write a homopolymer past an end, with a share of errors in it."""

    def damage(sequence: str, rng: np.random.Generator) -> str:
        end = "".join("ACGT"[rng.integers(4)] if rng.random() < errors else base for _ in range(nt))
        return end + sequence if head else sequence + end

    return damage


DAMAGES: dict[str, Damage] = {
    "none": lambda sequence, _: sequence,
    **{f"{share} % N": scattered(share / 100, "N") for share in (1, 5, 20)},
    **{f"{share} % random": scattered(share / 100, "ACGT") for share in (1, 5)},
    **{f"{share} % indels": indels(share / 100) for share in (0.6, 1, 3)},
    **{f"{share} % IUPAC": iupac(share / 100) for share in (1, 5)},
    **{f"{nt} N in the middle": masked(nt) for nt in (6, 20, 100)},
    **{f"tail of {nt} {base}": with_end(base, nt) for base in "ACGT" for nt in (10, 50)},
    **{f"head of 50 {base}": with_end(base, 50, head=True) for base in "ACGT"},
    "tail of 40 G, 5 % errors": with_end("G", 40, errors=0.05),
}


def called(predictor: Predictor, sequences: Sequence[str], name: str) -> list[bool | None]:
    """Return the calls of sequences after the damage of this name."""
    rng = np.random.default_rng(0)
    records = (Record("", DAMAGES[name](sequence, rng).encode()) for sequence in sequences)
    return [result.call.is_virus for result in predictor.run(records)]


def measure(predictor: Predictor, sequences: Sequence[str], classes: Sequence[str], name: str) -> dict[str, float]:
    """Return false calls, recall and the share without a call of windows after one kind of damage."""
    calls, of_class = called(predictor, sequences, name), np.array(classes)
    is_virus = np.array([bool(call) for call in calls])
    hosts = sorted(set(classes) - {VIRUS})
    return {
        "false_calls": float(np.mean([is_virus[of_class == host].mean() for host in hosts])),
        "recall": float(is_virus[of_class == VIRUS].mean()),
        "not_called": calls.count(None) / len(calls),
    }


def draw(data: Path, split: str, length: int) -> tuple[list[str], list[str]]:
    """Return windows without ambiguous letters and their classes."""
    genomes = read_genomes(data, split, exclude=["viroid"])
    counts = {name: N_VIRUS if name == VIRUS else N_HOST for name in sorted(set(genomes.classes.tolist()))}
    windows = [w for w in sample_windows(genomes, length, counts, seed=0) if len(w.sequence) == length]
    windows = [w for w in windows if not w.sequence.translate(None, b"ACGT")]
    return [w.sequence.decode() for w in windows], [w.class_name for w in windows]


def main() -> None:
    from timing import write_results

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--damages", nargs="+", default=list(DAMAGES), choices=DAMAGES)
    arguments = parser.parse_args()
    predictor = Predictor(load_model(arguments.model), Options(device=arguments.device, precision="fp32"))
    rows = []
    for length in arguments.lengths:
        sequences, classes = draw(arguments.data, arguments.split, length)
        for name in arguments.damages:
            found = {key: round(value, 4) for key, value in measure(predictor, sequences, classes, name).items()}
            rows.append({"nt": length, "damage": name, "windows": len(sequences), **found})
            print(rows[-1], flush=True)
    write_results(f"letters_{arguments.split}", rows)


if __name__ == "__main__":
    main()
