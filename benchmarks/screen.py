"""A screen before a large model: what it lets through, and what it saves.

    python benchmarks/screen.py DATA [--split val] [--virus-split NAME] [--model hosts] [--threads 1]
    python benchmarks/screen.py DATA --speed TOKENIZER [--chunks 40960] [--protein 3B] [--smoke]

DATA holds SPLIT/CLASS.fna files. The first command draws windows of each class by taxon. It says how many viruses pass
a screen for each stated recall (`recall`; `recall_with_frame` of those with a frame for a published model), and by
class the share of windows that reach the large model: `without` a screen, which is that with a frame free of stop
codons, and with one, `large`. `frames` are those that the large model computes of a window. `mean` is that over host
classes. Writes benchmarks/results/screen_SPLIT.json, named after the split of the viruses.

The second command is for a GPU. It runs `virnucpro predict` with a model of the published shapes and random weights on
windows of DATA, with 1 % and 20 % virus, without a screen and with one of 0.99. TOKENIZER holds the tokenizer.json of
DNABERT-2. Writes benchmarks/results/screen_speed.json. --smoke runs tiny shapes, also on a CPU, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gpu_end_to_end import predict, published_shape, write_model
from timing import write_results

from virnucpro import Options, Predictor, load_model
from virnucpro.config import FrameRule
from virnucpro.evaluate.genomes import VIRUS, Genomes, Window, read_genomes, sample_windows
from virnucpro.models import ESM2_SHAPES, DNABERTConfig, ESM2Config
from virnucpro.pipeline.device import choose_device
from virnucpro.pretrained.locations import find_model
from virnucpro.scores.reference import REFERENCE_FILE, Reference
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.strings import Strings

LENGTHS, SHARES = (500, 300), (0.999, 0.99, 0.95)
VIRUS_SHARES, SPEED_SHARE, SPEED_NT = (0.01, 0.2), 0.99, 500
SEED, PASS = 5, 2048
Floats = npt.NDArray[np.float64]


def judge(predictor: Predictor, windows: list[Window]) -> tuple[Floats, Floats, Floats]:
    """Return evidence, judged length and number of frames for a published model of each window, all (N,)."""
    evidence, lengths, frames = [], [], []
    for begin in range(0, len(windows), PASS):
        letters = Strings.of([window.sequence for window in windows[begin : begin + PASS]])
        calls = predictor.call(RecordBlock.unnamed(letters))
        evidence.append(calls.record.log_ratio)
        lengths.append(calls.judged_length)
        frames.append(np.bincount(find_frames(letters, FrameRule("stop_free")).chunk, minlength=len(letters)))
    return np.concatenate(evidence), np.concatenate(lengths), np.concatenate(frames)


def by_class(values: npt.NDArray[Any], classes: npt.NDArray[np.str_]) -> dict[str, float]:
    """Return the mean of values (N,) for each class, and the mean over host classes."""
    found = {name: float(values[classes == name].mean()) for name in sorted(set(classes.tolist()))}
    found["mean"] = float(np.mean([value for name, value in found.items() if name != VIRUS]))
    return {name: round(value, 4) for name, value in found.items()}


def passing(arguments: argparse.Namespace) -> None:
    """Measure what screens let through."""
    predictor = Predictor(load_model(arguments.model), Options(precision="fp32", threads=arguments.threads))
    reference = Reference.read(find_model(arguments.model) / REFERENCE_FILE)
    virus_split = arguments.virus_split or arguments.split
    hosts = read_genomes(arguments.data, arguments.split, ["viroid"])
    viruses = hosts if virus_split == arguments.split else read_genomes(arguments.data, virus_split, ["viroid"])
    counts = {name: arguments.windows for name in set(hosts.classes.tolist()) - {VIRUS}}
    rows: list[dict[str, Any]] = []
    for length in LENGTHS:
        drawn = sample_windows(hosts, length, counts, SEED)
        drawn += sample_windows(viruses, length, {VIRUS: 6 * arguments.windows}, SEED)
        classes = np.array([window.class_name for window in drawn])
        evidence, lengths, frames = judge(predictor, drawn)
        framed, virus = frames > 0, classes == VIRUS
        taxa = len({window.taxon for window in drawn if window.class_name == VIRUS})
        of_all = {"nt": length, "windows_of_virus": int(virus.sum()), "taxa_of_virus": taxa}
        without, frames_without = by_class(framed, classes), by_class(frames, classes)
        for share in SHARES:
            thresholds = reference.recall_thresholds(share, framed=True)
            passed = ~(evidence < thresholds[np.minimum(lengths, len(thresholds) - 1)])
            rows.append({
                **of_all, "stated": share, "threshold": round(float(thresholds[length]), 3),
                "recall": round(float(passed[virus].mean()), 4),
                "recall_with_frame": round(float(passed[virus & framed].mean()), 4),
                "without": without, "large": by_class(framed & passed, classes),
                "frames_without": frames_without, "frames": by_class(frames * passed, classes),
            })  # fmt: skip
            print(rows[-1], flush=True)
    write_results(f"screen_{virus_split}", rows, show=False)


def write_sample(path: Path, genomes: Genomes, chunks: int, virus: float) -> None:
    """Write windows as FASTA: this share of viruses, and host classes alike, in random order."""
    hosts = sorted(set(genomes.classes.tolist()) - {VIRUS})
    counts = {name: round(chunks * (1 - virus) / len(hosts)) for name in hosts} | {VIRUS: round(chunks * virus)}
    windows = sample_windows(genomes, SPEED_NT, counts, SEED)
    with path.open("w") as file:
        for number in np.random.default_rng(SEED).permutation(len(windows)).tolist():
            file.write(f">{windows[number].class_name}_{number}\n{windows[number].sequence.decode()}\n")


def speed(arguments: argparse.Namespace) -> None:
    """Measure runs from file to tables."""
    device = choose_device("auto")
    protein, nucleotide = ESM2_SHAPES[arguments.protein], DNABERTConfig()
    if arguments.smoke:
        protein, nucleotide = ESM2Config(2, 64, 4), DNABERTConfig(2, 48, 12, 96)
    genomes = read_genomes(arguments.data, arguments.split, ["viroid"])
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model"
        write_model(published_shape(protein, nucleotide, arguments.speed, device), arguments.speed, model)
        torch.cuda.empty_cache()
        for virus in VIRUS_SHARES:
            sample = Path(directory) / f"virus_{virus}.fa"
            write_sample(sample, genomes, arguments.chunks, virus)
            for screen in (None, SPEED_SHARE):
                output = Path(directory) / f"{sample.stem}_{screen}"
                given = [] if screen is None else ["--screen", str(screen), "--screen-model", arguments.model]
                row = predict(sample, model, output, given, device.type == "cuda")
                counts = json.loads((output / "run.json").read_text())["counts"]
                row = {"virus": virus, "screen": screen, "protein": arguments.protein, **row}
                row["screened_chunks"] = counts["screened_chunks"]
                if screen is not None:
                    row["times_faster"] = round(rows[-1]["predict_s"] / row["predict_s"], 2)
                    row["times_faster_with_start"] = round(rows[-1]["wall_s"] / row["wall_s"], 2)
                rows.append(row)
                print(row, flush=True)
                if not arguments.smoke:  # after each run: what has been measured survives an interruption
                    write_results("screen_speed", rows, show=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory with SPLIT/CLASS.fna files")
    parser.add_argument("--split", default="val")
    parser.add_argument("--virus-split", help="where the viruses are from, if not from --split")
    parser.add_argument("--model", default="bundled", help="the model of the screen")
    parser.add_argument("--windows", type=int, default=1000, help="of each host class; six times as many of virus")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--speed", type=Path, metavar="TOKENIZER", help="measure runs; directory of tokenizer.json")
    parser.add_argument("--chunks", type=int, default=40_960)
    parser.add_argument("--protein", choices=ESM2_SHAPES, default="3B")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    (speed if arguments.speed else passing)(arguments)


if __name__ == "__main__":
    main()
