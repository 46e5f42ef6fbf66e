"""`virnucpro.ESM2` and `virnucpro.DNABERT`, files to vectors and logits, against transformers and fair-esm."""

import argparse
import json

import numpy as np
import pytest
import torch
from support.models import randomise, row_error, seeded
from support.published_files import DNABERT_SHAPE, write_dnabert

import virnucpro
from virnucpro.cli.main import main
from virnucpro.errors import ConfigError, ModelError, NumericalError, OutputError

# Float32 sums of up to 256 terms in another order, three layers deep.
PARITY = 1e-5
# What a real fault costs at least: far beyond rounding.
FAULT = 0.05

LAYERS, WIDTH, HEADS = 3, 48, 2
LETTERS = "LAGVSERTIDPKQNFYMHWC"


def random_proteins(lengths, seed=0):
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(list(LETTERS), length)) for length in lengths]


# In no order, two of one length, and one longer than ESM-2 was trained with.
PROTEINS = [*random_proteins((40, 3, 90, 40, 1, 17)), "MKXBZUO.-LA", *random_proteins((1500,), seed=1)]


def hugging_face(kind, token_dropout=True):
    """Return a random model of transformers, of the class of this name."""
    import transformers

    config = transformers.EsmConfig(
        vocab_size=33, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH, pad_token_id=1, mask_token_id=32, max_position_embeddings=1026,
        position_embedding_type="rotary", token_dropout=token_dropout, emb_layer_norm_before=False, layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager",
    )  # fmt: skip
    with seeded(0):
        model = getattr(transformers, kind)(config)
    return randomise(model, seed=1)


def tokens(protein):
    """Return the ids of one protein as Hugging Face's tokenizer gives them."""
    alphabet = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
    letters = protein.replace("<mask>", "#")
    return torch.tensor([[0, *(32 if a == "#" else alphabet.index(a) for a in letters), 2]])


@torch.no_grad()
def states(model, protein):
    """Return the hidden states (L + 2, D) of one protein after each layer, by transformers."""
    encoder = getattr(model, "esm", model)
    return [state[0] for state in encoder(tokens(protein), output_hidden_states=True).hidden_states]


def load(source, **options):
    return virnucpro.ESM2.from_pretrained(source, device="cpu", precision="fp32", **options)


KINDS = ("EsmModel", "EsmForMaskedLM", "EsmForSequenceClassification", "EsmForTokenClassification")


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    """A model of transformers and the folder where it was saved."""
    folder, model = tmp_path_factory.mktemp("saved") / "model", hugging_face(request.param)
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("masked") / "model", hugging_face("EsmForMaskedLM")
    model.save_pretrained(folder, max_shard_size="30KB")
    assert (folder / "model.safetensors.index.json").exists()
    return model, folder


def test_vectors_are_those_of_transformers(saved):
    model, folder = saved
    esm = load(folder, max_tokens=200)  # several batches
    expected = [states(model, protein)[-1] for protein in PROTEINS]
    means = torch.stack([state[1:-1].mean(0) for state in expected])
    found = esm.encode(PROTEINS)
    assert found.shape == (len(PROTEINS), WIDTH)
    assert found.dtype == np.float32
    assert row_error(torch.from_numpy(found), means) <= PARITY
    assert row_error(torch.from_numpy(found).roll(1, 0), means) > FAULT  # the order is that of the list
    first = torch.stack([state[0] for state in expected])
    assert row_error(esm.encode(PROTEINS, pooling="cls", as_torch=True), first) <= PARITY


@pytest.mark.parametrize("layer", [None, *range(-LAYERS - 1, LAYERS + 1)])
def test_residues_and_tokens_of_every_layer(masked, layer):
    model, folder = masked
    esm = load(folder, max_tokens=120)
    number = LAYERS if layer is None else layer
    residues = esm.encode(PROTEINS, per_residue=True, layer=layer)
    whole = esm.encode(PROTEINS, pooling=None, layer=layer, as_torch=True)
    for protein, found, all_tokens in zip(PROTEINS, residues, whole, strict=True):
        expected = states(model, protein)[number]
        assert found.shape == (len(protein), WIDTH)
        assert row_error(all_tokens, expected) <= PARITY
        assert row_error(torch.from_numpy(found), expected[1:-1]) <= PARITY


