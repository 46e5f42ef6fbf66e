"""Packed, padded and one by one are the same function: for both language models, every backend and dtype.

On a machine with a CUDA device the backends of that device are tested as well.
"""

import itertools
import random
from itertools import chain

import numpy as np
import pytest
import torch
from support.models import pack_rows, randomise

from virnucpro.data import VarlenCollator, pad, unpad
from virnucpro.errors import NumericalError
from virnucpro.models import DNABERT, ESM2, DNABERTConfig, ESM2Config
from virnucpro.models.packed_attention import BACKENDS, create_position_ids_packed
from virnucpro.models.pooling import PoolingWindow
from virnucpro.models.tokenizers import ESM2Tokenizer, KmerTokenizer
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pretrained.registry import Encoder

ALL_TOKENS = PoolingWindow()
RESIDUES = PoolingWindow(skip_first=1, skip_last=1, limit=1024)

# Three layers of float32 sums in another order; the fault of a wrong mask or position is above 1e-2.
FP32 = 1e-5
# A neighbour must not enter a sequence's arithmetic at all; only the blocking of a matrix product may change.
NEIGHBOUR = 1e-6
# bfloat16 keeps 8 bits (rounding error 2^-9 = 2e-3). The weights preserve variance, so that a layer adds its ten or
# so roundings and amplifies none; over three layers they add up to less than five times that in the L2 norm.
BF16 = 1e-2

KMER = KmerTokenizer(2)
MODELS = {
    "esm2": (lambda: ESM2(ESM2Config(layers=3, width=64, heads=2)), 4, 32, 1),
    # three heads: ALiBi slopes beyond the geometric series
    "dnabert": (
        lambda: DNABERT(DNABERTConfig(3, 48, 3, 96, KMER.vocabulary, pad_token=KMER.pad_token)), 4, KMER.vocabulary, 1,
    ),
}  # fmt: skip
LENGTHS = {
    "ragged": [7, 1, 33, 12, 12, 3],
    "ragged descending": [33, 12, 12, 7, 3, 1],
    "one": [50],
    "one of one token": [1],
    "all of one token": [1, 1, 1],
    "equal": [9, 9, 9, 9],
    "many": [random.Random(0).randint(1, 30) for _ in range(60)],
}


def make_model(name, device="cpu", dtype=torch.float32, attention="auto"):
    """Return a model none of whose weights has its default value, so that each one matters."""
    return randomise(MODELS[name][0](), seed=7).place(device, dtype, attention)


def make_rows(name, lengths, seed=0):
    _, low, high, _ = MODELS[name]
    rng = np.random.default_rng(seed)
    return [rng.integers(low, high, size=n) for n in lengths]


@torch.inference_mode()
def packed(model, rows, **options):
    """Return layer -> one tensor a sequence."""
    batch = pack_rows(rows).to(next(model.parameters()).device)
    hidden = model.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, **options)
    return {layer: values.cpu().split([len(row) for row in rows]) for layer, values in hidden.items()}


@torch.inference_mode()
def padded(model, rows, **options):
    batch = pack_rows(rows).to(next(model.parameters()).device)
    hidden = model(pad(batch, model.pad_token), **options)
    return {layer: unpad(v, batch).cpu().split([len(row) for row in rows]) for layer, v in hidden.items()}


@torch.inference_mode()
def one_by_one(model, rows, **options):
    alone = [model(torch.from_numpy(row)[None].to(next(model.parameters()).device), **options) for row in rows]
    return {layer: [hidden[layer][0].cpu() for hidden in alone] for layer in alone[0]}


def per_token_error(found, expected):
    """Return the largest relative L2 error of a token, over all sequences."""
    found, expected = torch.cat(list(found)).float(), torch.cat(list(expected)).float()
    return ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max().item()


def overall_error(found, expected):
    """Return the relative L2 error of all tokens together."""
    found, expected = torch.cat(list(found)).float(), torch.cat(list(expected)).float()
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


# ---- the three forms


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_packed_equals_padded_equals_one_by_one_in_every_layer(name, lengths):
    model, rows = make_model(name), make_rows(name, lengths)
    layers = range(model.n_layers + 1)
    expected = one_by_one(model, rows, repr_layers=layers)
    position_ids = create_position_ids_packed(pack_rows(rows).cu_seqlens)
    forms = (
        packed(model, rows, repr_layers=layers),
        packed(model, rows, repr_layers=layers, position_ids=position_ids),
        padded(model, rows, repr_layers=layers),
    )
    for form in forms:
        assert form.keys() == set(layers)
        for layer in layers:
            assert per_token_error(form[layer], expected[layer]) <= FP32, layer


