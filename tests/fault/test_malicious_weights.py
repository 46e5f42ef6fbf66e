"""Weight files made to do harm: each is refused with one line, and nothing in it runs."""

import argparse
import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from torch import nn

from virnucpro.pretrained.weights import sha256

SHAPE = (3328, 4)  # features as published, few hidden units


class Evil:
    """Pickled as a call that makes the file `proof`."""

    def __init__(self, proof: Path, call=os.system):
        self.proof, self.call = proof, call

    def __reduce__(self):
        if self.call is os.system:
            return os.system, (f"touch {self.proof}",)
        return self.call, (f"open({str(self.proof)!r}, 'w').close()",)


class MLPClassifier(nn.Module):
    """The published class, pickled as __main__.MLPClassifier; with `evil` its pickle runs that instead."""

    __module__ = "__main__"

    def __init__(self, evil: Evil | None = None):
        super().__init__()
        self.hidden_layer = nn.Linear(*SHAPE)
        self.bn1 = nn.BatchNorm1d(SHAPE[1])
        self.output_layer = nn.Linear(SHAPE[1], 2)
        self.dropout = nn.Dropout(0.5)
        self.__dict__["evil"] = evil

    def __reduce_ex__(self, protocol):
        evil = self.__dict__.pop("evil")
        return evil.__reduce__() if evil else super().__reduce_ex__(protocol)


@pytest.fixture
def proof(tmp_path) -> Path:
    """A file that is there once a payload has run."""
    return tmp_path / "it-ran"


@pytest.fixture(autouse=True)
def as_main(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "MLPClassifier", MLPClassifier, raising=False)


@pytest.fixture
def refused(call, capfd, proof, tmp_path):
    """Run a command; check that it ends with exit code 1 and one line, and that no payload ran."""

    def run(*arguments: object) -> str:
        code, err = call([str(argument) for argument in arguments])
        assert code == 1, err
        assert err.startswith("virnucpro: error: ")
        assert err.count("\n") == 1, err
        assert len(err) < 1000
        assert "weights_only" not in err  # torch's advice to unpickle without restriction
        assert not proof.exists()
        return err

    return run


# ---- the published classifier


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def saved(path: Path, model: object) -> None:
    torch.save(model, path)


def with_attribute(path: Path, name: str, value: object) -> None:
    model = MLPClassifier()
    model.__dict__[name] = value
    torch.save(model, path)


def with_program(path: Path, program: bytes) -> None:
    """Write a published classifier whose data.pkl is another pickle."""
    torch.save(MLPClassifier(), path)
    content = members(path)
    root = next(iter(content)).partition("/")[0]
    write_zip(path, content | {f"{root}/data.pkl": program})


def with_changed_program(path: Path, old: bytes, new: bytes) -> None:
    torch.save(MLPClassifier(), path)
    content = members(path)
    name = next(name for name in content if name.endswith("data.pkl"))
    assert content[name].count(old) >= 1
    write_zip(path, content | {name: content[name].replace(old, new, 1)})


def with_members(path: Path, **more: bytes) -> None:
    torch.save(MLPClassifier(), path)
    write_zip(path, members(path) | more)


class EvilIds(pickle.Pickler):
    """Writes a payload in the place where a tensor's storage is named."""

    def __init__(self, file: io.BytesIO, evil: Evil):
        super().__init__(file, protocol=2)
        self.evil = evil

    def persistent_id(self, value: object):
        return ("storage", self.evil, "0", "cpu", 4) if value == "here" else None


def evil_storage(path: Path, evil: Evil) -> None:
    file = io.BytesIO()
    EvilIds(file, evil).dump({"weight": "here"})
    with_program(path, file.getvalue())


def words(text: str) -> bytes:
    """Return the instruction that gives a text."""
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def compressed(path: Path) -> None:
    torch.save(MLPClassifier(), path)
    content = members(path)
    write_zip(
        path, {n: bytes(1 << 26) if n.endswith("data.pkl") else d for n, d in content.items()}, zipfile.ZIP_DEFLATED
    )


def twice(path: Path, proof: Path) -> None:
    torch.save(MLPClassifier(), path)
    content = members(path)
    name = next(name for name in content if name.endswith("data.pkl"))
    write_zip(path, content)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, pickle.dumps(Evil(proof)))