def test_logits_are_those_of_transformers(masked):
    model, folder = masked
    proteins = [*PROTEINS, "MKT<mask>YIA<mask>", "<mask>"]
    esm = load(folder)
    both = zip(proteins, esm.logits(proteins), esm.logits(proteins, per_residue=True, as_torch=True), strict=True)
    for protein, found, residues in both:
        with torch.no_grad():
            expected = model(tokens(protein)).logits[0]
        assert found.shape == expected.shape
        assert row_error(torch.from_numpy(found), expected) <= PARITY
        assert torch.equal(residues, torch.from_numpy(found[1:-1]))


def write_fair_esm(path):
    """Write a random model of fair-esm as a checkpoint; return the model."""
    from esm.model.esm2 import ESM2 as FairESM2  # noqa: N811

    with seeded(0):
        model = randomise(FairESM2(LAYERS, WIDTH, HEADS, "ESM-1b", token_dropout=True), seed=1)
    state = {}
    for name, value in model.state_dict().items():
        if not name.startswith("contact_head."):  # published apart
            state[("encoder." if name.startswith("lm_head.") else "encoder.sentence_encoder.") + name] = value
    torch.save({"cfg": {"model": argparse.Namespace(encoder_attention_heads=HEADS)}, "model": state}, path)
    return model


def test_vectors_and_logits_are_those_of_fair_esm(tmp_path):
    model = write_fair_esm(tmp_path / "esm2.pt")
    esm = load(tmp_path / "esm2.pt")
    for protein, vector, logits in zip(PROTEINS, esm.encode(PROTEINS), esm.logits(PROTEINS), strict=True):
        with torch.no_grad():
            expected = model(tokens(protein), repr_layers=[LAYERS])
        state = expected["representations"][LAYERS][0]
        assert row_error(torch.from_numpy(vector), state[1:-1].mean(0)) <= PARITY
        assert row_error(torch.from_numpy(logits), expected["logits"][0]) <= PARITY
    esm.save_pretrained(tmp_path / "saved")
    from transformers import EsmForMaskedLM

    theirs = EsmForMaskedLM.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        logits = theirs(tokens(PROTEINS[0])).logits[0]
    assert row_error(torch.from_numpy(esm.logits(PROTEINS[:1])[0]), logits) <= PARITY


def test_a_model_without_token_dropout(tmp_path):
    model = hugging_face("EsmForMaskedLM", token_dropout=False)
    model.save_pretrained(tmp_path / "model")
    for protein in ("MKTAYIA", "MK<mask>AYIA"):
        found = load(tmp_path / "model").encode([protein])[0]
        assert row_error(torch.from_numpy(found), states(model, protein)[-1][1:-1].mean(0)) <= PARITY


# ---- letters and input


def test_letters_and_what_stands_for_them(masked):
    esm = load(masked[1])
    for one, other in (("mkvl", "MKVL"), (b"MKVL", "MKVL"), ("MK*J", "MK!?"), ("a<mask>", b"A<MASK>")):
        assert np.array_equal(esm.encode([one]), esm.encode([other]))
    ids = esm.tokenize(["MK*<mask>", "<mask>A"])
    assert [row.tolist() for row in ids] == [[0, 20, 15, 3, 32, 2], [0, 32, 5, 2]]
    assert [row.tolist() for row in esm.tokenizer([b"MKA"])] == [[0, 20, 15, 5, 2]]
    assert not np.allclose(esm.encode(["MKVL"]), esm.encode(["MK*L"]), atol=1e-3)