@pytest.mark.parametrize("lengths", [[7, 1, 33], [64, 64], [1], [130, 5]], ids=str)
def test_a_tail_that_fills_up_the_batch_leaks_nothing(name, lengths):
    model, rows = make_model(name), make_rows(name, lengths)
    expected = packed(model, rows, repr_layers=range(model.n_layers + 1))
    model.tile = 128
    with torch.no_grad():
        model.embedding.weight[model.pad_token] = torch.nan  # what a leak would bring in
    found = packed(model, rows, repr_layers=range(model.n_layers + 1))
    for layer, values in expected.items():
        assert [len(value) for value in found[layer]] == lengths
        assert per_token_error(found[layer], values) <= NEIGHBOUR


def test_the_default_is_the_last_layer(name):
    model, rows = make_model(name), make_rows(name, [5, 2])
    assert packed(model, rows).keys() == padded(model, rows).keys() == {model.n_layers}
    for layers in ([-1], [model.n_layers + 1]):
        with pytest.raises(ValueError, match=r"0\.\.3"):
            packed(model, rows, repr_layers=layers)


def test_the_tests_above_can_fail(name):
    """Borders that are not those of the sequences, and a wrong pad token, are far outside the tolerance."""
    model, rows = make_model(name), make_rows(name, [12, 7])
    expected = torch.cat(one_by_one(model, rows)[model.n_layers])
    batch = pack_rows(rows)
    for cu_seqlens, longest in (([0, 19], 19), ([0, 11, 19], 11)):
        borders = torch.tensor(cu_seqlens, dtype=torch.int32)
        wrong = model.forward_packed(batch.input_ids, borders, longest)[model.n_layers]
        assert overall_error([wrong], [expected]) > 100 * FP32
    wrong = unpad(model(pad(batch, 0))[model.n_layers], batch)
    assert overall_error([wrong[:12]], [expected[:12]]) <= FP32  # the longest has no padding
    assert overall_error([wrong[12:]], [expected[12:]]) > 100 * FP32


# ---- order and neighbours


def test_every_order(name):
    model, rows = make_model(name), make_rows(name, [7, 1, 12, 7])
    expected = one_by_one(model, rows)[model.n_layers]
    for order in itertools.permutations(range(4)):
        found = packed(model, [rows[i] for i in order])[model.n_layers]
        assert per_token_error(found, [expected[i] for i in order]) <= FP32, order


@pytest.mark.parametrize("place", ["before", "after", "both"])
def test_no_neighbour_moves_a_sequence(name, place):
    model = make_model(name)
    (mine,) = make_rows(name, [11], seed=1)
    alone = packed(model, [mine])[model.n_layers][0]
    for seed, length in itertools.product((2, 3), (1, 10, 11, 40)):
        (other,) = make_rows(name, [length], seed=seed)
        rows = {"before": [other, mine], "after": [mine, other], "both": [other, mine, other]}[place]
        found = packed(model, rows)[model.n_layers][0 if place == "after" else 1]
        assert per_token_error([found], [alone]) <= NEIGHBOUR, (seed, length)


def test_a_neighbours_nan_stays_there():
    model = make_model("esm2")
    with torch.no_grad():
        model.embedding.weight[31] = float("nan")
    clean, poisoned = make_rows("esm2", [9, 5])
    clean, poisoned = clean % 27 + 4, np.append(poisoned, 31)
    found = packed(model, [poisoned, clean, poisoned])[model.n_layers]
    assert [bool(f.isnan().any()) for f in found] == [True, False, True]


