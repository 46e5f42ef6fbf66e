"""Model directories made of published files: every form gives the same weights, and the published scores."""

import csv
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from published_files import (
    ESM2_HEADS,
    INPUT_DIM,
    MLPClassifier,
    pickle_classifier,
    write_dnabert,
    write_esm2,
    write_fair_esm,
    write_tokenizer,
)
from safetensors.torch import load_file, save_file
from torch import nn

from virnucpro import Options, Predictor, load_model, read_records
from virnucpro.cli.main import main
from virnucpro.errors import ConfigError, ModelError, OutputError
from virnucpro.models import catalogue, published
from virnucpro.models.description import ModelDescription
from virnucpro.models.verification import verify_model


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> tuple[Path, MLPClassifier]:
    """A published-style classifier on disk, and itself."""
    torch.manual_seed(1)
    path, model = tmp_path_factory.mktemp("classifier") / "model.pth", MLPClassifier(INPUT_DIM, 16)
    for _ in range(3):
        model(torch.randn(64, INPUT_DIM))
    return pickle_classifier(path, model), model.eval()


def run(*arguments: object) -> int:
    """Run the command line; return its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code or 0


@pytest.fixture
def complete(classifier, tmp_path) -> Path:
    """A complete model directory."""
    path = tmp_path / "complete"
    dnabert, esm2 = write_dnabert(tmp_path / "dnabert"), write_esm2(tmp_path / "esm2")
    published.import_model(classifier[0], 500, path, dnabert, esm2)
    return path


def write_records(path: Path) -> Path:
    """Write records, most of which have frames free of stop codons."""
    letters = random.Random(4)
    codons = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT" if a + b + c not in ("TAA", "TAG", "TGA")]
    lengths = [*range(10, 60, 3), 170, 400, 1300]
    path.write_text(
        "".join(f">r{n}\n{''.join(letters.choices(codons, k=n))}\n" for n in lengths) + ">stop\nTAATAATAA\n"
    )
    return path


# ---- what comes out


@pytest.mark.parametrize("form", ["safetensors", "sharded safetensors", "bin", "sharded bin", "fair-esm"])
def test_every_form_makes_a_complete_model(classifier, complete, tmp_path, form):
    dnabert = write_dnabert(tmp_path / "again", "model.safetensors")
    esm2 = write_esm2(tmp_path / "other", form)
    description = published.import_model(classifier[0], 500, tmp_path / "model", dnabert, esm2)
    assert all(problem is None for _, problem in verify_model(str(tmp_path / "model")))
    expected = dict(ModelDescription.from_json(complete / "model.json").checksums)
    found = dict(description.checksums)
    if form == "fair-esm":
        assert found.pop("protein.safetensors") != expected.pop("protein.safetensors")  # weights of its own
    assert found == expected
    assert {path.name for path in (tmp_path / "model").iterdir()} == {*description.files(), "model.json"}
    assert load_model(str(tmp_path / "model")).protein.model.config.heads == ESM2_HEADS


def test_the_description_is_the_published_method(complete):
    description = ModelDescription.from_json(complete / "model.json")
    assert (description.chunk_length, description.vote, description.frame_rule.kind) == (500, "max", "stop_free")
    assert (description.threshold, description.max_ambiguous) == (0.5, 1.0)
    nucleotide, protein = description.nucleotide, description.protein
    assert (nucleotide.tokenizer, nucleotide.skip_first, nucleotide.skip_last, nucleotide.limit) == ("bpe", 0, 0, None)
    assert (protein.tokenizer, protein.skip_first, protein.skip_last, protein.limit) == ("esm2", 1, 1, 1024)
    assert description.training["imported"] == {"classifier": "model.pth", "nucleotide": "dnabert", "protein": "esm2"}


def test_a_changed_tokenizer_is_refused(complete, tmp_path, capsys):
    write_tokenizer(complete / "tokenizer.json", 50)
    assert run("models", "verify", complete) == 1
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if not line.endswith("\tok")] == [
        line for line in printed.out.splitlines() if "tokenizer.json is damaged or was changed" in line
    ]
    assert printed.err == f"virnucpro: error: 1 files of the model {str(complete)!r} cannot be used; get it again\n"
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged or was changed"):
        load_model(str(complete))


def test_scores_are_those_of_the_published_formula(classifier, complete, tmp_path):
    records = write_records(tmp_path / "records.fa")
    arguments = ("--model", complete, "-o", tmp_path / "out", "--threads", 1, "--device", "cpu", "--precision", "fp32")
    assert run("predict", records, *arguments, "--legacy-output") == 0
    with (tmp_path / "out" / "frames.tsv").open() as file:
        printed = [(row["score_other"], row["score_virus"]) for row in csv.DictReader(file, delimiter="\t")]

    seen = []
    predictor = Predictor(load_model(str(complete)), Options(device="cpu", precision="fp32", threads=1))
    classify = predictor._classify
    predictor._classify = lambda features: seen.append(features) or classify(features)
    results = list(predictor.run(read_records([str(records)])))
    found = [p for result in results for chunk in result.chunks for p in chunk.predictions]
    features = torch.from_numpy(np.concatenate(seen))
    assert len(features) == len(found) == len(printed) > 50
    filled = F.pad(features, (0, 0, 0, 256 - len(features)))  # the published batch
    with torch.no_grad():
        scores = F.softmax(classifier[1](filled), dim=1)[: len(features)]
    assert printed == [(f"{other:.4f}", f"{virus:.4f}") for other, virus in scores.tolist()]
    ours = predictor.model.classifier
    with torch.no_grad():
        digits = F.softmax(ours(filled)[0], dim=1)[: len(features)].numpy()
    assert [list(map(str, row)) for row in digits] == [list(map(str, row)) for row in scores.numpy()]
    assert [[p.score_other, p.score_virus] for p in found] == scores.tolist()
    lines = (tmp_path / "out" / "prediction_results.txt").read_text().splitlines()[1:]
    assert [line.split("\t")[2:] for line in lines] == [list(map(str, row)) for row in scores.numpy()]


# ---- an encoder that is not given


def test_without_encoders_the_directory_says_what_it_lacks(tmp_path, capsys, published_size):
    directory = tmp_path / "model"
    arguments = ["models", "import", "--classifier", published_size, "--chunk-length", "300", "-o", directory]
    assert run(*arguments) == 0
    lacking = ("nucleotide.safetensors", "protein.safetensors", "tokenizer.json")
    assert f"lacks {', '.join(lacking)}: import again with --dnabert and --esm2" in capsys.readouterr().err
    assert run("models", "verify", directory) == 1
    printed = capsys.readouterr()
    lines = dict(line.split("\t") for line in printed.out.splitlines())
    assert {file for file, state in lines.items() if state == "ok"} == {"model.json", "classifier.safetensors"}
    assert lines.keys() == {"model.json", "classifier.safetensors", *lacking}
    assert "3 files" in printed.err
    assert run("predict", write_records(tmp_path / "r.fa"), "--model", directory, "-o", tmp_path / "out") == 1
    assert "lacks nucleotide.safetensors; import it with" in capsys.readouterr().err


@pytest.fixture
def published_size(tmp_path) -> Path:
    """A classifier of the published input."""
    return pickle_classifier(tmp_path / "300_model.pth", MLPClassifier(3328, 4))


def test_the_published_chunk_length_is_known(published_size, tmp_path, monkeypatch):
    data = published_size.read_bytes()
    git_id = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    monkeypatch.setitem(catalogue.CLASSIFIERS, git_id, 300)
    with pytest.raises(ConfigError, match="trained with chunks of 300 nt; use --chunk-length 300"):
        published.import_model(published_size, 500, tmp_path / "m")
    published.import_model(published_size, 300, tmp_path / "m")


# ---- what is refused


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_index(directory: Path, change) -> None:
    path = directory / "model.safetensors.index.json"
    places = json.loads(path.read_text())["weight_map"]
    change_json(path, weight_map=change(places))


def change_state(directory: Path, change) -> None:
    path = directory / "model.safetensors"
    save_file(change(load_file(path)), path)


def first_elsewhere(where):
    return lambda places: places | {min(places): where}


QUERY = "esm.encoder.layer.1.attention.self.query.weight"
NORM, UP = "esm.encoder.emb_layer_norm_after.bias", "esm.encoder.layer.0.intermediate.dense.weight"
WORDS = "esm.embeddings.word_embeddings.weight"
SHARDED = "sharded safetensors"
REFUSED_ESM2 = {
    "no weights": ("safetensors", lambda d: (d / "model.safetensors").unlink(), "has none of model.safetensors"),
    "no config": ("safetensors", lambda d: (d / "config.json").unlink(), r"config\.json cannot be read"),
    "config is a list": ("safetensors", lambda d: (d / "config.json").write_text("[1]"), "not a JSON object"),
    "config nests": ("safetensors", lambda d: (d / "config.json").write_text("[" * 100_000), "cannot be read"),
    "no heads": ("safetensors", lambda d: change_json(d / "config.json", num_attention_heads=None), "heads must be"),
    "many heads": ("safetensors", lambda d: change_json(d / "config.json", num_attention_heads=10**30), "heads must"),
    "other heads": ("safetensors", lambda d: change_json(d / "config.json", num_attention_heads=5), "multiple of its"),
    "other eps": ("safetensors", lambda d: change_json(d / "config.json", layer_norm_eps=1e-12), "not an ESM-2: layer"),
    "other positions": (
        "safetensors", lambda d: change_json(d / "config.json", position_embedding_type="absolute"), "needs 'rotary'",
    ),
    "lost tensor": ("safetensors", lambda d: change_state(d, lambda s: drop(s, QUERY)), r"lacks 1 .*'layers\.1\.qkv"),
    "lost norm": ("safetensors", lambda d: change_state(d, lambda s: drop(s, NORM)), r"lacks 1 tensors.*'norm\.bias'"),
    "one more": ("safetensors", lambda d: change_state(d, lambda s: s | {"x.y": torch.ones(1)}), "unexpected tensor"),
    "transposed": ("safetensors", lambda d: change_state(d, lambda s: s | {UP: torch.zeros(32, 128)}), "has shape"),
    "integers": ("safetensors", lambda d: change_state(d, lambda s: s | {NORM: s[NORM].int()}), "is torch.int32"),
    "8 bit": (
        "safetensors", lambda d: change_state(d, lambda s: s | {NORM: s[NORM].to(torch.float8_e5m2)}), "float8_e5m2",
    ),
    "no embedding": ("safetensors", lambda d: change_state(d, lambda s: drop(s, WORDS)), "lacks the matrix"),
    "truncated": ("safetensors", lambda d: cut(d / "model.safetensors"), "cannot be read"),
    "no index": (SHARDED, lambda d: change_json(d / "model.safetensors.index.json", weight_map=3), "weight_map must"),
    "out of the directory": (SHARDED, lambda d: change_index(d, first_elsewhere("../x.safetensors")), "no file of"),
    "absolute": (SHARDED, lambda d: change_index(d, first_elsewhere("/etc/passwd")), "no file of weights beside it"),
    "a pickle": (SHARDED, lambda d: change_index(d, first_elsewhere("a.pkl")), "no file of weights beside it"),
    "no shard": (SHARDED, lambda d: change_index(d, first_elsewhere("a.safetensors")), "cannot be read"),
    "other shard": (SHARDED, lambda d: change_index(d, lambda p: drop(p, min(p))), "has other tensors than"),
}  # fmt: skip


def drop(values: dict, key: str) -> dict:
    return {name: value for name, value in values.items() if name != key}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(("form", "change", "message"), REFUSED_ESM2.values(), ids=REFUSED_ESM2)
def test_another_esm2_is_refused(classifier, tmp_path, form, change, message):
    dnabert, esm2 = write_dnabert(tmp_path / "dnabert"), write_esm2(tmp_path / "esm2", form)
    change(esm2)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError, match=message):
        published.import_model(classifier[0], 500, tmp_path / "model", dnabert, esm2)
    assert sorted(tmp_path.iterdir()) == before


REFUSED_DNABERT = {
    "no tokenizer": (lambda d: (d / "tokenizer.json").unlink(), r"not a readable tokenizer\.json"),
    "larger tokenizer": (lambda d: write_tokenizer(d / "tokenizer.json", 90), "has 90 tokens, the weights 60"),
    "no eps": (lambda d: change_json(d / "config.json", layer_norm_eps=None), "eps must be a number"),
    "eps 0": (lambda d: change_json(d / "config.json", layer_norm_eps=0), "eps above 0"),
    "eps infinite": (lambda d: change_json(d / "config.json", layer_norm_eps=float("inf")), "eps must be a number"),
    "heads 0": (lambda d: change_json(d / "config.json", num_attention_heads=0), "multiple of its heads"),
    "not a pickle": (lambda d: (d / "pytorch_model.bin").write_bytes(b"x" * 100), "not a file of tensors"),
    "truncated": (lambda d: cut(d / "pytorch_model.bin"), "not a file of tensors"),
    "a module": (lambda d: torch.save(nn.Linear(2, 2), d / "pytorch_model.bin"), r"'torch\.nn.*Linear'; nothing in it"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED_DNABERT.values(), ids=REFUSED_DNABERT)
def test_another_dnabert_is_refused(classifier, tmp_path, change, message):
    dnabert = write_dnabert(tmp_path / "dnabert")
    change(dnabert)
    with pytest.raises(ModelError, match=message):
        published.import_model(classifier[0], 500, tmp_path / "model", dnabert)
    assert not (tmp_path / "model").exists()


def test_encoders_that_the_classifier_does_not_read_are_refused(classifier, tmp_path):
    with pytest.raises(ModelError, match=r"reads 56 features, but the encoders .*\(24\).*\(2560\).* give 2584"):
        published.import_model(classifier[0], 500, tmp_path / "m", write_dnabert(tmp_path / "dnabert"))


@pytest.mark.parametrize("heads", ["2", None, -2, 2.0, [2]])
def test_a_fair_esm_checkpoint_without_heads_is_refused(classifier, tmp_path, heads):
    esm2 = write_fair_esm(tmp_path / "esm2.pt", heads)
    with pytest.raises(ModelError, match="heads must be a whole number"):
        published.import_model(classifier[0], 500, tmp_path / "m", esm2=esm2)


def test_a_directory_in_use_stays_as_it_is(published_size, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for output in (tmp_path / "full", published_size):
        with pytest.raises(OutputError, match="not an empty directory"):
            published.import_model(published_size, 300, output)
    with pytest.raises(OutputError, match="cannot be written"):
        published.import_model(published_size, 300, published_size / "below")
    (tmp_path / "empty").mkdir()
    published.import_model(published_size, 300, tmp_path / "empty")
    published.import_model(published_size, 300, tmp_path / "new" / "parents")
    assert (tmp_path / "full" / "file").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["300_model.pth", "empty", "full", "new"]
