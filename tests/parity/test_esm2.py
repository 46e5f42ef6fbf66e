"""Our ESM-2 against fair-esm 2.0.0 and transformers 5, on tiny random weights read from their own file formats."""

import argparse
import os

import pytest
import torch
from support.models import pack_rows, row_error

from virnucpro.data import pad, unpad
from virnucpro.errors import ModelError
from virnucpro.models import ESM2, ESM2_SHAPES, ESM2Config
from virnucpro.models.pooling import PoolingWindow, mean_pool_packed
from virnucpro.pretrained.weights import ESM2_FAIR, ESM2_HUGGING_FACE, load_fair_esm, load_state, load_tensors, map_keys

# Float32 sums of up to 512 terms in another order, three layers deep.
PARITY = 1e-5
# What a real fault costs at least (a missing 0.88, another pad token, <eos> in the mean): far beyond rounding.
FAULT = 0.05

# layers, width, heads: head widths 16, 24, 32 and 64
SHAPES = [(2, 64, 4), (3, 48, 2), (2, 64, 2), (3, 128, 2)]
LENGTHS = (60, 7, 3, 33, 33, 4)
MASK, PAD = 32, 1


def randomise(module):
    """Give every parameter, also each LayerNorm and bias, a value that is not its default."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                scale = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
                parameter.copy_(scale + 0.3 * noise)
            elif "embed" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(1.5 * noise * parameter.shape[1] ** -0.5)
    return module.eval()


def fair_esm(shape, directory):
    """Return fair-esm's model, a function to its hidden states, and ours loaded from a checkpoint of its form."""
    from esm.model.esm2 import ESM2 as FairESM2  # noqa: N811

    layers, width, heads = shape
    theirs = randomise(FairESM2(layers, width, heads, "ESM-1b", token_dropout=True))
    state = {}
    for name, value in theirs.state_dict().items():
        if not name.startswith("contact_head."):  # published apart
            head = "encoder." if name.startswith("lm_head.") else "encoder.sentence_encoder."
            state[head + name] = value
    cfg = argparse.Namespace(
        arch="esm2", encoder_layers=layers, encoder_embed_dim=width, encoder_attention_heads=heads, token_dropout=True
    )
    torch.save({"cfg": {"model": cfg}, "model": state}, directory / "esm2.pt")
    state, heads = load_fair_esm(directory / "esm2.pt")
    ours = ESM2(ESM2Config(layers, width, heads))
    load_state(ours, state, "esm2.pt")
    return lambda ids: theirs(ids, repr_layers=range(layers + 1))["representations"], ours.eval()


def hugging_face(shape, directory, masked_head=False):
    from transformers import EsmConfig, EsmForMaskedLM, EsmModel

    layers, width, heads = shape
    config = EsmConfig(
        vocab_size=33, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, pad_token_id=PAD, mask_token_id=MASK, max_position_embeddings=1026,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False, layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager",
    )  # fmt: skip
    theirs = randomise(EsmForMaskedLM(config) if masked_head else EsmModel(config, add_pooling_layer=False))
    theirs.save_pretrained(directory)
    ours = ESM2(ESM2Config(layers, width, heads))
    state = load_tensors(directory / "model.safetensors")
    load_state(ours, map_keys(state, ESM2_HUGGING_FACE, "model.safetensors"), "model.safetensors")

    def hidden(ids, **options):
        states = theirs(ids, attention_mask=(ids != PAD).long(), output_hidden_states=True, **options).hidden_states
        return dict(enumerate(states))

    return hidden, ours.eval()


SOURCES = {
    "fair-esm": fair_esm,
    "transformers": hugging_face,
    "transformers masked": lambda s, d: hugging_face(s, d, True),
}


@pytest.fixture(params=SOURCES)
def pair(request, tmp_path):
    """A reference function and our model of head width 32."""
    return SOURCES[request.param](SHAPES[2], tmp_path)


def make_batch(lengths=LENGTHS, masks=0.0):
    """Return <cls>, residues, <eos> of the lengths; a share `masks` of the residues is <mask>."""
    generator = torch.Generator().manual_seed(2)
    rows = []
    for length in lengths:
        row = torch.randint(4, 24, (length,), generator=generator)
        inner = torch.rand(length, generator=generator) < masks
        row[inner] = MASK
        row[0], row[-1] = 0, 2
        rows.append(row.numpy())
    return pack_rows(rows)


@pytest.mark.parametrize("masks", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"head-width-{s[1] // s[2]}")
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@torch.no_grad()
def test_every_layer(source, shape, masks, tmp_path):
    reference, ours = source(shape, tmp_path)
    batch = make_batch(masks=masks)
    ids, layers = pad(batch, PAD), range(ours.n_layers + 1)
    expected = {layer: unpad(values, batch) for layer, values in reference(ids).items()}
    assert expected.keys() == set(layers)
    padded = ours(ids, repr_layers=layers)
    packed = ours.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, repr_layers=layers)
    for layer in layers:
        assert row_error(unpad(padded[layer], batch), expected[layer]) <= PARITY, layer
        assert row_error(packed[layer], expected[layer]) <= PARITY, layer


@torch.no_grad()
def test_one_sequence_without_padding(pair):
    reference, ours = pair
    batch = make_batch([50])
    expected = reference(batch.input_ids[None])[ours.n_layers][0]
    assert row_error(ours.forward_packed(batch.input_ids, batch.cu_seqlens, 50)[ours.n_layers], expected) <= PARITY


