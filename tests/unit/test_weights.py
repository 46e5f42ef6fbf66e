"""Key tables of the published files, and everything that makes a file be refused."""

import argparse
import os
import pickle
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from virnucpro.errors import ModelError
from virnucpro.models.dnabert_flash import DNABERT, DNABERTConfig
from virnucpro.models.esm2_flash import ESM2, ESM2Config
from virnucpro.pretrained.weights import (
    DNABERT_S,
    ESM2_FAIR,
    ESM2_HUGGING_FACE,
    load_fair_esm,
    load_state,
    load_tensors,
    map_keys,
    save_module,
    sha256,
    shapes_only,
)

LAYER_FAIR = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
    "self_attn_layer_norm", "fc1", "fc2", "final_layer_norm",
)  # fmt: skip
LAYER_HUGGING_FACE = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.LayerNorm", "intermediate.dense", "output.dense", "LayerNorm",
)  # fmt: skip
LAYER_OURS = ("q", "k", "v", "out", "attention_norm", "up", "down", "feed_forward_norm")
LAYER_DNABERT = {
    "attention.self.Wqkv": "qkv", "attention.output.dense": "out", "attention.output.LayerNorm": "attention_norm",
    "mlp.wo": "down", "mlp.layernorm": "feed_forward_norm",
}  # fmt: skip


def numbered(names):
    """Return a state whose values tell the names apart."""
    return {name: torch.full((2,), float(i)) for i, name in enumerate(names)}


def layers(table, head, names, kinds=("weight", "bias")):
    return {
        f"{head}{n}.{theirs}.{kind}": f"layers.{n}.{ours}.{kind}"
        for n in (0, 11)
        for theirs, ours in zip(table, names, strict=True)
        for kind in kinds
    }


def fair_keys(encoder="encoder.sentence_encoder."):
    return layers(LAYER_FAIR, f"{encoder}layers.", LAYER_OURS) | {
        f"{encoder}embed_tokens.weight": "embedding.weight",
        f"{encoder}emb_layer_norm_after.weight": "norm.weight",
        f"{encoder}emb_layer_norm_after.bias": "norm.bias",
        f"{encoder}layers.0.self_attn.rot_emb.inv_freq": None,
        "encoder.lm_head.weight": None,
        "encoder.lm_head.dense.bias": None,
        "contact_head.regression.weight": None,
    }


def hugging_face_keys(head="", spelling=("weight", "bias")):
    keys = layers(LAYER_HUGGING_FACE, f"{head}encoder.layer.", LAYER_OURS) | {
        f"{head}embeddings.word_embeddings.weight": "embedding.weight",
        f"{head}embeddings.position_ids": None,
        f"{head}encoder.emb_layer_norm_after.weight": "norm.weight",
        f"{head}encoder.emb_layer_norm_after.bias": "norm.bias",
        f"{head}encoder.layer.0.attention.self.rotary_embeddings.inv_freq": None,
        f"{head}rotary_embeddings.inv_freq": None,
        f"{head}encoder.layer.*.attention.self.rotary_embeddings.inv_freq": None,  # so spelled by transformers 5
        f"{head}contact_head.regression.bias": None,
        "lm_head.decoder.weight": None,
    }
    old = dict(zip(("weight", "bias"), spelling, strict=True))
    return {re.sub(r"LayerNorm\.(weight|bias)$", lambda m: f"LayerNorm.{old[m[1]]}", k): v for k, v in keys.items()}


def dnabert_keys(head="bert.", spelling=("weight", "bias")):
    keys = layers(LAYER_DNABERT, f"{head}encoder.layer.", LAYER_DNABERT.values()) | {
        f"{head}encoder.layer.0.mlp.gated_layers.weight": "layers.0.gated.weight",
        f"{head}embeddings.word_embeddings.weight": "embedding.weight",
        f"{head}embeddings.token_type_embeddings.weight": "token_type",
        f"{head}embeddings.LayerNorm.weight": "embedding_norm.weight",
        f"{head}embeddings.LayerNorm.bias": "embedding_norm.bias",
        f"{head}pooler.dense.weight": None,
        "cls.predictions.decoder.weight": None,
    }
    old = dict(zip(("weight", "bias"), spelling, strict=True))
    return {re.sub(r"LayerNorm\.(weight|bias)$", lambda m: f"LayerNorm.{old[m[1]]}", k): v for k, v in keys.items()}


