"""Model directories made of published files: every form gives the same weights, and the published scores."""

import csv
import hashlib
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from support.commands import run
from support.models import seeded
from support.published_files import (
    ESM2_HEADS,
    INPUT_DIM,
    MLPClassifier,
    pickle_classifier,
    write_dnabert,
    write_esm2,
    write_fair_esm,
    write_tokenizer,
)
from torch import nn

from virnucpro import Options, Predictor, load_model, read_records
from virnucpro.errors import ConfigError, ModelError, OutputError
from virnucpro.places import private_directory
from virnucpro.pretrained import catalogue
from virnucpro.pretrained import import_published as published
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.verification import verify_model


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> tuple[Path, MLPClassifier]:
    """A published-style classifier on disk, and itself."""
    path = tmp_path_factory.mktemp("classifier") / "model.pth"
    with seeded(1):
        model = MLPClassifier(INPUT_DIM, 16)
        for _ in range(3):
            model(torch.randn(64, INPUT_DIM))
    return pickle_classifier(path, model), model.eval()


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
    assert (
        printed.err
        == f"virnucpro: error: 1 file of the model {str(complete)!r} cannot be used; download or copy it again\n"
    )
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


def all_in(name: str):
    return lambda d: change_index(d, lambda places: dict.fromkeys(places, name))


def into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_out(path: Path) -> None:
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


