"""Merging, consensus and result files against those of the published tool, whose vectors a stub's encoders give."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from virnucpro.cli.main import main
from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError
from virnucpro.models import DNABERTConfig
from virnucpro.models.encoder import PackedEncoder
from virnucpro.models.pooling import PoolingWindow
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pretrained.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.pretrained.registry import Encoder, Model
from virnucpro.run import task
from virnucpro.run.selftest import LOUD_CHANNEL, compare_with_golden
from virnucpro.seq.strings import Strings

RUNS = ("with_orfs", "fixed_500bp")
WIDTH, PROTEIN_WIDTH = 768, 2560


class Lookup(PackedEncoder):
    """Gives the vector of a whole sequence, which is one token."""

    def __init__(self, vectors: torch.Tensor) -> None:
        super().__init__()
        self.width, self.n_layers, self.pad_token, self.head_width = vectors.shape[1], 1, len(vectors), 64
        self.embedding = nn.Embedding.from_pretrained(nn.functional.pad(vectors, (0, 0, 0, 1)))  # filler: 0
        self.select_attention()

    def embed_tokens(self, input_ids, sequence, lengths):
        return self.embedding(input_ids)

    def _run(self, x, input_ids, position_ids, attend, wanted):
        return {1: x}


class Vocabulary:
    """Every sequence is a token."""

    def __init__(self, sequences: Sequence[bytes]) -> None:
        self.numbers = {sequence: number for number, sequence in enumerate(sequences)}
        self.pad_token = len(self.numbers)

    def __call__(self, sequences: Sequence[bytes]) -> list[np.ndarray]:
        return [np.array([self.numbers[sequence]]) for sequence in sequences]

    def encode(self, strings: Strings) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self(strings.tolist())), np.ones(len(strings), np.int64)


class Scores(nn.Module):
    """Gives every known vector the logarithms of its golden scores."""

    length_features = False

    def __init__(self, vectors: torch.Tensor, logits: torch.Tensor) -> None:
        super().__init__()
        self.vectors, self.logits = vectors, logits

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.cdist(features.double(), self.vectors.double()).argmin(dim=1)
        return self.logits[rows], torch.zeros(len(features))


def read_fasta(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()[1::2]


@pytest.fixture
def model(golden, monkeypatch) -> Model:
    """A stub of the published model: its encoders and classifier know the golden sequences and nothing else."""
    merged = [torch.load(golden / run / "output_1_merged.pt", weights_only=True)["data"] for run in RUNS]
    vectors = torch.cat(merged)
    texts = {kind: [s for run in RUNS for s in read_fasta(golden / run / kind)] for kind in (
        "identified_nucleotide.fa", "identified_protein.faa"
    )}  # fmt: skip
    lines = [line for run in RUNS for line in (golden / run / "prediction_results.txt").read_text().splitlines()[1:]]
    scores = torch.tensor([[float(score) for score in line.split("\t")[2:]] for line in lines])
    logits = scores.log()

    def softmax(given: torch.Tensor, dim: int) -> torch.Tensor:
        assert (given.dtype, dim) == (torch.float32, 1)
        nearest = torch.cdist(given, logits)
        assert nearest.min(dim=1).values.max() < 1e-3
        return scores[nearest.argmin(dim=1)]

    # The golden scores are from a GPU, whose softmax gives a last digit that a CPU's gives for no logits at all.
    assert torch.allclose(logits.softmax(1), scores, rtol=0, atol=2e-7)
    monkeypatch.setattr(torch.nn.functional, "softmax", softmax)
    description = ModelDescription(
        name="stub", chunk_length=500, min_length=3, frame_rule=FrameRule("stop_free"),
        nucleotide=EncoderDescription("dnabert", {}, "bpe", 0, 0),
        protein=EncoderDescription("esm2", {}, "esm2", 1, 1, limit=1024),
        classifier=ClassifierDescription("mlp", WIDTH + PROTEIN_WIDTH, 512), vote="max",
    )  # fmt: skip
    assert DNABERTConfig().width == WIDTH
    encoders = [
        Encoder(Lookup(part.contiguous()), Vocabulary(sequences), PoolingWindow())
        for part, sequences in zip(vectors.split((WIDTH, PROTEIN_WIDTH), 1), texts.values(), strict=True)
    ]
    return Model(description, *encoders, Scores(vectors, logits))


OPTIONS = Options(device="cpu", precision="fp32", threads=1)


def test_the_golden_vectors_pass_bit_for_bit(golden, model):
    rows = list(compare_with_golden(Predictor(model, OPTIONS), golden))
    assert {row.run for row in rows} == set(RUNS)
    assert len(rows) == 2 * 7
    assert [row for row in rows if row.found != 0.0] == []  # no error at all: merged as the golden files are
    assert all(row.passed for row in rows)


def perturb(weight: torch.Tensor, kind: str) -> None:
    with torch.no_grad():
        if kind == "a little":
            weight[0] *= 1 + 3e-4
        elif kind == "rows swapped":
            weight[[0, 1]] = weight[[1, 0]]
        elif kind == "one channel":
            weight[0, 5] += 0.01
        else:
            weight[0, 5] = float("nan")


@pytest.mark.parametrize("kind", ["a little", "rows swapped", "one channel"])
@pytest.mark.parametrize("part", ["nucleotide", "protein"])
def test_a_perturbed_encoder_fails(golden, model, part, kind):
    perturb(getattr(model, part).model.embedding.weight, kind)
    rows = list(compare_with_golden(Predictor(model, OPTIONS), golden))
    failed = {(row.run, row.what.split()[0]) for row in rows if not row.passed}
    assert failed == {("with_orfs", part)} | ({("with_orfs", "scores")} & failed)


def test_the_loud_channel_cannot_hide_an_error(golden, model):
    """In half precision the whole vector's error may be small where that of the other channels is not."""
    weight = model.protein.model.embedding.weight
    with torch.no_grad():
        quiet = weight.clone()
        quiet[:, LOUD_CHANNEL] = 0
        weight += 0.012 * quiet  # of every other channel
    half = Predictor(model, replace(OPTIONS, precision="bf16"))  # the stub has no dense layer that it would round
    rows = [row for row in compare_with_golden(half, golden) if row.what.startswith("protein")]
    assert [row.what for row in rows] == ["protein vectors without channel 1542"] * 2
    assert all(row.limit == 1e-2 < row.found < 1.3e-2 for row in rows)