OLD = ("gamma", "beta")
TABLES = {
    "fair-esm published": (ESM2_FAIR, fair_keys()),
    "fair-esm module": (ESM2_FAIR, fair_keys("")),
    "Hugging Face base": (ESM2_HUGGING_FACE, hugging_face_keys()),
    "Hugging Face masked": (ESM2_HUGGING_FACE, hugging_face_keys("esm.")),
    "Hugging Face old": (ESM2_HUGGING_FACE, hugging_face_keys("esm.", OLD)),
    "DNABERT-S published": (DNABERT_S, dnabert_keys()),
    "DNABERT-S base": (DNABERT_S, dnabert_keys("")),
    "DNABERT-S old": (DNABERT_S, dnabert_keys("bert.", OLD)),
}


@pytest.mark.parametrize(("table", "keys"), TABLES.values(), ids=TABLES)
def test_every_published_key_has_its_place(table, keys):
    state = numbered(keys)
    mapped = map_keys(state, table, "file")
    expected = {ours: state[theirs] for theirs, ours in keys.items() if ours}
    for name in [name for name in expected if re.search(r"\.q\.\w+$", name)]:
        parts = [expected.pop(name.replace(".q.", f".{letter}.")) for letter in "qkv"]
        expected[name.replace(".q.", ".qkv.")] = torch.cat(parts)  # in this order
    assert mapped.keys() == expected.keys()
    assert all(mapped[name].equal(value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (ESM2_FAIR, "encoder.sentence_encoder.embed_positions.weight"),
        (ESM2_FAIR, "encoder.sentence_encoder.emb_layer_norm_before.weight"),  # ESM-1b, not ESM-2
        (ESM2_FAIR, "layers.0.self_attn.q_proj.weight.extra"),
        (ESM2_HUGGING_FACE, "encoder.layer.0.attention.self.query.lora_A"),
        (ESM2_HUGGING_FACE, "embeddings.layer_norm.weight"),
        (DNABERT_S, "bert.encoder.layer.0.attention.self.query.weight"),
        (DNABERT_S, "bert.embeddings.position_embeddings.weight"),
    ],
)
def test_an_unexpected_key_is_refused(table, key):
    with pytest.raises(ModelError, match=f"file has an unexpected tensor '{re.escape(key)}'"):
        map_keys({key: torch.zeros(1)}, table, "file")


def test_a_lost_projection_and_a_key_given_twice_are_refused():
    keys = {f"layers.0.self_attn.{letter}_proj.weight": torch.zeros(2, 2) for letter in "qv"}
    with pytest.raises(ModelError, match=r"file lacks 'layers\.0\.k\.weight'"):
        map_keys(keys, ESM2_FAIR, "file")
    twice = dict.fromkeys(("embed_tokens.weight", "encoder.embed_tokens.weight"), torch.zeros(2, 2))
    with pytest.raises(ModelError, match=r"two tensors for 'embedding\.weight'"):
        map_keys(twice, ESM2_FAIR, "file")


# ---- load_state


def small_module():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


BAD_STATES = {
    "missing": (lambda s: without(s, "0.bias"), r"lacks 1 tensors.*'0\.bias'"),
    "extra": (lambda s: s | {"2.weight": torch.zeros(1)}, r"has 1 tensors that the model does not have.*'2\.weight'"),
    "transposed": (lambda s: s | {"0.weight": s["0.weight"].T}, r"'0\.weight' has shape \(3, 2\), needs \(2, 3\)"),
    "same size": (lambda s: s | {"0.weight": torch.zeros(6)}, r"has shape \(6,\), needs \(2, 3\)"),
    "would broadcast": (lambda s: s | {"0.bias": torch.zeros(1)}, r"has shape \(1,\), needs \(2,\)"),
    "integers": (lambda s: s | {"0.bias": torch.zeros(2, dtype=torch.int64)}, "torch.int64, needs torch.float32"),
    "count as float": (lambda s: s | {"1.num_batches_tracked": torch.tensor(1.0)}, "torch.float32, needs torch.int64"),
}