def test_no_sequences_and_generators(masked):
    esm = load(masked[1])
    assert esm.encode([]).shape == (0, WIDTH)
    assert esm.encode([], as_torch=True).shape == (0, WIDTH)
    assert esm.encode([], per_residue=True) == esm.logits([]) == esm.tokenize([]) == []
    assert np.array_equal(esm.encode(protein for protein in PROTEINS[:3]), esm.encode(PROTEINS[:3]))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("MKV", {}, "must be a list of sequences"),
        (["MKV", ""], {}, r"sequence 1 \(from 0\) is empty"),
        (["MKÄ"], {}, "outside ASCII"),
        ([b"MK\xff"], {}, "outside ASCII"),
        ([7], {}, "must be text or bytes, got int"),
        (["MK<eos>V"], {}, "only special token"),
        (["MKV"], {"layer": LAYERS + 1}, r"layer must lie in -4\.\.3"),
        (["MKV"], {"layer": -LAYERS - 2}, r"layer must lie in -4\.\.3"),
        (["MKV"], {"pooling": "max"}, "pooling must be mean, cls or None"),
        (["MKV"], {"pooling": "cls", "per_residue": True}, "pooling cls exclude each other"),
    ],
)
def test_what_cannot_be_encoded_is_refused(masked, given, options, message):
    with pytest.raises(ConfigError, match=message):
        load(masked[1]).encode(given, **options)


def test_values_that_are_not_finite_are_an_error(masked):
    esm = load(masked[1])
    with torch.no_grad():
        esm.network.norm.weight[0] = float("inf")
    for call in (esm.encode, esm.logits, lambda proteins: esm.encode(proteins, per_residue=True)):
        with pytest.raises(NumericalError, match="not finite"):
            call(PROTEINS[:2])


def test_options_that_do_not_fit_are_refused(masked):
    with pytest.raises(ConfigError, match="device must be"):
        virnucpro.ESM2.from_pretrained(masked[1], device="tpu")
    with pytest.raises(ConfigError, match="attention must be"):
        load(masked[1], attention="none")
    with pytest.raises(ModelError, match="there is no model 'absent'"):
        load("absent")


def test_threads_of_the_process_are_as_before(masked):
    before = torch.get_num_threads()
    load(masked[1], threads=3).encode(PROTEINS)
    assert torch.get_num_threads() == before


# ---- weights


def test_the_state_dict_is_that_of_transformers(saved):
    model, folder = saved
    state = load(folder).state_dict()
    own = {name: value for name, value in model.state_dict().items() if not name.endswith("inv_freq")}
    assert {name for name in state if not name.endswith("inv_freq")} == own.keys()
    assert all(state[name].equal(value) for name, value in own.items())
    fresh = hugging_face(type(model).__name__)
    torch.nn.init.zeros_(fresh.get_parameter(next(name for name, _ in fresh.named_parameters())))
    fresh.load_state_dict(state, strict=True)
    assert all(value.equal(own[name]) for name, value in fresh.state_dict().items() if name in own)


