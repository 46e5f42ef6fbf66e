"""Training on a few synthetic genomes: what a step needs, checkpoints, exact resume, the whole to a usable model."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import as_objects
import numpy as np
import pytest
import torch
from support.models import seeded

from virnucpro.config import FrameRule
from virnucpro.data import VarlenCollator
from virnucpro.errors import ConfigError, MissingInputError, ModelError
from virnucpro.models.kernels import PLAIN, Kernels, compiled_kernels
from virnucpro.pretrained.registry import Model, build_model, load_model, save_weights
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.screen import Limits, repetitions
from virnucpro.seq.strings import Strings
from virnucpro.train.batches import NO_VIRUS, WindowBatches, collate_frames
from virnucpro.train.checkpoint import CHECKPOINT, checkpoint_step, load_checkpoint, save_checkpoint
from virnucpro.train.fit import describe, fit, learning_rate, make_optimizers
from virnucpro.train.mixture import read_mixture
from virnucpro.train.network import Network, _cross_entropy, initialise, loss_of, margins_of
from virnucpro.train.settings import DataSettings, FitSettings, ModelSettings, TrainSettings, read_settings

CPU = torch.device("cpu")
MODEL = ModelSettings(
    "tiny", protein_layers=1, protein_width=16, protein_heads=2, nucleotide_layers=1, nucleotide_width=16,
    nucleotide_heads=2, hidden_dim=8, dropout=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> TrainSettings:
    """Two classes that differ in composition, so that a few steps lower the loss."""
    directory = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (directory / split).mkdir()
        for name, letters in (("virus", "AAAT"), ("bacteria", "CCGG")):
            entries = [f">{name}{i}\n{''.join(rng.choice(list('ACGT' + letters), 2000))}\n" for i in range(3)]
            (directory / split / f"{name}.fna").write_text("".join(entries))
    data = DataSettings(str(directory), {"virus": 0.5, "bacteria": 0.5})
    training = FitSettings(
        steps=6, batch=16, learning_rate=3e-3, warmup=2, workers=0, evaluate_every=3, windows_per_class=4
    )
    return TrainSettings(data, MODEL, training)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    parts = load_model(str(directory)).parts()
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}


def test_a_broken_off_training_ends_with_the_same_weights(settings, tmp_path):
    lines: list[str] = []
    fit(settings, tmp_path / "whole", CPU, lines.append)
    assert sum(line.startswith("step") for line in lines) == 2

    def break_off(line: str) -> None:
        if line.startswith("step 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(settings, tmp_path / "broken", CPU, break_off)
    resumed: list[str] = []
    fit(settings, tmp_path / "broken", CPU, resumed.append)
    assert "from step 3" in resumed[1]
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    logged = [json.loads(line)["step"] for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert logged == [3, 6]


def test_progress_counts_steps_and_says_when_checkpoints_are_written(settings, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("virnucpro.run.progress.PLAIN_LINE_SECONDS", -1)  # a line for each step
    lines: list[str] = []
    caplog.set_level("INFO", "virnucpro")
    fit(settings, tmp_path, CPU, lines.append)
    said = [record.getMessage() for record in caplog.records if getattr(record, "event", "") == "progress"]
    assert said[0] == "0 steps done, reading"
    shown = [re.match(r"(\d) steps? done, \S+ steps/s, about \S+ s left", line) for line in said[1:]]
    assert [found[1] for found in shown if found] == list("123456")
    assert lines[2] == "model and checkpoint are written at each evaluation, every 3 steps"
    assert checkpoint_step(tmp_path / CHECKPOINT) == 6
    assert checkpoint_step(tmp_path / "none") is None


def test_a_torch_without_the_optimiser_is_an_error_that_says_so(settings, tmp_path, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    muon = replace(settings, fit=replace(settings.fit, optimizer="muon"))
    with pytest.raises(ConfigError, match=r'optimizer = "muon" needs torch 2.9 or later, found \S+; pip install'):
        fit(muon, tmp_path / "out", CPU, lambda line: None)
    assert not (tmp_path / "out").exists()


def test_other_settings_do_not_go_on_from_a_checkpoint(settings, tmp_path):
    one_step = replace(settings, fit=replace(settings.fit, steps=1, evaluate_every=1))
    fit(one_step, tmp_path, CPU, lambda line: None)
    with pytest.raises(ConfigError, match="other settings"):
        fit(replace(one_step, fit=replace(one_step.fit, seed=9)), tmp_path, CPU, lambda line: None)


def test_a_checkpoint_is_in_small_files_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("virnucpro.train.checkpoint._SHARD_BYTES", 3000)

    def trained() -> tuple[torch.nn.Module, list[torch.optim.Optimizer]]:
        with seeded(1):
            module = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.Linear(20, 3))
        return module, make_optimizers(module, FitSettings(steps=1, optimizer="muon"))

    module, optimizers = trained()
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["AdamW", "Muon"]
    module(torch.ones(2, 20)).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    save_checkpoint(tmp_path / "c", 7, module, optimizers, "key")
    files = sorted((tmp_path / "c").glob("*.safetensors"))
    assert len(files) > 1
    assert max(path.stat().st_size for path in files) < 5000

    again, other = trained()
    assert load_checkpoint(tmp_path / "nothing", again, other, "key") == 0
    assert load_checkpoint(tmp_path / "c", again, other, "key") == 7
    for left, right in zip((module, *optimizers), (again, *other), strict=True):
        left, right = left.state_dict(), right.state_dict()
        if "state" in left:
            left, right = (
                {(n, k): v for n, kept in d["state"].items() for k, v in kept.items()} for d in (left, right)
            )
        assert left
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_batches_depend_on_seed_and_step_alone(settings):
    mixture = read_mixture(settings.data)
    model = build_model(describe(MODEL, 500, 75), Path("."))
    one, two = (WindowBatches(mixture, settings.data, model, 8, 5, seed=3) for _ in range(2))
    _ = two[1]
    assert np.array_equal(one[4].protein.tokens, two[4].protein.tokens)
    assert not np.array_equal(one[4].protein.tokens, one[3].protein.tokens)
    assert one[0].owner.max() == 7
    with pytest.raises(IndexError):
        one[5]


@pytest.mark.parametrize(("share", "label"), [({"shuffled": 1.0}, NO_VIRUS), ({"simple": 1.0}, NO_VIRUS), ({}, 1)])
def test_shuffled_and_simple_windows_are_no_virus(settings, monkeypatch, share, label):
    model = build_model(describe(MODEL, 500, 75), Path("."))
    data = replace(settings.data, class_share={"virus": 1.0}, max_substitution=0.0, **share)
    mixture = read_mixture(data)
    seen: list[bytes] = []

    def collate(model, windows, labels):
        seen.extend(windows)
        return collate_frames(model, windows, labels)

    monkeypatch.setattr("virnucpro.train.batches.collate_frames", collate)
    batches = [WindowBatches(mixture, data, model, 12, 2, seed=3) for _ in range(2)]
    assert batches[0][1].labels.tolist() == [label] * 12
    first, text = list(seen), mixture.genomes.text.tobytes()
    assert sum(sequence in text for sequence in first) == (0 if share else 12)
    if "simple" in share:
        assert repetitions(Strings.of(first)).max() > 0.15
    _ = batches[1][1]
    assert seen[12:] == first


def test_shares_of_negatives_are_kept(settings):
    model = build_model(describe(MODEL, 500, 75), Path("."))
    data = replace(settings.data, class_share={"virus": 1.0}, shuffled=0.2, simple=0.1)
    batches = WindowBatches(read_mixture(data), data, model, 50, 8, seed=1)
    labels = np.concatenate([batches[step].labels for step in range(8)])
    assert 0.6 < (labels == 1).mean() < 0.8  # 0.7, and four standard deviations of 400 draws
    assert set(labels.tolist()) == {1, NO_VIRUS}
    with pytest.raises(ConfigError, match="shuffled"):
        replace(settings.data, shuffled=0.7, simple=0.4)


def test_shared_nucleotides_are_embedded_once():
    rule = FrameRule("longest_segments", segments=3, min_aa=1, nucleotide="longest")
    model = build_model(describe(replace(MODEL, frame_rule=rule), 500, 75), Path("."))
    rng = np.random.default_rng(1)
    windows = Strings.of(["".join(rng.choice(list("ACGT"), 200)).encode() for _ in range(5)])
    batch = collate_frames(model, windows, [1, 0, 1, 0, 1]).to(CPU)
    assert batch.nucleotide.num_sequences == 5
    assert batch.protein.num_sequences == 15
    assert torch.equal(batch.nucleotide_row, batch.owner)


def test_hidden_tokens_are_masked_in_training_only(monkeypatch):
    model = build_model(describe(MODEL, 500, 75), Path("."))
    batch = collate_frames(model, Strings.of([b"ATGGCCAAA" * 40]), [1]).to(CPU)
    seen = {}
    for name, encoder in (("nucleotide", model.nucleotide), ("protein", model.protein)):
        forward = encoder.model.forward_packed

        def noting(input_ids, *arguments, name=name, forward=forward, **options):
            seen[name] = input_ids
            return forward(input_ids, *arguments, **options)

        monkeypatch.setattr(encoder.model, "forward_packed", noting)
    network = Network(model, hidden=0.5)
    with torch.no_grad():
        network.eval()(batch)
        assert torch.equal(seen["protein"], batch.protein.input_ids)
        with seeded(1):
            network.train()(batch)
    for name, packed in (("nucleotide", batch.nucleotide), ("protein", batch.protein)):
        changed = seen[name] != packed.input_ids
        assert 0.3 < changed.float().mean() < 0.7
        assert (seen[name][changed] == network.encoders[name].model.config.mask_token).all()
        assert not changed[packed.input_ids <= 3].any()


def test_the_vote_of_the_network_is_that_of_prediction():
    from virnucpro.pipeline.predict import Options, Predictor
    from virnucpro.types import Record

    model = build_model(describe(MODEL, 500, 75), Path("."))
    with seeded(2):
        initialise(model)
        for part in model.parts().values():
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
    rng = np.random.default_rng(2)
    sequences = ["".join(rng.choice(list("ACGT"), n)).encode() for n in (80, 150, 333, 500, 500)]
    with torch.no_grad():
        margins = margins_of(Network(model).eval()(collate_frames(model, Strings.of(sequences), [0] * 5).to(CPU))[0])
    calls = [
        result.call
        for result in Predictor(model, Options(device="cpu", precision="fp32")).run(
            Record(f"r{i}", s) for i, s in enumerate(sequences)
        )
    ]
    assert [call.virus_score for call in calls] == pytest.approx(margins.sigmoid().tolist(), rel=1e-5)


@pytest.mark.filterwarnings("default:The .grad attribute:UserWarning")  # torch's own tracing looks at it
def test_compiled_kernels_train_alike():
    model = build_model(describe(replace(MODEL, dropout=0.0), 500, 75), Path("."))
    with seeded(5):
        initialise(model)
    network, training = Network(model).train(), FitSettings(steps=1)
    batch = collate_frames(model, Strings.of([b"ATGGCA" * 30, b"GCCATG" * 20]), [1, 0]).to(CPU)

    def gradient(kernels: Kernels) -> torch.Tensor:
        for encoder in network.encoders.values():
            encoder.model.kernels = kernels
        network.zero_grad()
        loss_of(network(batch), batch, training).backward()
        return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])

    # aot_eager traces and differentiates as the default does and leaves out the C compiler.
    plain, compiled = gradient(PLAIN), gradient(compiled_kernels("aot_eager"))
    assert plain.norm() > 0
    assert (compiled - plain).norm() / plain.norm() < 1e-5  # float32 sums in another order


def test_loss_and_schedule():
    settings = FitSettings(steps=100, warmup=10, label_smoothing=0.0, frame_loss=0.0)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[100] == pytest.approx(0.0)
    late = [learning_rate(step, replace(settings, decay=0.2)) for step in range(101)]
    assert late[9:82] == [1.0] * 73
    assert late[91] == pytest.approx(0.5)
    assert late[100] == pytest.approx(0.0)
    model = build_model(describe(MODEL, 500, 75), Path("."))
    batch = collate_frames(model, Strings.of([b"ATG" * 40, b"GCC" * 40]), [1, 0]).to(CPU)
    right, wrong = (torch.tensor([[0.0, m], [0.0, -m]]) for m in (9.0, -9.0))
    frames = torch.zeros(len(batch.owner), 2)
    assert loss_of((right, frames), batch, settings) < 0.01 < 8 < loss_of((wrong, frames), batch, settings)


def three_classes(settings: TrainSettings) -> TrainSettings:
    """Settings with two host classes beside virus, one of them under two names, and everything that can be added."""
    data = replace(
        settings.data, class_share={"virus": 0.5, "bacteria": 0.3, "mobile": 0.2},
        extra=settings.data.directory + "/more",
        fixed_lengths=(150, 300), max_indel=0.05, indel_share=0.5, homopolymer=3.0, fill_unknown=True, tails=0.1,
        adapter_ends=0.1, shuffled=0.1, simple=0.1, tandem=0.1,
    )  # fmt: skip
    return replace(settings, data=data, model=replace(MODEL, classes="hosts"))


@pytest.fixture(scope="module")
def more(settings) -> TrainSettings:
    directory = Path(settings.data.directory) / "more"
    directory.mkdir()
    rng = np.random.default_rng(3)
    entries = [f">m{i}\n{''.join(rng.choice(list('ACGTGGTT'), 250))}\n" for i in range(4)]
    (directory / "mobile.fna").write_text("".join(entries))
    return three_classes(settings)


def test_a_model_of_host_classes_is_trained_and_used(more, tmp_path):
    from virnucpro.pipeline.predict import Options, Predictor
    from virnucpro.types import Record

    lines: list[str] = []
    several = replace(more, fit=replace(more.fit, steps=30, evaluate_every=30))
    fit(several, tmp_path / "m", CPU, lines.append)
    assert "classes bacteria, mobile, virus" in lines[0]
    model = load_model(str(tmp_path / "m"))
    assert model.description.classes == ("bacteria", "mobile", "virus")
    assert model.classifier.output_layer.out_features == 4
    sequences = read_mixture(more.data).genomes
    records = [Record(name, sequences.piece(i, 0, 240).tobytes()) for i, name in enumerate(sequences.ids)]
    predictor = Predictor(model, Options(device="cpu", precision="fp32"))
    results = list(predictor.run(records))
    found = [as_objects.chunks(record, Limits(75, 500, 1.0, 1.0)) for record in records]
    read = [chunk.sequence for chunks in found for chunk, _, _ in chunks if chunk]
    batch = collate_frames(model, Strings.of(read), [0] * len(records)).to(CPU)
    with torch.no_grad():
        chunks, frames = Network(model).eval()(batch)
    assert [r.call.virus_score for r in results] == pytest.approx(margins_of(chunks).sigmoid().tolist(), rel=1e-4)
    predictions = [p for r in results for chunk in r.chunks for p in chunk.predictions]
    assert [p.score_virus for p in predictions] == pytest.approx(margins_of(frames).sigmoid().tolist(), rel=1e-4)
    assert all(p.score_other + p.score_virus == pytest.approx(1) for p in predictions)
    hosts = frames.log_softmax(1)[:, :2].exp().sum(1)
    assert not np.allclose(hosts, [p.score_other for p in predictions])  # a mixture of hosts, not a class beside them


def test_batches_have_the_numbers_of_the_classes(more):
    model = build_model(describe(more.model, 500, 75, ("bacteria", "mobile", "virus")), Path("."))
    batches = WindowBatches(read_mixture(more.data), more.data, model, 200, 5, seed=1)
    labels = np.concatenate([batches[step].labels for step in range(5)])
    shares = {number: float((labels == number).mean()) for number in (NO_VIRUS, 0, 1, 2)}
    assert shares == pytest.approx({NO_VIRUS: 0.2, 0: 0.24, 1: 0.16, 2: 0.4}, abs=0.06)
    again = WindowBatches(read_mixture(more.data), more.data, model, 200, 5, seed=1)[3]
    assert np.array_equal(again.protein.tokens, batches[3].protein.tokens)


def test_host_classes_start_from_a_model_of_two(settings, more, tmp_path):
    fit(settings, tmp_path / "two", CPU, lambda line: None)
    two = load_model(str(tmp_path / "two"))
    several = build_model(describe(more.model, 500, 75, ("bacteria", "mobile", "virus")), Path("."))
    initialise(several, str(tmp_path / "two"))
    rng = np.random.default_rng(6)
    windows = Strings.of(["".join(rng.choice(list("ACGT"), 200)).encode() for _ in range(6)])
    with torch.no_grad():
        one, other = (
            margins_of(Network(model).eval()(collate_frames(model, windows, [0] * 6).to(CPU))[0])
            for model in (two, several)
        )
    assert one.abs().max() > 0
    torch.testing.assert_close(other, one)
    with pytest.raises(ModelError):  # classes are not taken away
        initialise(build_model(describe(MODEL, 500, 75), Path(".")), save(several, tmp_path / "three"))


def save(model: Model, directory: Path) -> str:
    directory.mkdir()
    replace(model.description, checksums=save_weights(model, directory)).write_json(directory / "model.json")
    return str(directory)


def test_shares_of_the_classes_do_not_enter_the_logits():
    """Of windows that look alike the best logits are equal, however many of each class there are."""
    labels = torch.tensor([0] * 30 + [1] * 10 + [2] * 60)
    prior = torch.tensor([0.3, 0.1, 0.6]).log()
    logits = torch.zeros(3, requires_grad=True)
    _cross_entropy(logits.expand(100, 3), labels, 0.0, prior).backward()
    assert logits.grad.abs().max() < 1e-6
    _cross_entropy(logits.expand(100, 3), labels, 0.0, None).backward()
    assert logits.grad.abs().max() > 0.1


def test_a_window_of_no_organism_may_be_of_any_host():
    labels = torch.tensor([NO_VIRUS])
    for logits, loss in (([9.0, -9.0, -9.0], 0.0), ([-9.0, 9.0, -9.0], 0.0), ([-9.0, -9.0, 9.0], 17.3)):
        found = _cross_entropy(torch.tensor([logits]), labels, 0.0, None)
        assert float(found) == pytest.approx(loss, abs=0.01)


def test_two_classes_have_the_binary_cross_entropy():
    logits, labels = torch.randn(50, 2), torch.arange(50) % 2
    found = _cross_entropy(logits, labels, 0.1, None)
    smoothed = labels * 0.9 + 0.05
    margins = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(found, torch.nn.functional.binary_cross_entropy_with_logits(margins, smoothed))


def test_a_batch_that_travels_as_arrays_is_the_same():
    rule = FrameRule("longest_segments", segments=3, min_aa=1)
    model = build_model(describe(replace(MODEL, frame_rule=rule), 500, 75), Path("."))
    rng = np.random.default_rng(1)
    windows = ["".join(rng.choice(list("ACGTN"), 90 + i)).encode() for i in range(7)]
    sent = pickle.loads(pickle.dumps(collate_frames(model, Strings.of(windows), [1, 0, 1, 0, 1, 1, 0])))
    assert sent.protein.tokens.dtype == np.uint8
    batch, frames = sent.to(CPU), find_frames(Strings.of(windows), rule)
    for name, sequences, rows in (
        ("protein", frames.proteins.tolist(), range(len(frames))),
        ("nucleotide", frames.own_nucleotides().tolist(), batch.nucleotide_row.tolist()),
    ):
        packed, tokenizer = getattr(batch, name), getattr(model, name).tokenizer
        expected = VarlenCollator(tokenizer)([("", sequence) for sequence in sequences])
        borders = packed.cu_seqlens.tolist()
        found = [packed.input_ids[borders[row] : borders[row + 1]] for row in rows]
        assert torch.equal(torch.cat(found), expected.input_ids)
        assert packed.max_seqlen == expected.max_seqlen
    assert torch.equal(batch.protein.position_ids, VarlenCollator(model.protein.tokenizer)(
        [("", protein) for protein in frames.proteins]).position_ids)  # fmt: skip
    assert batch.labels.tolist() == [1, 0, 1, 0, 1, 1, 0]


TOML = """
[data]
directory = "here"
class_share = { virus = 0.5, bacteria = 0.5 }
[model]
name = "m"
frame_rule = { kind = "longest_segments", segments = 4 }
[fit]
steps = 5
"""


def test_settings_are_read_from_toml(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(TOML)
    settings = read_settings(path)
    assert settings.data.directory == str(tmp_path / "here")
    assert settings.model.frame_rule.segments == 4
    assert settings.data.extra == ""
    path.write_text(TOML.replace("[model]", 'extra = "more"\n[model]'))
    assert read_settings(path).data.extra == str(tmp_path / "more")
    with pytest.raises(MissingInputError):
        read_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 5", "steps ="), "is not TOML"),
        (("[fit]", "[fitt]"), r"unknown table \[fitt\]; did you mean \[fit\]\?"),
        (("[fit]\nsteps = 5\n", ""), r"the table \[fit\] is missing"),
        (("steps = 5", "step = 5"), r"\[fit\] has no setting 'step'; did you mean steps\?"),
        (("steps = 5", "steps = 5\nlearnin_rate = 1"), r"\[fit\] has no setting 'learnin_rate'; did you mean learning"),
        (("steps = 5", "steps = 5\nqqq = 1"), r"\[fit\] has no setting 'qqq'; `virnucpro train --settings` prints all"),
        (("segments = 4", "segment = 4"), r"\[model.frame_rule\] has no setting 'segment'; did you mean segments\?"),
        (("steps = 5", 'steps = "5"'), "fit.steps must be a whole number from 0 to .*, got '5'"),
        (("[model]", "exclude = 3\n[model]"), "data.exclude must be"),
        (("[data]", "data = 3\n[dat]"), r"unknown table \[dat\]; did you mean \[data\]"),
        (("segments = 4", "segments = 9"), "1 to 6 segments"),
        (('name = "m"', 'name = "m"\nclasses = "three"'), "classes must be two or hosts"),
    ],
)
def test_broken_settings_are_refused(tmp_path, change, message):
    path = tmp_path / "a.toml"
    path.write_text(TOML.replace(*change))
    with pytest.raises(ConfigError, match=message):
        read_settings(path)
