"""How true scores are in samples: python benchmarks/samples.py DATA [--split val] [--model NAME] [--windows 1500].

Windows of every class are drawn by taxon and scored once, by length, as single records and as pairs of mates. Samples
are mixtures of them, without repetition: some hosts, and 0 to 50 % of virus. Each is judged as `predict` judges a run.
Written are the true and the estimated share of virus with its interval, and for records with `fdr` up to a limit their
number, the real share of others and the recall; AUROC under the composition of the sample and under that of hosts all
alike. Writes benchmarks/results/samples_SPLIT_MODEL.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from timing import write_results

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.evaluate.genomes import VIRUS, Genomes, read_genomes, sample_windows
from virnucpro.evaluate.metrics import auroc
from virnucpro.pretrained.locations import find_model
from virnucpro.run.rows import evidence_of
from virnucpro.scores.calibration import against_mixture
from virnucpro.scores.composition import Evidence, SampleRule
from virnucpro.scores.evidence import STEPS
from virnucpro.scores.reference import REFERENCE_FILE, Reference
from virnucpro.seq.block import RecordBlock, group_records

LENGTHS = (150, 300, 500, 2000)
VIRUS_SHARES = (0.0, 0.001, 0.01, 0.1, 0.5)
LIMITS = (0.05, 0.1, 0.2, 0.3)
SAMPLES: dict[str, dict[str, float]] = {
    "bacteria": {"bacteria": 1.0},
    "gut": {"bacteria": 0.85, "plasmid": 0.05, "archaea": 0.02, "vertebrate": 0.08},
    "human tissue": {"vertebrate": 0.97, "bacteria": 0.03},
    "plant": {"plant": 0.85, "organelle": 0.10, "bacteria": 0.05},
    "insect": {"invertebrate": 0.9, "bacteria": 0.1},
    "soil": {"bacteria": 0.7, "archaea": 0.1, "fungi": 0.1, "plasmid": 0.1},
    "archaea": {"archaea": 1.0},
}
BLOCK = (2048, 1 << 20)


class Pools:
    """Scored windows by class; each is used once in a sample."""

    def __init__(self, evidence: Evidence, classes: np.ndarray) -> None:
        self.evidence, self.classes = evidence, classes
        self.hosts = sorted(set(classes.tolist()) - {VIRUS})

    def sample(self, hosts: dict[str, float], virus: float, rng: np.random.Generator) -> tuple[Evidence, np.ndarray]:
        """Return as many windows as there are of such a mixture, and which of them are of viruses."""
        shares = {name: share * (1 - virus) for name, share in hosts.items()} | {VIRUS: virus}
        have = {name: int((self.classes == name).sum()) for name in shares}
        size = min(have[name] / share for name, share in shares.items() if share)
        rows = [
            rng.choice(np.flatnonzero(self.classes == name), round(size * share), replace=False)
            for name, share in shares.items()
        ]
        chosen = np.concatenate(rows)
        return self.evidence[chosen], self.classes[chosen] == VIRUS


def score(predictor: Predictor, genomes: Genomes, length: int, windows: int, paired: bool) -> Pools:
    """Draw and score windows of each class; a pair has two mates of `length` nt with 100 nt between them."""
    counts = {name: windows for name in sorted(set(genomes.classes.tolist()))}
    drawn = sample_windows(genomes, 2 * length + 100 if paired else length, counts, seed=1)
    size = 2 * length + 100 if paired else length
    drawn = [window for window in drawn if len(window.sequence) == size]
    rng = np.random.default_rng(2)
    complement = bytes.maketrans(b"ACGT", b"TGCA")
    records = []
    for window in drawn:
        text = window.sequence
        if rng.random() < 0.5:
            text = text.translate(complement)[::-1]
        if paired:
            mates = Record("", text[:length]), Record("", text[-length:].translate(complement)[::-1])
            records.append(Record("", b"", mates=mates))
        else:
            records.append(Record("", text))
    parts = [
        evidence_of(predictor.call(RecordBlock.of(group)), predictor.decision)
        for group in group_records(records, *BLOCK)
    ]
    return Pools(np.concatenate(parts), np.array([window.class_name for window in drawn]))


def judge(evidence: Evidence, is_virus: np.ndarray, rule: SampleRule, default: np.ndarray) -> dict[str, Any]:
    """Return what a run says of a sample, and what is true."""
    found = rule.composition([evidence])
    assert found is not None
    judged = found.judge(evidence)
    row: dict[str, Any] = {
        "records": len(evidence),
        "virus": round(float(is_virus.mean()), 4),
        "estimated": round(found.prevalence, 4),
        "interval": None if found.interval is None else [round(bound, 4) for bound in found.interval],
    }
    if is_virus.any():
        row["auroc"] = round(auroc(judged.posterior[is_virus], judged.posterior[~is_virus]), 4)
        ratios = against_mixture(evidence["steps"] / STEPS, default)
        row["auroc_hosts_alike"] = round(auroc(ratios[is_virus], ratios[~is_virus]), 4)
    for limit in LIMITS:
        kept = judged.known & (judged.fdr <= limit)
        row[f"fdr {limit}"] = {
            "kept": int(kept.sum()),
            "real": round(float((~is_virus[kept]).mean()), 4) if kept.any() else None,
            "recall": round(float((kept & is_virus).sum() / max(1, is_virus.sum())), 4),
        }
    if judged.is_virus is not None:
        hits = judged.is_virus & judged.known
        row["preset"] = {
            "recall": round(float(hits[is_virus].mean()), 4) if is_virus.any() else None,
            "false_positive_rate": round(float(hits[~is_virus].mean()), 4),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--windows", type=int, default=1500)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    options = Options(device="auto", precision="fp32", threads=arguments.threads)
    predictor = Predictor(load_model(arguments.model), options)
    reference = None
    if REFERENCE_FILE in predictor.description.checksums:
        reference = Reference.read(find_model(arguments.model) / REFERENCE_FILE)
    default = np.ones(1) if reference is None else reference.shares
    rule = SampleRule.choose(reference, predictor.decision.preset, "sample")
    genomes = read_genomes(arguments.data, arguments.split, exclude=["viroid"])
    rows = []
    for length in arguments.lengths:
        for paired in (False, True) if length <= 300 else (False,):
            pools = score(predictor, genomes, length, arguments.windows, paired)
            samples = {**SAMPLES, "equal": dict.fromkeys(pools.hosts, 1 / len(pools.hosts))}
            for name, hosts in samples.items():
                for virus in VIRUS_SHARES:
                    evidence, is_virus = pools.sample(hosts, virus, np.random.default_rng(3))
                    found = judge(evidence, is_virus, rule, default)
                    rows.append({"sample": name, "nt": length, "mates": 1 + paired, **found})
                    print(rows[-1], flush=True)
    write_results(f"samples_{arguments.split}_{predictor.description.name}", rows, show=False)


if __name__ == "__main__":
    main()
