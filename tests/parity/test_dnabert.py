"""Our DNABERT against a plain twin: one sequence at a time, the attention matrix written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from support.models import pack_rows, random_rows, row_error

from virnucpro.data import pad, unpad
from virnucpro.models import DNABERT, DNABERTConfig
from virnucpro.models.dnabert_flash import alibi_head_slopes
from virnucpro.pretrained.weights import DNABERT_S, load_state, load_tensors, map_keys, shapes_only

# Float32 sums of up to 192 terms in another order, three layers deep.
PARITY = 1e-5
# What a real fault costs at least: far beyond rounding.
FAULT = 0.05

EPS = 1e-12
SLOPES = {
    8: [2.0**-i for i in range(1, 9)],
    12: [2.0**-i for i in range(1, 9)] + [2.0**-0.5, 2.0**-1.5, 2.0**-2.5, 2.0**-3.5],
}
LENGTHS = (40, 1, 7, 25, 25)


def published_state(heads, layers=3, head_width=8, vocabulary=50):
    """Return random weights, none of a default value, under the names of the published checkpoint."""
    width = heads * head_width
    generator = torch.Generator().manual_seed(heads)

    def matrix(rows, columns, scale=1.5):
        return scale * torch.randn(rows, columns, generator=generator) * columns**-0.5

    def vector(size, mean=0.0):
        return mean + 0.3 * torch.randn(size, generator=generator)

    state = {
        "bert.embeddings.word_embeddings.weight": matrix(vocabulary, width, width**0.5),
        "bert.embeddings.token_type_embeddings.weight": matrix(2, width, width**0.5),
        "bert.embeddings.LayerNorm.weight": vector(width, 1.0),
        "bert.embeddings.LayerNorm.bias": vector(width),
    }
    for n in range(layers):
        head = f"bert.encoder.layer.{n}."
        state |= {
            f"{head}attention.self.Wqkv.weight": matrix(3 * width, width),
            f"{head}attention.self.Wqkv.bias": vector(3 * width),
            f"{head}attention.output.dense.weight": matrix(width, width),
            f"{head}attention.output.dense.bias": vector(width),
            f"{head}attention.output.LayerNorm.weight": vector(width, 1.0),
            f"{head}attention.output.LayerNorm.bias": vector(width),
            f"{head}mlp.gated_layers.weight": matrix(8 * width, width),
            f"{head}mlp.wo.weight": matrix(width, 4 * width),
            f"{head}mlp.wo.bias": vector(width),
            f"{head}mlp.layernorm.weight": vector(width, 1.0),
            f"{head}mlp.layernorm.bias": vector(width),
        }
    return state, DNABERTConfig(layers, width, heads, 4 * width, vocabulary)


def twin(ids, state, heads, layers=3):
    """Return the hidden states of one sequence (L,) after the embedding and each layer, from the formulas."""
    norm = lambda x, name: F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], EPS)  # noqa: E731
    length = len(ids)
    distance = (torch.arange(length)[:, None] - torch.arange(length)[None]).abs()
    x = state["bert.embeddings.word_embeddings.weight"][ids] + state["bert.embeddings.token_type_embeddings.weight"][0]
    hidden = [x := norm(x, "bert.embeddings.LayerNorm")]
    for n in range(layers):
        head = f"bert.encoder.layer.{n}."
        qkv = x @ state[f"{head}attention.self.Wqkv.weight"].T + state[f"{head}attention.self.Wqkv.bias"]
        q, k, v = (part.view(length, heads, -1) for part in qkv.split(x.shape[-1], dim=-1))
        mixed = []
        for h in range(heads):
            logits = q[:, h] @ k[:, h].T / math.sqrt(q.shape[-1]) - SLOPES[heads][h] * distance
            mixed.append(logits.softmax(-1) @ v[:, h])
        out = torch.cat(mixed, -1) @ state[f"{head}attention.output.dense.weight"].T
        x = norm(x + out + state[f"{head}attention.output.dense.bias"], f"{head}attention.output.LayerNorm")
        first, second = (x @ state[f"{head}mlp.gated_layers.weight"].T).chunk(2, dim=-1)
        gelu = 0.5 * first * (1 + torch.erf(first / math.sqrt(2)))
        out = (gelu * second) @ state[f"{head}mlp.wo.weight"].T + state[f"{head}mlp.wo.bias"]
        hidden.append(x := norm(x + out, f"{head}mlp.layernorm"))
    return hidden


def make(heads):
    state, config = published_state(heads)
    ours = DNABERT(config)
    load_state(ours, map_keys(state, DNABERT_S, "published"), "published")
    return state, ours.eval()


def make_batch(lengths=LENGTHS):
    return pack_rows(random_rows(lengths, 4, 50))


@pytest.mark.parametrize("heads", SLOPES)
@torch.no_grad()
def test_every_layer(heads):
    state, ours = make(heads)
    batch, layers = make_batch(), range(ours.n_layers + 1)
    twins = [twin(ids, state, heads) for ids in batch.input_ids.split(LENGTHS)]
    packed = ours.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, repr_layers=layers)
    padded = ours(pad(batch, ours.pad_token), repr_layers=layers)
    for layer in layers:
        expected = torch.cat([hidden[layer] for hidden in twins])
        assert row_error(packed[layer], expected) <= PARITY, layer
        assert row_error(unpad(padded[layer], batch), expected) <= PARITY, layer


@pytest.mark.parametrize("heads", SLOPES)
def test_slopes(heads):
    assert alibi_head_slopes(heads) == SLOPES[heads]


@pytest.mark.parametrize("fault", ["no bias", "neighbours seen", "wrong pad", "gate swapped", "no token type"])
@torch.no_grad()
def test_faults_are_far_outside_the_tolerance(fault):
    state, ours = make(12)
    batch = make_batch()
    expected = torch.cat([twin(ids, state, 12)[-1] for ids in batch.input_ids.split(LENGTHS)])
    borders, pad_token = batch.cu_seqlens, ours.pad_token
    if fault == "no bias":
        ours._slopes = torch.zeros(12)
    elif fault == "neighbours seen":
        borders = torch.tensor([0, batch.num_tokens], dtype=torch.int32)
    elif fault == "wrong pad":
        pad_token = 0
    elif fault == "gate swapped":
        for layer in ours.layers:
            layer.gated.weight.copy_(layer.gated.weight.roll(layer.gated.out_features // 2, 0))
    else:
        ours.token_type.zero_()
    packed = ours.forward_packed(batch.input_ids, borders, batch.num_tokens)[ours.n_layers]
    padded = unpad(ours(pad(batch, pad_token))[ours.n_layers], batch)
    if fault != "wrong pad":
        assert row_error(packed, expected) > FAULT
    if fault != "neighbours seen":
        assert row_error(padded, expected) > FAULT


@pytest.mark.slow
@torch.no_grad()
def test_the_published_size_from_both_kinds_of_file(tmp_path):
    state, config = published_state(12, layers=12, head_width=64, vocabulary=4096)
    assert config == DNABERTConfig()
    save_file(state, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "pytorch_model.bin")
    one, two = (
        map_keys(load_tensors(tmp_path / name), DNABERT_S, name) for name in ("model.safetensors", "pytorch_model.bin")
    )
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)
    with shapes_only():
        ours = DNABERT(config)
    load_state(ours, one, "file")
    lengths = (30, 7, 12)
    batch = make_batch(lengths)
    exact = {name: value.double() for name, value in state.items()}  # twelve layers deep, float32 is no reference
    expected = torch.cat([twin(ids, exact, 12, 12)[-1] for ids in batch.input_ids.split(lengths)])
    found = ours.eval().forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[12]
    assert row_error(found.double(), expected) <= PARITY


def test_the_published_shape():
    config = DNABERTConfig()
    assert (config.layers, config.width, config.heads, config.feed_forward) == (12, 768, 12, 3072)
    assert (config.vocabulary, config.pad_token, config.eps) == (4096, 3, EPS)
    with torch.device("meta"):
        state = DNABERT(DNABERTConfig(layers=1)).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "embedding.weight": (4096, 768), "token_type": (2, 768),
        "embedding_norm.weight": (768,), "embedding_norm.bias": (768,),
        "layers.0.qkv.weight": (2304, 768), "layers.0.qkv.bias": (2304,),
        "layers.0.out.weight": (768, 768), "layers.0.out.bias": (768,),
        "layers.0.attention_norm.weight": (768,), "layers.0.attention_norm.bias": (768,),
        "layers.0.gated.weight": (6144, 768), "layers.0.down.weight": (768, 3072), "layers.0.down.bias": (768,),
        "layers.0.feed_forward_norm.weight": (768,), "layers.0.feed_forward_norm.bias": (768,),
    }  # fmt: skip