def test_wrong_scores_and_consensus_fail(golden, model):
    model.classifier.logits = model.classifier.logits[2].expand(8, 2)  # the one frame of others
    failed = {row.what for row in compare_with_golden(Predictor(model, OPTIONS), golden) if not row.passed}
    assert failed == {"scores", "consensus"}


def test_other_files_are_refused(golden, model, tmp_path):
    predictor = Predictor(model, OPTIONS)
    with pytest.raises(ConfigError, match="has no golden files"):
        list(compare_with_golden(predictor, tmp_path))
    shutil.copytree(golden / "with_orfs", tmp_path / "run", copy_function=shutil.copyfile)
    (tmp_path / "run" / "prediction_results.txt").unlink()
    with pytest.raises(ConfigError, match=r"not a run of golden files: .*prediction_results\.txt"):
        list(compare_with_golden(predictor, tmp_path))
    (tmp_path / "run" / "chunked500.fa").rename(tmp_path / "run" / "chunked300.fa")
    with pytest.raises(
        ConfigError, match=r"another length \(300\) than the model's, 500 nt; use --model published-300"
    ):
        list(compare_with_golden(predictor, tmp_path))


@pytest.fixture
def run(model, monkeypatch):
    """Run the command line with the stub in place of a model on disk; return the exit code."""
    monkeypatch.setattr(task, "load_model", lambda name: model)
    monkeypatch.setattr("virnucpro.pretrained.registry.load_model", lambda name: model)

    def call(*arguments: object) -> int:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return end.value.code or 0

    return call


def test_the_command_prints_a_table(golden, model, run, capsys):
    arguments = ("selftest", "--golden", golden, "--device", "cpu", "--precision", "fp32")
    assert run(*arguments) == 0
    printed = capsys.readouterr()
    lines = [line.split("\t") for line in printed.out.splitlines()]
    assert lines[0] == ["run", "compared", "measure", "found", "limit", "state"]
    assert {line[-1] for line in lines[1:]} == {"ok"}
    assert "in fp32 on cpu: 14 comparisons" in printed.err
    perturb(model.protein.model.embedding.weight, "a little")
    assert run(*arguments) == 1
    printed = capsys.readouterr()
    assert "2 of 14 comparisons failed in fp32 on cpu; `virnucpro models verify" in printed.err
    assert printed.out.count("FAILED") == 2


@pytest.mark.parametrize("name", RUNS)
def test_result_files_are_the_published_ones_byte_for_byte(golden, run, tmp_path, name):
    out = tmp_path / "out"
    arguments = ("-q", "predict", golden / name / "input.fa", "-o", out, "--device", "cpu", "--precision", "fp32")
    assert run(*arguments, "--legacy-output", "--unit-records", 1) == 0
    for file in ("prediction_results.txt", "prediction_results_highestscore.csv"):
        assert (out / file).read_bytes() == (golden / name / file).read_bytes()
    assert run(*arguments, "--restart") == 0
    assert not list(out.glob("prediction_results*"))  # none of another run is left