def test_what_is_saved_is_the_same_model(saved, tmp_path):
    model, folder = saved
    load(folder).save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == json.loads(
        (folder / "config.json").read_text()
    )
    again = type(model).from_pretrained(tmp_path / "again")
    expected = model.state_dict()
    assert all(value.equal(expected[name]) for name, value in again.state_dict().items())
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(tmp_path / "again")(PROTEINS)["input_ids"]
    assert ids == [row.tolist() for row in load(folder).tokenize(PROTEINS)]
    with pytest.raises(OutputError, match="not an empty directory"):
        load(folder).save_pretrained(tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_weights_are_put_back(masked, tmp_path):
    model, folder = masked
    esm, before = load(folder), load(folder).encode(PROTEINS)
    state = {name: value.clone() for name, value in esm.state_dict().items()}
    with torch.no_grad():
        for parameter in esm.network.parameters():
            parameter.mul_(1.5)
    assert not np.allclose(esm.encode(PROTEINS), before, atol=1e-3)
    assert esm.head.decoder.weight is esm.network.embedding.weight
    esm.load_state_dict(state)
    assert np.array_equal(esm.encode(PROTEINS), before)
    esm.load_state_dict(model.state_dict())
    assert np.array_equal(esm.encode(PROTEINS), before)
    without = {name: value for name, value in state.items() if not name.startswith("lm_head.")}
    untied = state | {"lm_head.decoder.weight": state["lm_head.decoder.weight"] + 1}
    for wrong, message in (
        (without, "both have a language-model head"),
        (untied, "must be its embedding table"),
        (state | {"extra": torch.zeros(1)}, "unexpected tensor 'extra'"),
        (state | {"lm_head.bias": torch.zeros(1)}, "needs"),
    ):
        with pytest.raises(ModelError, match=message):
            esm.load_state_dict(wrong)
    assert np.array_equal(esm.encode(PROTEINS), before)


def test_a_decoder_of_its_own_is_kept(masked, tmp_path):
    esm = load(masked[1])
    esm.head.decoder.weight = torch.nn.Parameter(esm.head.decoder.weight.detach() + 1)
    esm.save_pretrained(tmp_path / "untied")
    again = load(tmp_path / "untied")
    assert again.head.decoder.weight is not again.network.embedding.weight
    assert np.array_equal(again.logits(PROTEINS[:1])[0], esm.logits(PROTEINS[:1])[0])


def test_without_a_head_there_are_no_logits(tmp_path):
    hugging_face("EsmModel").save_pretrained(tmp_path / "model")
    esm = load(tmp_path / "model")
    assert esm.head is None
    with pytest.raises(ModelError, match="has no language-model head"):
        esm.logits(PROTEINS)


def test_the_engine_of_the_bundled_model(tmp_path):
    esm = load("bundled")
    vectors = esm.encode(PROTEINS)
    assert vectors.shape == (len(PROTEINS), esm.network.width)
    esm.save_pretrained(tmp_path / "saved")
    assert np.array_equal(load(tmp_path / "saved").encode(PROTEINS), vectors)
    with pytest.raises(ModelError, match="must be dnabert, got esm2"):
        virnucpro.DNABERT.from_pretrained("bundled")


# ---- gradients


def test_gradients_through_a_packed_batch_are_those_of_transformers(masked):
    model, esm = hugging_face("EsmForMaskedLM"), load(masked[1])
    proteins = PROTEINS[:6]
    batch = esm.pack(proteins)
    logits = esm.head(esm.hidden(batch))
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    (logits * weights).sum().backward()
    parts = weights.split([len(protein) + 2 for protein in proteins])
    for protein, part in zip(proteins, parts, strict=True):
        (model(tokens(protein)).logits[0] * part).sum().backward()
    ours = esm.network.layers[0].up.weight.grad, esm.network.embedding.weight.grad, esm.head.dense.weight.grad
    theirs = (
        model.esm.encoder.layer[0].intermediate.dense.weight.grad,
        model.esm.embeddings.word_embeddings.weight.grad,
        model.lm_head.dense.weight.grad,
    )
    for found, expected in zip(ours, theirs, strict=True):
        assert (found - expected).norm() <= 10 * PARITY * expected.norm()


def test_pooled_states_have_gradients_and_are_those_of_encode(masked):
    esm = load(masked[1])
    batch = esm.pack(PROTEINS)
    for pooling in ("mean", "cls"):
        pooled = esm.pool(esm.hidden(batch, layer=1), batch, pooling)
        assert row_error(pooled.detach(), esm.encode(PROTEINS, pooling=pooling, layer=1, as_torch=True)) <= PARITY
        pooled.sum().backward()
    linear = torch.nn.Linear(WIDTH, 1)
    linear(esm.encode(PROTEINS, as_torch=True)).sum().backward()  # vectors may go into another network


# ---- DNABERT-S


def test_dnabert(tmp_path):
    dna = virnucpro.DNABERT.from_pretrained(write_dnabert(tmp_path / "dna"), device="cpu", precision="fp32")
    sequences = ["ACGTTGCATTAG" * 4, "acguuga", "GATTACA" * 9]
    found = dna.encode(sequences)
    for row, sequence in zip(found, ("ACGTTGCATTAG" * 4, "ACGTTGA", "GATTACA" * 9), strict=True):
        ids = torch.from_numpy(dna.tokenize([sequence])[0])[None]
        with torch.no_grad():
            expected = dna.network(ids)[DNABERT_SHAPE.layers][0]
        assert row_error(torch.from_numpy(row), expected.mean(0)) <= PARITY
        assert row_error(dna.encode([sequence], pooling=None, as_torch=True)[0], expected) <= PARITY
        assert row_error(dna.encode([sequence], pooling="cls", as_torch=True)[0], expected[0]) <= PARITY
    with pytest.raises(ConfigError, match="one token for each letter"):
        dna.encode(sequences, per_residue=True)
    with pytest.raises(ModelError, match="no language-model head"):
        dna.logits(sequences)


def test_weights_of_dnabert_go_back_to_their_names(tmp_path):
    folder = write_dnabert(tmp_path / "dna")
    dna = virnucpro.DNABERT.from_pretrained(folder, device="cpu", precision="fp32")
    state, expected = dna.state_dict(), torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert state.keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in state.items())
    dna.save_pretrained(tmp_path / "saved")
    again = virnucpro.DNABERT.from_pretrained(tmp_path / "saved", device="cpu", precision="fp32")
    assert np.array_equal(again.encode(["ACGT" * 9]), dna.encode(["ACGT" * 9]))
    width, vocabulary = DNABERT_SHAPE.width, DNABERT_SHAPE.vocabulary
    head = {
        "transform.dense.weight": torch.randn(width, width, generator=torch.Generator().manual_seed(1)),
        "transform.dense.bias": torch.ones(width), "transform.LayerNorm.weight": torch.full((width,), 2.0),
        "transform.LayerNorm.bias": torch.ones(width), "decoder.bias": torch.arange(float(vocabulary)),
        "decoder.weight": expected["bert.embeddings.word_embeddings.weight"],
    }  # fmt: skip
    torch.save(
        expected | {f"cls.predictions.{name}": value for name, value in head.items()}, folder / "pytorch_model.bin"
    )
    dna = virnucpro.DNABERT.from_pretrained(folder, device="cpu", precision="fp32")
    hidden = dna.encode(["ACGT" * 9], pooling=None, as_torch=True)[0]
    normed = torch.nn.functional.layer_norm(
        torch.nn.functional.gelu(hidden @ head["transform.dense.weight"].T + 1), (width,), eps=DNABERT_SHAPE.eps
    )
    logits = (2 * normed + 1) @ head["decoder.weight"].T + head["decoder.bias"]
    assert row_error(dna.logits(["ACGT" * 9], as_torch=True)[0], logits) <= PARITY


