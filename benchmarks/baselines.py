"""The bundled model beside a plain CNN and a k-mer baseline: accuracy on the same windows, and CPU time a chunk.

    python benchmarks/baselines.py DATA [--split val] [--seconds 600] [--device cpu] [--models cnn,mlp]

logistic   counts of canonical 4- and 6-mers (a k-mer and its reverse complement are one) and of dipeptides, stops
           among them, over all six frames, as roots of their shares, through a logistic regression
mlp        the same through two hidden layers
cnn        a 1-D convolutional network on the one-hot chunk, the logits of both strands averaged, of such a width that
           a chunk takes about the CPU time that it takes the bundled model
cnn-small  the same at a third of the cost, which sees more windows in the same time

All learn from windows of the split train, drawn as for the bundled model but without its sequencing errors, for at
most --seconds each on --device. What is compared is what each gets from like cost at inference (the k-mer baselines
cannot use so much and are cheaper), not from like training: the bundled model saw 53 million windows on an H100, and
how many a baseline saw stands in its row. With --device cuda it sees more. Seconds on a CPU are CPU time divided by
the threads, so that others on the machine do not shorten the training. Time a chunk is CPU time on one thread, text
stage included, on windows of 500 bp: the median of rounds in which the models take turns.

Writes benchmarks/results/baselines_SPLIT.json.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timing import cpu_name, write_results
from torch import Tensor, nn

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.environment import default_threads
from virnucpro.evaluate.bootstrap import Bootstrap
from virnucpro.evaluate.genomes import VIRUS, Genomes, Window, read_genomes, sample_windows
from virnucpro.evaluate.metrics import MACRO, Sample, evaluate

LENGTHS = (500, 300, 150)
FREE_LENGTHS, FIXED_SHARE = (75, 500), 0.7  # of training windows, as of the bundled model
CLASS_SHARE = {
    "virus": 0.5, "bacteria": 0.12, "plasmid": 0.08, "archaea": 0.07, "fungi": 0.06, "plant": 0.05,
    "vertebrate": 0.04, "invertebrate": 0.03, "protozoa": 0.03, "organelle": 0.02,
}  # fmt: skip
BATCH = 256
UNKNOWN = 4  # letters other than A, C, G, T, and what lies past the end of a window
TIMED_WINDOWS, ROUNDS = 512, 5

_NUMBER = np.full(256, UNKNOWN, dtype=np.uint8)
_NUMBER[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)
_RESIDUES = "KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF"  # NCBI table 1, in ACGT order
_ALPHABET = sorted(set(_RESIDUES))


def letters(sequences: list[bytes]) -> Tensor:
    """Return (B, L) uint8 of 0..3 for A, C, G, T, filled up with UNKNOWN."""
    length = max(map(len, sequences))
    padded = b"".join(sequence.ljust(length, b"N") for sequence in sequences)
    return torch.from_numpy(_NUMBER[np.frombuffer(padded, dtype=np.uint8)].reshape(-1, length))


# ---- k-mers


def _words(x: Tensor, k: int) -> Tensor:
    """Return the number of the k-mer at every position of (B, L), and 4^k where one of its letters is unknown."""
    width = x.shape[1] - k + 1
    parts = [x[:, i : i + width].long() for i in range(k)]
    number = sum(part << 2 * (k - 1 - i) for i, part in enumerate(parts))
    known = torch.stack([part < UNKNOWN for part in parts]).all(0)
    return torch.where(known, number, 4**k)  # type: ignore[arg-type]


def _canonical(k: int) -> Tensor:
    """Return the feature of each k-mer: its number among those that do not sort after their reverse complement."""
    feature: dict[tuple[int, ...], int] = {}
    numbers = []
    for word in product(range(4), repeat=k):
        other = tuple(3 - letter for letter in reversed(word))
        numbers.append(feature.setdefault(min(word, other), len(feature)))
    return torch.tensor(numbers)


class KmerFeatures:
    """From letters (B, L) to features (B, `size`), the same for both strands."""

    def __init__(self, sizes: tuple[int, ...] = (4, 6)) -> None:
        self.canonical = {k: _canonical(k) for k in sizes}
        residue = torch.tensor([_ALPHABET.index(letter) for letter in _RESIDUES])
        reverse = torch.tensor([residue[16 * (3 - c % 4) + 4 * (3 - c // 4 % 4) + 3 - c // 16] for c in range(64)])
        n = len(_ALPHABET)
        unknown = torch.tensor([n])
        self.residues = [torch.cat((table, unknown)) for table in (residue, reverse)]
        self.counts = [int(table.max()) + 1 for table in self.canonical.values()] + [n * n]
        self.size = sum(self.counts)

    def __call__(self, x: Tensor) -> Tensor:
        parts = []
        for (k, table), size in zip(self.canonical.items(), self.counts, strict=False):
            parts.append(_shares(torch.cat((table, torch.tensor([size])))[_words(x, k)], size))
        codons, n = _words(x, 3), len(_ALPHABET)
        pairs = []
        for table, order in zip(self.residues, ((0, 1), (1, 0)), strict=True):
            residues = table[codons]
            first, second = (((residues[:, :-3], residues[:, 3:])[i]) for i in order)
            pairs.append(torch.where((first < n) & (second < n), first * n + second, n * n))
        parts.append(_shares(torch.cat(pairs, dim=1), n * n))
        return torch.cat(parts, dim=1)


def _shares(features: Tensor, size: int) -> Tensor:
    """Count (B, P) features of 0..size-1 (size: none) and return roots of their shares (B, size), scaled to mean 1."""
    counts = torch.zeros(len(features), size + 1).scatter_add_(1, features, torch.ones_like(features).float())
    shares = counts[:, :size] / counts[:, :size].sum(1, keepdim=True).clamp(min=1)
    return (shares * size).sqrt()


class KmerModel(nn.Module):
    """A logistic regression on k-mer features, or an MLP with two hidden layers."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.features = KmerFeatures()
        widths = (self.features.size, *((hidden, hidden) if hidden else ()), 1)
        layers: list[nn.Module] = [nn.BatchNorm1d(widths[0], affine=False)]
        for into, out in pairwise(widths):
            layers += [nn.Linear(into, out), nn.GELU(), nn.Dropout(0.2)]
        self.layers = nn.Sequential(*layers[:-2])

    def prepare(self, x: Tensor) -> Tensor:
        return self.features(x)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits[:, 0]


