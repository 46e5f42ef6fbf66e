"""What `virnucpro scan --remnants` costs in hosts: python benchmarks/remnants.py DATA [--split val].

Nine pieces of 25 kb of each of eight bacterial genomes (`group` in records.tsv.gz) of different genera are put
together in their order, with 20 kb of a virus after the fourth. Writes benchmarks/results/remnants.json: the share of
the viruses' windows and of the hosts' that are called, with and without --remnants. Prophages count as hosts.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np
from fit_scan import evidence
from timing import write_results

from virnucpro import Options, Predictor, load_model
from virnucpro.evaluate.genomes import VIRUS, read_genomes
from virnucpro.pipeline.regions import REMNANTS, Landscape, posteriors, strangeness

GENOMES, PIECES, BEFORE, VIRUS_NT = 8, 9, 4, 20_000


def hosts(data: Path, split: str, rng: np.random.Generator) -> list[list[str]]:
    """Return the ids of the pieces of each genome, in their order."""
    pieces: dict[tuple[str, str], list[str]] = {}
    with gzip.open(data / "records.tsv.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["split"] == split and row["class"] == "bacteria":
                pieces.setdefault((row["genus"], row["group"]), []).append(row["id"])
    known = [key for key in pieces if len(pieces[key]) >= PIECES]
    of_genus = {known[i][0]: pieces[known[i]][:PIECES] for i in rng.permutation(len(known))}
    return list(of_genus.values())[:GENOMES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    genomes = read_genomes(arguments.data, arguments.split, exclude=["viroid"])
    number = {name: i for i, name in enumerate(genomes.ids)}

    def whole(record: int) -> bytes:
        return genomes.piece(record, 0, int(genomes.lengths[record])).tobytes()

    viruses = [i for i in range(len(number)) if genomes.classes[i] == VIRUS and genomes.lengths[i] >= VIRUS_NT]
    predictor = Predictor(load_model("bundled"), Options(device="cpu"))
    step, width = predictor.description.chunk_length // 2, predictor.description.chunk_length
    called: dict[str, list[np.ndarray]] = {"default": [], "remnants": []}
    truth = []
    for ids in hosts(arguments.data, arguments.split, rng):
        parts = [whole(number[name]) for name in ids]
        parts.insert(BEFORE, whole(int(rng.choice(viruses)))[:VIRUS_NT])
        sequence, begin = b"".join(parts), sum(map(len, parts[:BEFORE]))
        along = evidence(predictor, sequence, step)
        middles = np.arange(len(along)) * step + width // 2
        truth.append((middles >= begin) & (middles < begin + VIRUS_NT))
        for name, landscape in (("default", Landscape()), ("remnants", REMNANTS)):
            strange = landscape.composition * strangeness(sequence, middles.tolist())
            called[name].append(posteriors(along + strange, step, landscape) >= 0.5)
    true = np.concatenate(truth)
    rows = [
        {
            "scan": name,
            "recall_of_virus": round(float(np.concatenate(found)[true].mean()), 3),
            "share_of_host_called": round(float(np.concatenate(found)[~true].mean()), 4),
            "of_each_host": [round(float(one[~t].mean()), 3) for one, t in zip(found, truth, strict=True)],
        }
        for name, found in called.items()
    ]
    write_results("remnants", rows)


if __name__ == "__main__":
    main()