@torch.no_grad()
def test_pooled_residues(pair):
    reference, ours = pair
    batch = make_batch()
    hidden = reference(pad(batch, PAD))[ours.n_layers]
    expected = torch.stack([row[1 : length - 1].mean(0) for row, length in zip(hidden, LENGTHS, strict=True)])
    found = ours.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[ours.n_layers]
    assert row_error(mean_pool_packed(found, batch.cu_seqlens, PoolingWindow(1, 1, 1024)), expected) <= PARITY
    with_eos = torch.stack([row[1:length].mean(0) for row, length in zip(hidden, LENGTHS, strict=True)])
    assert row_error(with_eos, expected) > FAULT  # the test would see <eos> in the mean


# ---- the tests above can fail


@pytest.mark.parametrize("fault", ["no 0.88", "wrong pad", "neighbours seen", "no final norm", "gelu by tanh"])
@torch.no_grad()
def test_faults_are_far_outside_the_tolerance(fault, tmp_path, monkeypatch):
    reference, ours = fair_esm(SHAPES[2], tmp_path)
    batch, last = make_batch(), ours.n_layers
    expected = unpad(reference(pad(batch, PAD))[last], batch)
    borders, ids, least = batch.cu_seqlens, pad(batch, PAD), FAULT
    if fault == "no 0.88":
        ours.config = ESM2Config(*SHAPES[2], token_dropout=False)
    elif fault == "wrong pad":
        ids = pad(batch, 0)
    elif fault == "neighbours seen":
        borders = torch.tensor([0, batch.num_tokens], dtype=torch.int32)
    elif fault == "no final norm":
        ours.norm = torch.nn.Identity()
    else:
        gelu = torch.nn.functional.gelu
        monkeypatch.setattr(torch.nn.functional, "gelu", lambda x: gelu(x, approximate="tanh"))
        least = 10 * PARITY  # a small fault, seen all the same
    packed = ours.forward_packed(batch.input_ids, borders, batch.num_tokens)[last]
    padded = unpad(ours(ids)[last], batch)
    if fault != "wrong pad":
        assert row_error(packed, expected) > least
    if fault != "neighbours seen":
        assert row_error(padded, expected) > least


@torch.no_grad()
def test_reset_positions_alone_do_not_separate_sequences(tmp_path):
    """A Hugging Face model given one packed row and position ids that restart mixes the sequences; ours does not."""
    reference, ours = hugging_face(SHAPES[2], tmp_path)
    batch, last = make_batch([20, 30]), ours.n_layers
    expected = unpad(reference(pad(batch, PAD))[last], batch)
    row = reference(batch.input_ids[None], position_ids=batch.position_ids[None])[last][0]
    assert row_error(row, expected) > FAULT
    assert row_error(ours.forward_packed(batch.input_ids, batch.cu_seqlens, 30)[last], expected) <= PARITY


# ---- the published widths, from files of either form

# All layers of the small models; of the others a few, since layers differ in nothing but their number.
DEPTHS = {"8M": 6, "35M": 12, "150M": 4, "650M": 2}
ALL_LAYERS = os.environ.get("VIRNUCPRO_ALL_LAYERS", "")
# Float32 sums of up to 5120 terms in another order, up to 33 layers deep.
DEEP_PARITY = 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("size", DEPTHS)
@pytest.mark.parametrize("source", [fair_esm, hugging_face], ids=["fair-esm", "transformers"])
@torch.no_grad()
def test_the_published_widths(source, size, tmp_path):
    """VIRNUCPRO_ALL_LAYERS=1 takes every layer of each, which for 650M needs 8 GB of memory."""
    config = ESM2_SHAPES[size]
    depth = config.layers if ALL_LAYERS else DEPTHS[size]
    reference, ours = source((depth, config.width, config.heads), tmp_path)
    batch = make_batch((30, 7, 12))
    expected = unpad(reference(pad(batch, PAD))[depth], batch)
    found = ours.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[depth]
    relative = (found - expected).norm() / expected.norm()
    assert relative <= DEEP_PARITY
    assert row_error(found, expected) <= 3 * DEEP_PARITY  # of the worst token


# ---- the six published shapes, without memory


@pytest.mark.parametrize("size", ESM2_SHAPES)
def test_keys_and_shapes_of_the_published_models(size):
    from esm.model.esm2 import ESM2 as FairESM2  # noqa: N811

    config = ESM2_SHAPES[size]
    with torch.device("meta"):
        theirs = FairESM2(config.layers, config.width, config.heads, "ESM-1b").state_dict()
        ours = ESM2(config).state_dict()
    mapped = map_keys(theirs, ESM2_FAIR, size)
    assert {name: value.shape for name, value in mapped.items()} == {name: value.shape for name, value in ours.items()}


def test_the_published_sizes():
    shapes = {size: (c.layers, c.width, c.heads) for size, c in ESM2_SHAPES.items()}
    assert shapes == {
        "8M": (6, 320, 20), "35M": (12, 480, 20), "150M": (30, 640, 20),
        "650M": (33, 1280, 20), "3B": (36, 2560, 40), "15B": (48, 5120, 40),
    }  # fmt: skip


def test_weights_of_another_shape_are_refused(tmp_path):
    fair_esm(SHAPES[0], tmp_path)
    state, _ = load_fair_esm(tmp_path / "esm2.pt")
    for other, message in (
        ((2, 48, 4), "has shape"),
        ((3, 64, 4), "lacks"),
        ((1, 64, 4), "that the model does not have"),
    ):
        with pytest.raises(ModelError, match=message):
            load_state(ESM2(ESM2Config(*other)), state, "esm2.pt")