# ---- model directories


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code or 0


def test_a_language_model_is_imported_embedded_and_loaded(masked, tmp_path, capsys):
    assert run("models", "import", "--esm2", masked[1], "-o", tmp_path / "mine") == 0
    assert f"embed --model {tmp_path / 'mine'}" in capsys.readouterr().err
    assert run("models", "verify", tmp_path / "mine") == 0
    (tmp_path / "p.faa").write_text("".join(f">p{n}\n{protein}\n" for n, protein in enumerate(PROTEINS[:6])))
    options = ("--device", "cpu", "--precision", "fp32", "-o", tmp_path / "out")
    assert run("-q", "embed", tmp_path / "p.faa", "--model", tmp_path / "mine", *options) == 0
    from safetensors.numpy import load_file

    esm = load(tmp_path / "mine")
    found = load_file(tmp_path / "out" / "embeddings_00000.safetensors")["embeddings"]
    np.testing.assert_allclose(found, esm.encode(PROTEINS[:6]), atol=PARITY)
    assert np.array_equal(esm.logits(PROTEINS[:1])[0], load(masked[1]).logits(PROTEINS[:1])[0])
    assert esm.head.decoder.weight is esm.network.embedding.weight
    assert run("models", "import", "--esm2", tmp_path / "mine", "-o", tmp_path / "copy") == 0
    assert (tmp_path / "copy" / "head.safetensors").read_bytes() == (
        tmp_path / "mine" / "head.safetensors"
    ).read_bytes()


def test_dnabert_alone_is_imported(tmp_path):
    folder = write_dnabert(tmp_path / "dna")
    assert run("-q", "models", "import", "--dnabert", folder, "-o", tmp_path / "mine") == 0
    one, two = (
        virnucpro.DNABERT.from_pretrained(path, device="cpu", precision="fp32") for path in (folder, tmp_path / "mine")
    )
    assert np.array_equal(one.encode(["ACGT" * 9]), two.encode(["ACGT" * 9]))


@pytest.mark.parametrize(
    "options",
    [(), ("--esm2", "a", "--dnabert", "b"), ("--esm2", "a", "--chunk-length", "500"), ("--classifier", "a")],
    ids=" ".join,
)
def test_an_import_needs_a_classifier_or_one_language_model(options, tmp_path, capsys):
    assert run("models", "import", *options, "-o", tmp_path / "out") == 2
    assert "--chunk-length" in capsys.readouterr().err
