"""The published recipe on encoders of random weights and genomes that differ in composition."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from virnucpro import Options, Predictor, Record, load_model
from virnucpro.errors import ConfigError
from virnucpro.train.fit import fit
from virnucpro.train.published import FrameSet, fit_classifier, frame_figures, frame_set, train_classifier
from virnucpro.train.settings import (
    ClassifierSettings,
    DataSettings,
    FitSettings,
    ModelSettings,
    TrainSettings,
    read_settings,
)

CPU = torch.device("cpu")
OPTIONS = Options(device="cpu", precision="fp32")


def genome(rng, letters, length=3000):
    return "".join(rng.choice(list("ACGT" + letters), length))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        (directory / split).mkdir()
        for name, letters in (("virus", "AAAT"), ("bacteria", "CCGG"), ("fungi", "GGGG")):
            entries = [f">{name}{i}\n{genome(rng, letters)}\n" for i in range(3)]
            (directory / split / f"{name}.fna").write_text("".join(entries))
    return directory


@pytest.fixture(scope="module")
def base(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("base")
    shape = ModelSettings(
        "tiny", protein_layers=1, protein_width=16, protein_heads=2, nucleotide_layers=1, nucleotide_width=16,
        nucleotide_heads=2, hidden_dim=8,
    )  # fmt: skip
    training = FitSettings(steps=1, batch=8, warmup=1, workers=0, evaluate_every=1, windows_per_class=2)
    fit(TrainSettings(DataSettings(str(data), {"virus": 0.5, "bacteria": 0.5}), shape, training), directory, CPU)
    return directory


@pytest.fixture
def settings(data, base):
    return ClassifierSettings(
        str(data), "mine", str(base), windows=60, batch=16, epochs=12, patience=3, learning_rate=0.02
    )


def test_a_classifier_is_trained_on_the_encoders_of_a_model(settings, base, tmp_path):
    lines: list[str] = []
    train_classifier(settings, tmp_path, OPTIONS, lines.append)
    model = load_model(str(tmp_path))
    assert (model.description.name, model.description.vote) == ("mine", "max")
    assert model.description.classifier.kind == "mlp"
    for name in ("nucleotide.safetensors", "protein.safetensors"):
        assert (tmp_path / name).read_bytes() == (base / name).read_bytes()
    metrics = model.description.metrics
    assert metrics["test"]["windows"]["macro_auroc"] >= 0.9
    assert 0.8 <= metrics["test"]["f1"] <= 1
    rng = np.random.default_rng(9)
    records = [Record("v", genome(rng, "AAAT", 500).encode()), Record("h", genome(rng, "CCGG", 500).encode())]
    virus, host = (r.call.virus_score for r in Predictor(model, OPTIONS).run(records))
    assert virus > host
    logged = [json.loads(line)["epoch"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == list(range(1, len(logged) + 1))
    assert [line.split(":")[0] for line in lines[:3]] == ["train", "val", "test"]


def test_the_best_weights_are_the_ones_that_are_kept(settings):
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 2, 64))
    features = torch.from_numpy(rng.normal(size=(64, 6)).astype(np.float32))
    classes = ["virus" if label else "host" for label in labels.tolist()]
    train = FrameSet(features, labels, np.arange(64), classes)
    val = FrameSet(features, 1 - labels, np.arange(64), classes)  # what train teaches is wrong here
    logged: list[dict] = []
    eager = replace(settings, learning_rate=0.5, epochs=40)
    classifier = fit_classifier(eager, train, val, 16, logged.append)
    losses = [entry["val"]["loss"] for entry in logged]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + eager.patience < eager.epochs
    assert losses[-1] > losses[best]
    assert frame_figures(classifier, val)["loss"] == losses[best]


def test_figures_of_frames_and_windows():
    class Fixed(torch.nn.Module):
        def forward(self, features):
            return features, torch.zeros(len(features))

    # Window 0: virus by its first frame; 1: a host called virus; 2: a host. Logits of other and virus.
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    frames = FrameSet(logits, torch.tensor([1, 1, 0, 0]), np.array([0, 0, 1, 2]), ["virus", "fungi", "fungi"])
    found = frame_figures(Fixed(), frames)
    assert (found["accuracy"], found["precision"], found["recall"], found["f1"]) == (0.5, 0.5, 0.5, 0.5)
    assert found["auroc"] == 0.75
    # By the vote window 0 has .881 / (.881 + .731), below window 1 with .731 and above window 2.
    assert found["windows"] == {"n": 3, "auroc": 0.5, "macro_auroc": 0.5}
    expected = torch.nn.functional.cross_entropy(logits, frames.labels).item()
    assert found["loss"] == pytest.approx(expected)


def test_windows_are_balanced_and_without_ambiguous_letters(settings, base):
    predictor = Predictor(load_model(str(base)), OPTIONS)
    frames = frame_set(predictor, settings, "train", 20)
    assert {name: frames.classes.count(name) for name in set(frames.classes)} == {
        "virus": 20, "bacteria": 10, "fungi": 10,
    }  # fmt: skip
    assert frames.features.shape == (len(frames.owner), 32)
    assert [frames.classes[i] == "virus" for i in frames.owner] == (frames.labels == 1).tolist()


def test_ambiguous_windows_are_left_out(settings, base, tmp_path):
    (tmp_path / "train").mkdir()
    text = ("ACGTTGCA" * 62 + "ACGN") * 6
    for name in ("virus", "bacteria"):
        (tmp_path / "train" / f"{name}.fna").write_text(f">{name}\n{text}\n")
    predictor = Predictor(load_model(str(base)), OPTIONS)
    with pytest.raises(ConfigError, match="no window of train has a frame"):
        frame_set(predictor, replace(settings, directory=str(tmp_path)), "train", 10)


def test_settings_of_a_classifier(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('[classifier]\ndirectory = "data"\nname = "mine"\nwindows = 100\nexclude = []\n')
    found = read_settings(path)
    assert found == ClassifierSettings(str(tmp_path / "data"), "mine", windows=100, exclude=())
    for text, message in (
        ("windows = 3", "windows must be at least 10"),
        ("epoch = 3", r"\[classifier\] has no setting 'epoch'; did you mean epochs"),
    ):
        path.write_text(f'[classifier]\ndirectory = "data"\nname = "mine"\n{text}\n')
        with pytest.raises(ConfigError, match=message):
            read_settings(path)