# A tensor's storage is named as (.., 0.weight's key, "cpu", 13312 values); its place as 0, (4, 3328), (3328, 1).
LENGTH, SIZE, STRIDES = b"M\x004t", b"K\x04M\x00\r\x86", b"M\x00\rK\x01\x86"

UNPICKLER, TWICE = "torch's restricted unpickler refuses", "uses an object twice that is neither text nor a name"

# What the file is, and what the refusal says.
CLASSIFIERS = {
    "os.system at the top": (lambda p, e: saved(p, Evil(e)), "asks for 'posix.system'"),
    "eval at the top": (lambda p, e: saved(p, Evil(e, eval)), "asks for '__builtin__.eval'"),
    "exec in a list": (lambda p, e: saved(p, [Evil(e, exec)]), "asks for '__builtin__.exec'"),
    "in the state": (lambda p, e: with_attribute(p, "training", Evil(e)), "asks for 'posix.system'"),
    "deep in the state": (
        lambda p, e: with_attribute(p, "notes", {"a": [({"b": (1, Evil(e))},)]}), "asks for 'posix.system'",
    ),
    "in a hook": (lambda p, e: with_attribute(p, "_forward_hooks", {0: Evil(e)}), "asks for 'posix.system'"),
    "for a parameter": (lambda p, e: with_attribute(p, "_parameters", {"weight": Evil(e)}), "asks for 'posix.system'"),
    "for a layer": (lambda p, e: with_attribute(p, "_modules", {"hidden_layer": Evil(e)}), "asks for 'posix.system'"),
    "the class itself": (lambda p, e: saved(p, MLPClassifier(Evil(e))), "asks for 'posix.system'"),
    "a subclass's reduce": (lambda p, e: saved(p, nn.Sequential(MLPClassifier(Evil(e)))), "which no classifier needs"),
    "in a storage's id": (lambda p, e: evil_storage(p, Evil(e)), "asks for 'posix.system'"),
    "a legacy pickle": (lambda p, e: p.write_bytes(pickle.dumps(Evil(e))), "not a zip archive"),
    "torch's legacy format": (
        lambda p, e: torch.save(Evil(e), p, _use_new_zipfile_serialization=False), "not a zip archive",
    ),
    "protocol 4": (lambda p, e: with_program(p, pickle.dumps(Evil(e), 4)), "instruction FRAME"),
    "protocol 0": (lambda p, e: with_program(p, pickle.dumps(Evil(e), 0)), "asks for 'posix.system'"),
    "a dotted name": (
        lambda p, e: with_program(p, b"\x80\x04ctorch\nserialization.os.system\n(" + words(f"touch {e}") + b"tR."),
        r"asks for 'torch\.serialization\.os\.system'",
    ),
    "a dotted name of an allowed class": (
        lambda p, e: with_program(p, b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n."),
        "asks for 'torch._utils._rebuild_tensor_v2.__globals__'",
    ),
    "a name from the stack": (
        lambda p, e: with_program(p, b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."), "SHORT_BINUNICODE",
    ),
    "getattr": (
        lambda p, e: with_program(p, b"\x80\x02c__builtin__\ngetattr\n(cos\nsystem\ntR."), "'__builtin__.getattr'",
    ),
    "an instance": (lambda p, e: with_program(p, b"(" + words(f"touch {e}") + b"ios\nsystem\n."), "instruction INST"),
    "an object": (lambda p, e: with_program(p, b"(cos\nsystem\nX\x04\0\0\0trueo."), "asks for 'os.system'"),
    "an extension": (lambda p, e: with_program(p, b"\x80\x02\x82\x01)R."), "instruction EXT1"),
    "state set on a class": (
        lambda p, e: with_program(p, b"\x80\x02ccollections\nOrderedDict\n}X\x08\0\0\0__call__NsbR."), UNPICKLER,
    ),
    "a call of what is no name": (lambda p, e: with_program(p, b"\x80\x02})R."), UNPICKLER),
    "code set as a state": (
        lambda p, e: with_program(p, b"\x80\x02c__main__\nMLPClassifier\n)\x81}X\x09\0\0\0__class__}sb."), "_modules",
    ),
    "a second pickle": (lambda p, e: with_members(p, **{"500_model/more.pkl": pickle.dumps(Evil(e))}), "unknown"),
    "a pickle after the end": (
        lambda p, e: with_program(p, b"\x80\x02}." + pickle.dumps(Evil(e), 2)), "data after its end",
    ),
    "data.pkl twice": (twice, "occurs twice"),
    "TorchScript": (lambda p, e: with_members(p, **{"model/code/__torch__.py": b"import os"}), "unknown"),
    "up the path": (lambda p, e: with_members(p, **{"model/../../it-ran": b""}), r"/\.\./\.\./it-ran' is unknown"),
    "an absolute path": (lambda p, e: with_members(p, **{str(e): b""}), "it-ran' is unknown"),
    "another folder": (lambda p, e: with_members(p, **{"other/data/0": b""}), "'other/data/0' is unknown"),
    "a zip bomb": (lambda p, e: compressed(p), "is compressed, which torch.save never does"),
    "a huge pickle": (lambda p, e: with_program(p, bytes(1 << 20)), "bytes, more than"),
    "a huge file": (lambda p, e: os.truncate(saved(p, MLPClassifier()) or p, 1 << 40), "it has 1099511627776 bytes"),
    "a memo bomb": (lambda p, e: with_program(p, b"\x80\x02}r\xff\xff\xff\x7f."), "it has a dict where"),
    "a text of 2**60 letters": (lambda p, e: with_program(p, b"\x8d" + struct.pack("<Q", 1 << 60) + b"x."), "remain"),
    "bytes of 2**60": (lambda p, e: with_program(p, b"\x96" + struct.pack("<Q", 1 << 60) + b"x."), "ValueError"),
    "a number of 16000 bytes": (
        lambda p, e: with_program(p, b"\x8b" + struct.pack("<i", 16000) + b"\x7f" * 16000 + b"."), "instruction LONG4",
    ),
    "marks without end": (lambda p, e: with_program(p, b"(" * 16000 + b"."), "IndexError"),
    "tuples in tuples": (lambda p, e: with_program(p, b")" + b"\x85" * 16000 + b"."), "it has a tuple where"),
    "a tuple that doubles for a key": (
        lambda p, e: with_program(p, b"})" + b"q\0h\0\x86" * 500 + b"Ns."), TWICE,
    ),
    "a dict in itself": (lambda p, e: with_program(p, b"}q\0X\1\0\0\0ah\0s."), TWICE),
    "a tuple that doubles for a name": (lambda p, e: with_program(p, b")" + b"q\0h\0\x86" * 500 + b")R."), TWICE),
    "a tuple that doubles in a memo of many": (
        lambda p, e: with_program(p, b")" + b"r\0\1\0\0j\0\1\0\0\x86" * 500 + b")R."), TWICE,
    ),
    "a deep tuple for a key": (
        lambda p, e: with_program(p, b"\x80\x02})" + b"\x85" * 16000 + b"Ns."), "it has a dict where",
    ),
    "a deep tuple for a name": (
        lambda p, e: with_program(p, b"\x80\x02)" + b"\x85" * 16000 + b")R."), "torch cannot make .*RecursionError",
    ),
    "bytes of 2**40": (
        lambda p, e: with_program(p, b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + bytes(5) + b"\1\x85R."),
        "asks for '__builtin__.bytearray'",
    ),
    "text that doubles": (
        lambda p, e: with_program(p, b"\x80\x02c_codecs\nencode\n" + words("a") + words("hex") + b"\x86R."),
        "asks for '_codecs.encode'",
    ),
    "another file of values more": (
        lambda p, e: with_members(p, **{f"{p.stem}/data/77": bytes(4)}), r"have \d+ bytes, but its value files",
    ),
    "more values than its storage": (lambda p, e: with_changed_program(p, SIZE, b"K\x05M\x00\r\x86"), "not resizable"),
    "a negative size": (lambda p, e: with_changed_program(p, SIZE, b"J\xff\xff\xff\xffM\x00\r\x86"), "overflow"),
    "a size of 2**62": (
        lambda p, e: with_changed_program(p, SIZE, b"\x8a\x08" + bytes(7) + b"\x40M\0\r\x86"), "overflow",
    ),
    "a storage of 2**31 - 1 values": (
        lambda p, e: with_changed_program(p, LENGTH, b"J\xff\xff\xff\x7ft"), "in a storage of",
    ),
    "a storage longer than its file": (
        lambda p, e: with_changed_program(p, LENGTH, b"M\x014t"), "has 53248 bytes in a storage of 53252",
    ),
    "a storage shorter than its file": (lambda p, e: with_changed_program(p, LENGTH, b"M\xff3t"), "not resizable"),
    "strides of 0": (lambda p, e: with_changed_program(p, STRIDES, b"K\x00K\x00\x86"), "gaps or overlap"),
    "a bool for a size": (lambda p, e: with_changed_program(p, SIZE, b"\x88M\x00\r\x86"), "invalid combination"),
    "a storage outside the archive": (
        lambda p, e: with_changed_program(p, b"X\x01\0\0\x000", b"X\x09\0\0\0../../../"), r"locating file data/\.\./",
    ),
    "whole numbers for weights": (
        lambda p, e: with_changed_program(p, b"ctorch\nFloatStorage\n", b"ctorch\nLongStorage\n"), "not resizable",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("write", "message"), CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_a_malicious_classifier(refused, proof, tmp_path, write, message):
    path = tmp_path / "500_model.pth"
    write(path, proof)
    err = refused("models", "import", "--classifier", path, "--chunk-length", 500, "-o", tmp_path / "model")
    assert f"{path} is not a published classifier: " in err
    assert "no code in it was run" in err
    assert re.search(message, err), err
    assert not (tmp_path / "model").exists()


RUN_ELSEWHERE = (
    "os.system at the top", "eval at the top", "exec in a list", "in the state", "deep in the state", "in a hook",
    "for a parameter", "for a layer", "the class itself", "a subclass's reduce", "in a storage's id",
    "torch's legacy format", "a dotted name", "an instance",
)  # fmt: skip


@pytest.mark.parametrize("name", RUN_ELSEWHERE)
@pytest.mark.filterwarnings("ignore")
def test_an_ordinary_unpickler_runs_these(proof, tmp_path, name):
    path = tmp_path / "500_model.pth"
    CLASSIFIERS[name][0](path, proof)
    with suppress(Exception):
        torch.load(path, weights_only=False)
    assert proof.exists()


# ---- encoders


def in_fair_esm(path: Path, **values: object) -> None:
    torch.save({"model": {}, "cfg": {"model": argparse.Namespace(encoder_attention_heads=2)}, **values}, path)


def lying_storage(path: Path) -> None:
    """Write a state dict of 4 values that says it has 2**31 - 1."""
    torch.save({"embed_tokens.weight": torch.zeros(4)}, path)
    content = members(path)
    name = next(name for name in content if name.endswith("data.pkl"))
    write_zip(path, content | {name: content[name].replace(b"K\x04", b"J\xff\xff\xff\x7f")})


ENCODERS = {
    "os.system at the top": lambda p, e: saved(p, Evil(e)),
    "exec for a tensor": lambda p, e: saved(p, {"model": {"embed_tokens.weight": Evil(e, exec)}}),
    "a raw pickle": lambda p, e: p.write_bytes(pickle.dumps(Evil(e))),
    "a raw pickle, protocol 0": lambda p, e: p.write_bytes(pickle.dumps({"model": Evil(e, eval)}, 0)),
    "torch's legacy format": lambda p, e: torch.save({"a": Evil(e)}, p, _use_new_zipfile_serialization=False),
    "protocol 4": lambda p, e: torch.save({"a": Evil(e)}, p, pickle_protocol=4),
    "a whole module": lambda p, e: saved(p, MLPClassifier()),
    "a module's reduce": lambda p, e: saved(p, nn.Sequential(MLPClassifier(Evil(e)))),
    "in the configuration": lambda p, e: in_fair_esm(p, cfg={"model": Evil(e)}),
    "beside the configuration": lambda p, e: in_fair_esm(p, extra=[Evil(e)]),
    "in a Namespace": lambda p, e: in_fair_esm(p, cfg={"model": argparse.Namespace(a=Evil(e))}),
    "a storage longer than its file": lambda p, e: lying_storage(p),
    "nothing": lambda p, e: p.write_bytes(b""),
}  # fmt: skip


@pytest.mark.parametrize("write", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("form", ["fair-esm", "pytorch_model.bin", "model.safetensors"])
def test_a_malicious_encoder(refused, proof, tmp_path, write, form):
    classifier, output = tmp_path / "500_model.pth", tmp_path / "model"
    saved(classifier, MLPClassifier())
    directory = tmp_path / "dnabert"
    directory.mkdir()
    (directory / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    (directory / "evil.py").write_text(f"open({str(proof)!r}, 'w')")
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3}
    Tokenizer(models.BPE(words, [])).save(str(directory / "tokenizer.json"))
    path = tmp_path / "esm2.pt" if form == "fair-esm" else directory / form
    write(path, proof)
    given = ("--esm2", path) if form == "fair-esm" else ("--dnabert", directory)
    err = refused("models", "import", "--classifier", classifier, "--chunk-length", 500, *given, "-o", output)
    assert str(path) in err
    assert not output.exists()


# ---- model directories


def header(path: Path, change) -> None:
    """Change the header of a safetensors file; a text replaces it."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    values = json.loads(data[8 : 8 + length])
    changed = change(values)
    text = (changed if isinstance(changed, str) else json.dumps(values)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def first(values: dict) -> dict:
    return values[min(values)]


def overwrite(path: Path, place: int, data: bytes) -> None:
    old = path.read_bytes()
    path.write_bytes(old[:place] + data + old[place + len(data) :])


def nan(path: Path) -> None:
    state = load_file(path)
    state["norm.bias"][0] = torch.nan
    save_file(state, path)


PROTEIN = "protein.safetensors"
WEIGHTS = {
    "a pickle": (lambda p, e: p.write_bytes(pickle.dumps(Evil(e))), "cannot be read"),
    "a pickle of torch": (lambda p, e: saved(p, {"a": Evil(e)}), "cannot be read"),
    "nothing": (lambda p, e: p.write_bytes(b""), "cannot be read"),
    "a header of 2**60 bytes": (lambda p, e: overwrite(p, 0, struct.pack("<Q", 1 << 60)), "cannot be read"),
    "a header of 2**64 - 1 bytes": (lambda p, e: overwrite(p, 0, b"\xff" * 8), "cannot be read"),
    "a header longer than the file": (lambda p, e: overwrite(p, 0, struct.pack("<Q", 1 << 20)), "cannot be read"),
    "a header that is no JSON": (lambda p, e: header(p, lambda h: "{" * 100), "cannot be read"),
    "a header that nests": (lambda p, e: header(p, lambda h: '{"a":' + "[" * 100_000), "cannot be read"),
    "a header that names twice": (lambda p, e: header(p, lambda h: json.dumps(h)[:-1] + ',"x":1}'), "cannot be read"),
    "offsets out of the file": (lambda p, e: header(p, lambda h: first(h).update(data_offsets=[0, 1 << 40])), "cannot"),
    "offsets backwards": (lambda p, e: header(p, lambda h: first(h).update(data_offsets=[64, 0])), "cannot be read"),
    "offsets that overlap": (lambda p, e: header(p, lambda h: first(h).update(data_offsets=[0, 32])), "cannot be read"),
    "a negative offset": (lambda p, e: header(p, lambda h: first(h).update(data_offsets=[-8, 24])), "cannot be read"),
    "a shape longer than its data": (lambda p, e: header(p, lambda h: first(h).update(shape=[1 << 20])), "cannot"),
    "a shape that overflows": (lambda p, e: header(p, lambda h: first(h).update(shape=[1 << 62, 1 << 62])), "cannot"),
    "an unknown type": (lambda p, e: header(p, lambda h: first(h).update(dtype="F12")), "cannot be read"),
    "a type of another length": (lambda p, e: header(p, lambda h: first(h).update(dtype="F64")), "cannot be read"),
    "integers": (lambda p, e: header(p, lambda h: first(h).update(dtype="I16")), "is torch.int16, needs torch.float32"),
    "another name": (lambda p, e: header(p, lambda h: h.update({"../x": h.pop(min(h))})), "lacks 1 tensors"),
    "another shape": (lambda p, e: header(p, lambda h: first(h).update(shape=first(h)["shape"][::-1])), "has shape"),
    "truncated": (lambda p, e: p.write_bytes(p.read_bytes()[:-1]), "cannot be read"),
    "more after the end": (lambda p, e: p.write_bytes(p.read_bytes() + b"x"), "cannot be read"),
}  # fmt: skip


@pytest.fixture
def directory(lab, tmp_path) -> Path:
    """A copy of a good model directory."""
    return shutil.copytree(lab.model, tmp_path / "model")


@pytest.fixture
def refused_model(lab, refused, tmp_path, capfd):
    """Check that no command takes a model directory; return what `predict` says."""

    def run(directory: Path) -> str:
        refused("models", "verify", directory)
        err = refused("predict", lab.input, "--model", directory, "-o", tmp_path / "out")
        assert not (tmp_path / "out" / "records.tsv").exists()
        return err

    return run


def describe(directory: Path, change) -> None:
    """Change model.json; a text replaces it."""
    path = directory / "model.json"
    values = json.loads(path.read_text())
    changed = change(values)
    path.write_text(changed if isinstance(changed, str) else json.dumps(values))


@pytest.mark.parametrize(("change", "message"), WEIGHTS.values(), ids=WEIGHTS)
def test_malicious_weights_with_a_right_checksum(refused_model, directory, proof, change, message):
    path = directory / PROTEIN
    change(path, proof)
    describe(directory, lambda d: d["checksums"].update({PROTEIN: sha256(path)}))
    err = refused_model(directory)
    assert str(path) in err
    assert re.search(message, err), err


def test_values_that_are_not_finite_are_found(refused, directory):
    nan(directory / PROTEIN)
    describe(directory, lambda d: d["checksums"].update({PROTEIN: sha256(directory / PROTEIN)}))
    refused("models", "verify", directory)


def linked(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def replaced(path: Path, make) -> None:
    path.unlink()
    make(path)


FILES = {
    "other bytes": (lambda d: overwrite(d / PROTEIN, 4000, b"xx"), "is damaged or was changed"),
    "a part": (lambda d: os.truncate(d / PROTEIN, 100), "is damaged or was changed"),
    "lost": (lambda d: (d / PROTEIN).unlink(), "lacks protein.safetensors"),
    "a directory": (lambda d: replaced(d / PROTEIN, Path.mkdir), "lacks protein.safetensors"),
    "a pipe": (lambda d: replaced(d / PROTEIN, os.mkfifo), "lacks protein.safetensors"),
    "a link out of the directory": (lambda d: linked(d / PROTEIN), "is a link to .*elsewhere, outside its directory"),
    "a link to nothing": (lambda d: replaced(d / PROTEIN, lambda p: p.symlink_to("gone")), "lacks protein.safetensors"),
    "a link to itself": (lambda d: replaced(d / PROTEIN, lambda p: p.symlink_to(p)), "lacks protein.safetensors"),
    "model.json linked": (lambda d: linked(d / "model.json"), "is a link to .*elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FILES.values(), ids=FILES)
def test_files_that_are_not_the_models_own(refused_model, directory, change, message):
    change(directory)
    assert re.search(message, refused_model(directory))


def test_a_link_to_a_whole_directory_and_one_inside_it_are_followed(call, directory, tmp_path):
    (directory / PROTEIN).rename(directory / "kept")
    (directory / PROTEIN).symlink_to("kept")
    (tmp_path / "link").symlink_to(directory)
    assert call(["models", "verify", str(tmp_path / "link")])[0] == 0


DESCRIPTIONS = {
    "no JSON": (lambda d: "{", "cannot be read as JSON"),
    "a list": (lambda d: "[1]", "is not a JSON object"),
    "nests": (lambda d: "[" * 100_000, "cannot be read as JSON"),
    "a number of 10000 digits": (lambda d: '{"format": ' + "9" * 10_000 + "}", "cannot be read as JSON"),
    "another format": (lambda d: d.update(format="x" * 1000), "has format 'xxx"),
    "a field too few": (lambda d: d.pop("vote") and None, "model lacks vote"),
    "a field too many": (lambda d: d.update({"a" * 1000: 1}), "has the unknown field 'aaa"),
    "a name that is no text": (lambda d: d.update(name=["x"]), "model.name must be text"),
    "an unknown vote": (lambda d: d.update(vote="eval"), "model.vote must be"),
    "a chunk of 2": (lambda d: d.update(chunk_length=2), "at least 3"),
    "a chunk of -500": (lambda d: d.update(chunk_length=-500), "chunk_length must be a whole number"),
    "a chunk of 10**9": (lambda d: d.update(chunk_length=10**9), "chunk_length must be a whole number"),
    "a chunk of 500.0": (lambda d: d.update(chunk_length=500.0), "chunk_length must be a whole number"),
    "a threshold of 2": (lambda d: d.update(threshold=2), "must lie in 0..1"),
    "a threshold that is no number": (lambda d: d.update(threshold=float("nan")), "must be a number, got nan"),
    "three classes": (lambda d: d.update(classes=["a", "b", "c"]), "classes must be"),
    "an unknown frame rule": (lambda d: d["frame_rule"].update(kind="x"), "frame_rule.kind must be"),
    "an unknown architecture": (lambda d: d["protein"].update(architecture="os"), "architecture must be"),
    "another architecture": (lambda d: d["protein"].update(architecture="dnabert"), "unknown field 'token_dropout'"),
    "a tokenizer that is a path": (lambda d: d["protein"].update(tokenizer="../../x"), "tokenizer must be esm2"),
    "long k-mers": (lambda d: d["nucleotide"].update(tokenizer="kmer-30"), "tokenizer must be esm2, bpe or kmer-1"),
    "a tokenizer without its file": (lambda d: d["protein"].update(tokenizer="bpe"), "lacks tokenizer.json"),
    "a negative window": (lambda d: d["protein"].update(skip_first=-1), "skip_first must be a whole number"),
    "10**9 layers": (lambda d: d["protein"]["config"].update(layers=10**9), "config.layers must be a whole number"),
    "10**6 layers": (lambda d: d["protein"]["config"].update(layers=10**6), "at most 1000 layers.*got 1000000"),
    "900 layers": (lambda d: d["protein"]["config"].update(layers=900), "lacks .* tensors of the model"),
    "a width of 2**24": (lambda d: d["protein"]["config"].update(width=1 << 24), "reads 34 features, but"),
    "2**24 words": (lambda d: d["protein"]["config"].update(vocabulary=1 << 24), "has shape"),
    "no layers": (lambda d: d["protein"]["config"].update(layers=0), "cannot be built"),
    "heads of no width": (lambda d: d["protein"]["config"].update(heads=3), "multiple of its heads"),
    "no heads": (lambda d: d["protein"]["config"].update(heads=0), "cannot be built"),
    "true for layers": (lambda d: d["protein"]["config"].update(layers=True), "layers must be a whole number"),
    "text for width": (lambda d: d["protein"]["config"].update(width="16"), "width must be a whole number"),
    "an unknown setting": (lambda d: d["protein"]["config"].update(device="x"), "unknown field 'device'"),
    "no settings": (lambda d: d["protein"].update(config={}), "config lacks heads, layers, width"),
    "padding out of the words": (lambda d: d["protein"]["config"].update(pad_token=33), "token 33, vocabulary 33"),
    "another padding": (lambda d: d["protein"]["config"].update(pad_token=2), "network is 2"),
    "other features": (lambda d: d["classifier"].update(input_dim=32), "reads 32 features, but"),
    "2**24 hidden units": (lambda d: d["classifier"].update(hidden_dim=1 << 24), "has shape"),
    "an unknown classifier": (lambda d: d["classifier"].update(kind="__main__.MLPClassifier"), "classifier.kind must"),
    "a file up the path": (lambda d: d["checksums"].update({"../x": "0" * 64}), r"names '\.\./x', which is not a file"),
    "an absolute file": (lambda d: d["checksums"].update({"/etc/passwd": "0" * 64}), "not a file of this model"),
    "a checksum that is none": (lambda d: d["checksums"].update({PROTEIN: "0"}), "is not a SHA-256"),
    "another checksum": (lambda d: d["checksums"].update({PROTEIN: "0" * 64}), "is damaged or was changed"),
    "no checksum": (lambda d: d["checksums"].pop(PROTEIN) and None, "model.json has None"),
    "no checksums": (lambda d: d.update(checksums={}), "model.json has None"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_descriptions_that_cannot_be(refused_model, directory, change, message):
    describe(directory, change)
    err = refused_model(directory)
    assert re.search(message, err), err