# ---- CNN


class CNN(nn.Module):
    """Convolutions with batch normalisation, halving the length between them; mean and maximum over what is left.

    `widths` are the channels of the layers, `kernels` their widths in positions.
    """

    def __init__(self, widths: tuple[int, ...], kernels: tuple[int, ...] = (13, 9, 7, 5)) -> None:
        super().__init__()
        into = (4, *widths[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv1d(i, o, k, padding=k // 2) for i, o, k in zip(into, widths, kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)
        self.head = nn.Sequential(nn.Linear(2 * widths[-1], 256), nn.GELU(), nn.Dropout(0.2), nn.Linear(256, 1))

    def prepare(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map letters (B, L) to logits (B,): of a random strand in training, else the mean of both strands."""
        one_hot = F.one_hot(x.long(), 5)[..., :4].float()  # (B, L, 4)
        if self.training:
            return self._strand(torch.where(torch.rand(len(x), 1, 1, device=x.device) < 0.5, one_hot, _other(one_hot)))
        return (self._strand(one_hot) + self._strand(_other(one_hot))) / 2

    def _strand(self, one_hot: Tensor) -> Tensor:
        h = one_hot.transpose(1, 2)  # (B, 4, L)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            h = F.relu(norm(convolution(h if number == 0 else F.max_pool1d(h, 2))))
        logits: Tensor = self.head(torch.cat((h.mean(2), h.amax(2)), dim=1))
        return logits[:, 0]


def _other(one_hot: Tensor) -> Tensor:
    return one_hot.flip(1, 2)  # A C G T from the end is T G C A


# ---- training, evaluation, time


def batches(genomes: Genomes, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield letters (B, L) and labels (B,) of windows of train without end."""
    rng = np.random.default_rng(seed)
    cumulative = np.cumsum(genomes.weights({c: s for c, s in CLASS_SHARE.items() if c in set(genomes.classes)}, 0.5))
    is_virus = genomes.classes == VIRUS
    while True:
        free = rng.integers(FREE_LENGTHS[0], FREE_LENGTHS[1] + 1, BATCH)
        wanted = np.where(rng.random(BATCH) < FIXED_SHARE, rng.choice(LENGTHS, BATCH), free)
        drawn = genomes.draw(rng, cumulative, wanted)
        sequences = [genomes.piece(*place).tobytes() for place in zip(*(part.tolist() for part in drawn), strict=True)]
        yield letters(sequences), torch.from_numpy(is_virus[drawn[0]]).float()


def train(model: nn.Module, genomes: Genomes, seconds: float, device: torch.device, rate: float) -> int:
    """Train for a time with AdamW, the rate falling as half a cosine over it; return the number of windows seen."""
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    on_gpu = device.type == "cuda"
    half = on_gpu or torch.cpu._is_avx512_bf16_supported()

    def clock() -> float:
        return time.perf_counter() if on_gpu else time.process_time() / torch.get_num_threads()

    begin, seen = clock(), 0
    for x, labels in batches(genomes, seed=1):
        done = (clock() - begin) / seconds
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (seen + BATCH) / (100 * BATCH)) * 0.5 * (1 + math.cos(math.pi * done))
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = model(model.prepare(x).to(device))
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += len(x)
        if seen % (200 * BATCH) == 0:
            print(f"  {seen} windows, {done * seconds:.0f} s, loss {float(loss.detach()):.3f}", flush=True)
    return seen


Score = Callable[[list[Window]], list[float | None]]


def scorer(model: nn.Module) -> Score:
    """Return a function from windows to probabilities of virus, on the CPU."""
    model.to("cpu").eval()

    @torch.inference_mode()
    def score(windows: list[Window]) -> list[float | None]:
        scores: list[float | None] = []
        for begin in range(0, len(windows), 64):
            x = letters([window.sequence for window in windows[begin : begin + 64]])
            scores += model(model.prepare(x)).sigmoid().tolist()
        return scores

    return score


def bundled() -> Score:
    predictor = Predictor(load_model("bundled"), Options(device="cpu"))

    def score(windows: list[Window]) -> list[float | None]:
        records = [Record(f"window_{i}", window.sequence) for i, window in enumerate(windows)]
        return [result.call.virus_score for result in predictor.run(records)]

    return score


def figures(score: Score, genomes: Genomes) -> dict[str, Any]:
    """Return macro AUROC with its interval, and recall, at each length, on the windows of accuracy.py."""
    per_class = {name: 1200 if name == VIRUS else 200 for name in set(genomes.classes.tolist())}
    found: dict[str, Any] = {}
    for length in LENGTHS:
        windows = sample_windows(genomes, length, per_class, seed=0)
        scores, classes = score(windows), [window.class_name for window in windows]
        sample, everything = Sample.of(scores, classes), np.ones(len(windows), dtype=bool)
        taxa = [window.taxon for window in windows]
        low, high = Bootstrap().intervals([(everything, sample)], classes, taxa)[0][MACRO, "auroc"]
        result = evaluate(scores, classes)
        found |= {
            f"macro_auroc_{length}": result["macro_auroc"],
            f"interval_{length}": [round(low, 4), round(high, 4)],
            f"recall_at_5_percent_fpr_{length}": result["recall_at_5_percent_fpr"],
        }
    return found


def cpu_milliseconds(scores: dict[str, Score], genomes: Genomes) -> dict[str, float]:
    """Return the CPU milliseconds of each model for a chunk of 500 bp on one thread."""
    windows = sample_windows(genomes, 500, {VIRUS: TIMED_WINDOWS // 2, "bacteria": TIMED_WINDOWS // 2}, seed=2)
    torch.set_num_threads(1)
    spent: dict[str, list[float]] = {name: [] for name in scores}
    for number in range(ROUNDS + 1):
        for name, score in scores.items():
            begin = time.process_time()
            score(windows)
            if number:  # the first round warms up
                spent[name].append((time.process_time() - begin) / len(windows) * 1000)
    torch.set_num_threads(default_threads())
    return {name: round(statistics.median(times), 3) for name, times in spent.items()}


# What makes it, learning rate, and share of --seconds: the small ones gain nothing from all of it.
MAKE: dict[str, tuple[Callable[[], nn.Module], float, float]] = {
    "cnn": (lambda: CNN((128, 256, 384, 512)), 2e-3, 1.0),
    "cnn-small": (lambda: CNN((96, 160, 224, 256)), 2e-3, 1.0),
    "mlp": (lambda: KmerModel(1024), 1e-3, 0.5),
    "logistic": (lambda: KmerModel(0), 2e-3, 0.2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val", help="evaluated on")
    parser.add_argument("--seconds", type=float, default=600, help="of training, each at most")
    parser.add_argument("--device", default="cpu", help="of training")
    parser.add_argument("--models", default=",".join(MAKE), help="with commas between")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    trained, evaluated = (
        read_genomes(arguments.data, split, exclude=["viroid"]) for split in ("train", arguments.split)
    )
    described: dict[str, dict[str, Any]] = {}
    scores: dict[str, Score] = {}
    for name in arguments.models.split(","):
        make, rate, share = MAKE[name]
        torch.manual_seed(0)
        model = make()
        parameters = sum(p.numel() for p in model.parameters())
        print(f"{name}: {parameters} parameters", flush=True)
        seen = train(model, trained, arguments.seconds * share, device, rate)
        where = torch.cuda.get_device_name() if device.type == "cuda" else cpu_name()
        described[name] = {
            "parameters": parameters, "training_windows": seen, "training_s": arguments.seconds * share,
            "trained_on": where,
        }  # fmt: skip
        scores[name] = scorer(model)
    training = load_model("bundled").description.training
    described["bundled"] = {
        "parameters": training["parameters"],
        "training_windows": training["step"] * training["settings"]["fit"]["batch"],
        "training_s": training["seconds"],
        "trained_on": "see docs/model-card.md",
    }
    scores["bundled"] = bundled()
    times = cpu_milliseconds(scores, evaluated)
    rows = [
        {"model": name, "cpu_ms_per_chunk": times[name], **described[name], **figures(score, evaluated)}
        for name, score in scores.items()
    ]
    write_results(f"baselines_{arguments.split}", rows, device=cpu_name())


if __name__ == "__main__":
    main()