# ---- backends and dtypes


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_every_backend(name, backend, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    reference = make_model(name)
    arguments = (torch.device(device), reference.head_width, reference.uses_alibi)
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    refusals = {dtype: backend.refusal(arguments[0], dtype, *arguments[1:]) for dtype in dtypes}
    usable = [dtype for dtype, reason in refusals.items() if not reason]
    if not usable:
        pytest.skip(f"{backend.name} {refusals[torch.bfloat16]}")
    cases = [make_rows(name, lengths) for lengths in LENGTHS.values()]
    expected = [one_by_one(reference, rows)[reference.n_layers] for rows in cases]
    for dtype in usable:
        model = make_model(name, device, dtype, backend.name)
        assert model.backend.name == backend.name
        found = [packed(model, rows)[model.n_layers] for rows in cases]
        if dtype == torch.float32:
            assert max(map(per_token_error, found, expected)) <= FP32
        else:
            assert overall_error(chain(*found), chain(*expected)) <= BF16, dtype


@pytest.mark.parametrize("form", [packed, padded, one_by_one])
def test_bf16_is_near_fp32_in_every_form(name, form):
    rows = make_rows(name, LENGTHS["ragged"])
    exact, rounded = make_model(name), make_model(name, dtype=torch.bfloat16)
    found = form(rounded, rows)[exact.n_layers]
    assert found[0].dtype == torch.float32  # the residual stream is not rounded
    assert 0 < overall_error(found, one_by_one(exact, rows)[exact.n_layers]) <= BF16


def test_gradients_pass_through_the_packed_path(name):
    model, rows = make_model(name), make_rows(name, [5, 1, 8])
    batch = pack_rows(rows)
    model.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[model.n_layers].pow(2).sum().backward()
    packed_gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    unpad(model(pad(batch, model.pad_token))[model.n_layers], batch).pow(2).sum().backward()
    assert packed_gradients.keys() == {key for key, _ in model.named_parameters()}
    for key, parameter in model.named_parameters():
        scale = max(parameter.grad.abs().max().item(), 1e-3)
        assert (packed_gradients[key] - parameter.grad).abs().max().item() <= 10 * FP32 * scale, key


# ---- the runner


def make_encoder(name, **options):
    tokenizer, window = (ESM2Tokenizer(), RESIDUES) if name == "esm2" else (KMER, ALL_TOKENS)
    return Encoder(make_model(name, **options), tokenizer, window)


def make_sequences(name, count=37, seed=0):
    rng = random.Random(seed)
    letters = "LAGVSERTIDPKQNFYMHWC" if name == "esm2" else "ACGT"
    return ["".join(rng.choices(letters, k=rng.randint(1, 60))).encode() for _ in range(count)]


@pytest.mark.parametrize("max_tokens", [1, 64, 100_000])
def test_runner_packed_equals_padded(name, max_tokens):
    encoder, sequences = make_encoder(name), make_sequences(name)
    vectors = AsyncInferenceRunner(encoder, max_tokens=max_tokens).embed(sequences)
    without_packing = AsyncInferenceRunner(encoder, max_tokens=max_tokens, packing=False).embed(sequences)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert vectors.shape == without_packing.shape == (len(sequences), encoder.model.width)
    assert (np.linalg.norm(vectors - without_packing, axis=1) / np.linalg.norm(vectors, axis=1)).max() <= FP32


@pytest.mark.parametrize(("packing", "unused"), [(True, "forward"), (False, "forward_packed")])
def test_the_switch_chooses_the_path(name, packing, unused, monkeypatch):
    encoder = make_encoder(name)
    monkeypatch.setattr(encoder.model, unused, None)
    assert np.isfinite(AsyncInferenceRunner(encoder, packing=packing).embed(make_sequences(name, 3))).all()


@pytest.mark.parametrize("packing", [True, False])
def test_runner_equals_pooling_one_by_one(name, packing):
    encoder, sequences = make_encoder(name), make_sequences(name, 12)
    found = AsyncInferenceRunner(encoder, max_tokens=100, packing=packing).embed(sequences)
    for vector, sequence in zip(found, sequences, strict=True):
        row = torch.from_numpy(encoder.tokenizer([sequence])[0])
        with torch.inference_mode():
            hidden = encoder.model(row[None])[encoder.model.n_layers][0]
        mean = (hidden[1:-1] if name == "esm2" else hidden).mean(0).numpy()
        assert np.linalg.norm(vector - mean) / np.linalg.norm(mean) <= FP32


@pytest.mark.parametrize(("packing", "depth"), [(True, 1), (True, 5), (False, 2)])
def test_runner_conserves_ids(packing, depth):
    encoder, sequences = make_encoder("esm2"), make_sequences("esm2", 100)
    runner = AsyncInferenceRunner(encoder, max_tokens=128, packing=packing, depth=depth)
    batches = list(runner.run((f"id{i}", sequence) for i, sequence in enumerate(sequences)))
    names = [name for batch in batches for name in batch.sequence_ids]
    assert sorted(names) == sorted(f"id{i}" for i in range(100))
    assert all(batch.vectors.shape == (len(batch.sequence_ids), 64) for batch in batches)
    by_name = {n: v for batch in batches for n, v in zip(batch.sequence_ids, batch.vectors, strict=True)}
    direct = runner.embed(sequences)
    assert all(np.array_equal(by_name[f"id{i}"], direct[i]) for i in range(100))


def test_embed_keeps_order_and_repeats():
    encoder, sequences = make_encoder("esm2"), make_sequences("esm2", 10)
    runner = AsyncInferenceRunner(encoder, max_tokens=200)
    order = [3, 1, 3, 9, 0, 1, 3]
    found, all_of_them = runner.embed([sequences[i] for i in order]), runner.embed(sequences)
    assert np.array_equal(found[0], found[2])
    assert np.linalg.norm(found - all_of_them[order], axis=1).max() <= NEIGHBOUR * np.linalg.norm(found, axis=1).max()
    assert runner.embed([]).shape == (0, 64)
    assert list(runner.run([])) == []


@pytest.mark.parametrize("packing", [True, False])
def test_an_embedding_that_is_not_finite_is_an_error(packing):
    encoder = make_encoder("esm2")
    runner = AsyncInferenceRunner(encoder, packing=packing)
    with pytest.raises(NumericalError, match=r"1 of 3 embeddings.* sequence 'empty'"):
        list(runner.run([("a", b"MK"), ("empty", b""), ("c", b"LAG")]))
    with torch.no_grad():
        encoder.model.embedding.weight[ESM2Tokenizer()([b"W"])[0][1]] = float("inf")
    with pytest.raises(NumericalError, match=r"1 of 2 embeddings.* sequence 'tryptophan'"):
        list(runner.run([("a", b"MK"), ("tryptophan", b"MWK")]))


def test_an_error_of_the_input_reaches_the_caller():
    def items():
        yield "a", b"MK"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(AsyncInferenceRunner(make_encoder("esm2")).run(items()))


def test_collated_batches_go_straight_into_the_model(name):
    encoder, sequences = make_encoder(name), make_sequences(name, 5)
    batch = VarlenCollator(encoder.tokenizer)([(str(i), s) for i, s in enumerate(sequences)])
    with torch.inference_mode():
        hidden = AsyncInferenceRunner(encoder).encode(batch)
    rows = encoder.tokenizer(sequences)
    expected = one_by_one(encoder.model, rows)
    assert per_token_error([hidden], expected[encoder.model.n_layers]) <= FP32


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(name, monkeypatch, caplog):
    encoder, sequences = make_encoder(name), make_sequences(name)
    expected = AsyncInferenceRunner(encoder, max_tokens=500).embed(sequences)
    runner = AsyncInferenceRunner(encoder, max_tokens=500)
    launch, sizes = runner._launch, []

    def with_little_memory(batch):
        if batch.num_tokens > 130:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(batch.num_tokens)
        return launch(batch)

    monkeypatch.setattr(runner, "_launch", with_little_memory)
    found = runner.embed(sequences)
    assert np.linalg.norm(found - expected, axis=1).max() <= NEIGHBOUR * np.linalg.norm(expected, axis=1).max()
    assert runner.n_out_of_memory == sum("did not fit into memory" in message for message in caplog.messages) >= 1
    assert runner.max_tokens <= 250
    assert sum(sizes) == sum(len(tokens) for tokens in encoder.tokenizer(list(dict.fromkeys(sequences))))
    before = runner.n_out_of_memory
    runner.embed(sequences)  # the budget has been lowered
    assert runner.n_out_of_memory == before


def test_one_sequence_that_does_not_fit_is_an_error(monkeypatch):
    runner = AsyncInferenceRunner(make_encoder("esm2"))

    def without_memory(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(runner, "_launch", without_memory)
    with pytest.raises(torch.OutOfMemoryError):
        runner.embed([b"MKLV", b"MA"])


def test_warming_up_counts_as_nothing(name):
    encoder = make_encoder(name)
    with torch.no_grad():
        encoder.model.embedding.weight.fill_(float("inf"))
    runner = AsyncInferenceRunner(encoder)
    runner.warm_up(make_sequences(name, 1)[0])  # neither an error nor a second try
    assert (runner.n_redone, runner.n_out_of_memory) == (0, 0)


def test_what_overflows_in_half_precision_is_computed_in_float32(name, caplog):
    sequences = make_sequences(name, 12)
    half = AsyncInferenceRunner(make_encoder(name, dtype=torch.bfloat16))
    plain = half.embed(sequences)
    encode, place = half.encode, 5

    def overflowing(batch):
        hidden = encode(batch).clone()
        at = batch.sequence_ids.index(str(place))
        hidden[batch.cu_seqlens[at] + 1] = torch.inf
        return hidden

    half.encode = overflowing
    found = half.embed(sequences)
    exact = AsyncInferenceRunner(half.encoder)
    exact.encoder = Encoder(half._exact, half.encoder.tokenizer, half.encoder.window)
    others = [i for i in range(len(sequences)) if i != place]
    assert np.array_equal(found[others], plain[others])
    expected = exact.embed([sequences[place]])[0]
    assert np.linalg.norm(found[place] - expected) <= FP32 * np.linalg.norm(expected)
    assert not np.array_equal(found[place], plain[place])
    assert half.n_redone == 1
    assert "because of overflow in half precision: 1 embedding" in caplog.text