def grow(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.truncate(size)


def into_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def move_out(path: Path) -> None:
    """Leave a link in the place of a file, which then lies in a folder that is there before the test begins."""
    outside = path.parent.parent / "dnabert" / f"of_{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


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
    "out of the directory": (SHARDED, lambda d: change_index(d, first_elsewhere("../x.safetensors")), "weight file"),
    "absolute": (SHARDED, lambda d: change_index(d, first_elsewhere("/etc/passwd")), "not a weight file"),
    "a pickle": (SHARDED, lambda d: change_index(d, first_elsewhere("a.pkl")), "not a weight file"),
    "no shard": (SHARDED, lambda d: next(d.glob("model-00001-*")).unlink(), "cannot be read"),
    "another name": (SHARDED, lambda d: change_index(d, first_elsewhere("a.safetensors")), "not a weight file"),
    "a name of the home": (SHARDED, lambda d: change_index(d, first_elsewhere(".bashrc")), "not a weight file"),
    "a zero byte": (SHARDED, lambda d: change_index(d, first_elsewhere("a\0.safetensors")), r"names 'a\\x00\.safe"),
    "a name of 10 kB": (SHARDED, lambda d: change_index(d, first_elsewhere("a" * 9999)), "names 'aaa.*aaa', which"),
    "digits of another script": (
        SHARDED, all_in("model-0000٣-of-00003.safetensors"), "not a weight file",
    ),
    "a shard beyond the last": (
        SHARDED, all_in("model-00003-of-00002.safetensors"), "not a weight file",
    ),
    "shards of another form": (
        SHARDED, all_in("pytorch_model-00001-of-00001.bin"), "not a weight file",
    ),
    "too many shards": (
        SHARDED, all_in("model-00001-of-99999.safetensors"), "at most 256",
    ),
    "shards of two sets": (
        SHARDED, lambda d: change_index(d, first_elsewhere("model-00001-of-00099.safetensors")), "of one set",
    ),
    "no names": (SHARDED, lambda d: change_index(d, lambda p: {}), "names 0 files"),
    "config nests a little": (
        "safetensors", lambda d: (d / "config.json").write_text('{"a":' + "[" * 40 + "]" * 40 + "}"), "nests more than",
    ),
    "config of 17 MB": (
        "safetensors", lambda d: (d / "config.json").write_text("{" + " " * (1 << 24) + "}"), "more than 16,777,216",
    ),
    "config is a pipe": ("safetensors", lambda d: into_pipe(d / "config.json"), "is not a file but a pipe"),
    "weights are a link out": ("safetensors", lambda d: move_out(d / "model.safetensors"), "outside its directory"),
    "config is a link out": ("safetensors", lambda d: move_out(d / "config.json"), "outside its directory"),
    "a shard is a link out": (SHARDED, lambda d: move_out(next(d.glob("model-00001-*"))), "outside its directory"),
    "a shard is a pipe": (SHARDED, lambda d: into_pipe(next(d.glob("model-00001-*"))), "is not a file but a pipe"),
    "a shard is a device": (SHARDED, lambda d: into_device(next(d.glob("model-00001-*"))), "not a file but a dev"),
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
    "tokenizer is a pipe": (lambda d: into_pipe(d / "tokenizer.json"), "is not a file but a pipe"),
    "tokenizer is a link out": (lambda d: link_out(d / "tokenizer.json"), "outside its directory"),
    "tokenizer of 68 MB": (lambda d: grow(d / "tokenizer.json", (1 << 26) + 1), "it has more than 67,108,864 bytes"),
    "weights are a pipe": (lambda d: into_pipe(d / "pytorch_model.bin"), "has none of"),
    "larger tokenizer": (lambda d: write_tokenizer(d / "tokenizer.json", 90), "has 90 tokens, but the weights have 60"),
    "no eps": (lambda d: change_json(d / "config.json", layer_norm_eps=None), "eps must be a number"),
    "eps 0": (lambda d: change_json(d / "config.json", layer_norm_eps=0), "eps above 0"),
    "eps infinite": (lambda d: change_json(d / "config.json", layer_norm_eps=float("inf")), "eps must be a number"),
    "heads 0": (lambda d: change_json(d / "config.json", num_attention_heads=0), "multiple of its heads"),
    "not a pickle": (lambda d: (d / "pytorch_model.bin").write_bytes(b"x" * 100), "not a file of tensors"),
    "truncated": (lambda d: cut(d / "pytorch_model.bin"), "not a file of tensors"),
    "a module": (lambda d: torch.save(nn.Linear(2, 2), d / "pytorch_model.bin"), r"'torch\.nn.*Linear'; no code in it"),
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


@pytest.mark.parametrize("option", ["--classifier", "--esm2", "--dnabert"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/dev/tty"])
def test_pipes_and_devices_are_refused_before_they_are_read(published_size, tmp_path, capsys, option, kind):
    path = tmp_path / "given"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)
    arguments = {"--classifier": published_size, "--chunk-length": 300, "-o": tmp_path / "m"} | {option: path}
    assert run("models", "import", *(word for pair in arguments.items() for word in pair)) == 1
    message = capsys.readouterr().err
    assert str(path) in message
    assert message.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_an_output_that_is_a_link_is_refused(published_size, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for number, target in enumerate(("elsewhere", "not there yet")):
        link = tmp_path / f"link{number}"
        link.symlink_to(tmp_path / target)
        with pytest.raises(OutputError, match=f"is a link to {tmp_path}/{target}; name that directory"):
            published.import_model(published_size, 300, link)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "not there yet").exists()
    for name in ("/", "a\0b"):
        with pytest.raises(OutputError, match="choose another --output"):
            published.import_model(published_size, 300, Path(name))


def test_the_working_directory_may_be_the_output(published_size, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    published.import_model(published_size, 300, Path())
    assert (tmp_path / "work" / "model.json").is_file()


def test_a_snapshot_of_the_cache_has_links_to_its_blobs(classifier, tmp_path):
    """Other links out of a snapshot are refused."""
    cache = tmp_path / "models--facebook--esm2"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots").mkdir()
    snapshot = write_esm2(cache / "snapshots" / "0123")
    for path in snapshot.iterdir():
        blob = cache / "blobs" / f"blob_of_{path.name}"
        path.rename(blob)
        path.symlink_to(f"../../blobs/{blob.name}")
    dnabert = write_dnabert(tmp_path / "dnabert")
    published.import_model(classifier[0], 500, tmp_path / "model", dnabert, snapshot)
    assert all(problem is None for _, problem in verify_model(str(tmp_path / "model")))
    assert not any(path.is_symlink() for path in (tmp_path / "model").iterdir())
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(tmp_path / "dnabert" / "config.json")
    with pytest.raises(ModelError, match="outside its directory"):
        published.import_model(classifier[0], 500, tmp_path / "other", dnabert, snapshot)


# ---- where a model is made


def test_what_a_killed_import_left_is_replaced(published_size, tmp_path):
    left = tmp_path / ".m.import" / "model"
    left.mkdir(parents=True)
    (left / "model.json").write_text("half")
    (left / "other").write_text("half")
    published.import_model(published_size, 300, tmp_path / "m")
    assert {path.name for path in (tmp_path / "m").iterdir()} == {"model.json", "classifier.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {"300_model.pth", "m"}


def test_the_place_where_a_model_is_made_must_be_the_users_own(published_size, tmp_path):
    place = tmp_path / ".m.import"
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to("elsewhere")
    with pytest.raises(OutputError, match=r"\.m\.import is a link or a file; remove it"):
        published.import_model(published_size, 300, tmp_path / "m")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    place.unlink()
    place.write_text("")
    with pytest.raises(OutputError, match=r"\.m\.import is a link or a file; remove it"):
        published.import_model(published_size, 300, tmp_path / "m")
    place.unlink()
    if os.geteuid() == 0:
        place.mkdir(mode=0o777)
        os.chown(place, 12345, -1)
        with pytest.raises(OutputError, match="belongs to the user with number 12345"):
            published.import_model(published_size, 300, tmp_path / "m")
        place.rmdir()
    place.mkdir()
    place.chmod(0o777)
    with private_directory(place):
        assert place.stat().st_mode & 0o777 == 0o700
        with pytest.raises(OutputError, match=r"another program uses .*\.m\.import"):
            published.import_model(published_size, 300, tmp_path / "m")
    published.import_model(published_size, 300, tmp_path / "m")