@pytest.mark.parametrize(("change", "message"), BAD_STATES.values(), ids=BAD_STATES)
def test_fill_refuses_and_copies_nothing(change, message):
    module = small_module()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = change({name: value + 1 for name, value in small_module().state_dict().items()})
    with pytest.raises(ModelError, match=f"file.*{message}"):
        load_state(module, state, "file")
    assert all(value.equal(before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_fill_casts_floats_to_the_modules_own(dtype):
    module, state = small_module(), small_module().state_dict()
    load_state(module, {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}, "file")
    assert module[0].weight.dtype == torch.float32
    assert module[0].weight.equal(state["0.weight"].to(dtype).float())


# ---- files


class Evil:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return exec, (f"open({self.path!r}, 'w').close()",)


def namespace(**values):
    return {"cfg": {"model": argparse.Namespace(**values)}, "model": {}}


@pytest.mark.parametrize("load", [load_tensors, load_fair_esm])
@pytest.mark.parametrize("write", [torch.save, lambda data, path: path.write_bytes(pickle.dumps(data))])
def test_code_in_a_pickle_never_runs(tmp_path, load, write):
    path, proof = tmp_path / "model.pt", tmp_path / "it-ran"
    write({"model": {"embed_tokens.weight": Evil(proof)}, "cfg": {"model": Evil(proof)}}, path)
    with pytest.raises(ModelError, match=re.escape(str(path))):
        load(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Evil(proof)))  # an ordinary unpickler would have run it
    assert proof.exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(small_module(), tmp_path / "m.pt")
    with pytest.raises(ModelError, match="not a file of tensors"):
        load_tensors(tmp_path / "m.pt")


@pytest.mark.parametrize("data", [[torch.zeros(1)], {"a": 1}, {"a": {"b": torch.zeros(1)}}, torch.zeros(1)])
def test_other_data_is_no_state_dict(tmp_path, data):
    torch.save(data, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="not a state dict"):
        load_tensors(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "m.bin"])
def test_missing_and_damaged_files_are_refused(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ModelError, match=re.escape(str(path))):
        load_tensors(path)
    save_module(small_module(), path) if name.endswith("safetensors") else torch.save(small_module().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match=re.escape(str(path))):
        load_tensors(path)


@pytest.mark.parametrize(
    "data", [{"model": {}}, {"cfg": {"model": argparse.Namespace()}, "model": {}}, {"cfg": {}, "model": {}}, [1], 3]
)
def test_other_files_are_no_fair_esm_checkpoint(tmp_path, data):
    torch.save(data, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="not a fair-esm ESM-2 checkpoint"):
        load_fair_esm(tmp_path / "m.pt")


def test_fair_esm_heads_come_from_the_file(tmp_path):
    torch.save(namespace(encoder_attention_heads=20, other="x"), tmp_path / "m.pt")
    assert load_fair_esm(tmp_path / "m.pt") == ({}, 20)


@pytest.mark.parametrize(
    "module", [ESM2(ESM2Config(2, 16, 2)), DNABERT(DNABERTConfig(1, 16, 2, 32, 8)), small_module()]
)
def test_our_own_files_come_back(tmp_path, module):
    save_module(module, tmp_path / "a.safetensors", torch.float32)
    save_module(module, tmp_path / "b.safetensors")
    state = load_tensors(tmp_path / "a.safetensors")
    assert all(state[name].equal(value) for name, value in module.state_dict().items())
    halved = load_tensors(tmp_path / "b.safetensors")
    assert {v.dtype for v in halved.values()} <= {torch.float16, torch.int64}
    load_state(module, halved, "file")
    assert sha256(tmp_path / "a.safetensors") != sha256(tmp_path / "b.safetensors")


# ---- memory

MEASURE = """
import resource, sys, torch
from pathlib import Path
from virnucpro.models import ESM2, ESM2Config
from virnucpro.pretrained.weights import load_state, load_tensors, shapes_only

def used():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":") for line in file)
    return int(lines["RssAnon"].split()[0]) * 1024

path, dtype = Path(sys.argv[1]), getattr(torch, sys.argv[2])
before, peak_before = used(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with shapes_only():
    model = ESM2(ESM2Config(2, 1280, 20))
load_state(model, load_tensors(path), "file")
model.place("cpu", dtype)
sum(p.sum().item() for p in model.state_dict().values())  # whatever was left on the disk is read now
size = path.stat().st_size
print((used() - before) / size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - peak_before) / size)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
@pytest.mark.parametrize(("dtype", "own", "peak"), [("float32", 0.15, 1.15), ("bfloat16", 0.65, 1.65)])
def test_loading_holds_the_weights_once(tmp_path, dtype, own, peak):
    """The file is mapped: its pages are counted once, and belong to the system; half precision adds its own copy."""
    with shapes_only():
        model = ESM2(ESM2Config(2, 1280, 20))
    save_module(model.to_empty(device="cpu"), tmp_path / "m.safetensors", torch.float32)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "m.safetensors"), dtype]
    found_own, found_peak = map(float, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert found_own < own
    assert found_peak < peak
