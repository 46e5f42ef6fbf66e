"""The Triton kernels against their plain twins on the CPU, through Triton's interpreter.

Triton reads TRITON_INTERPRET when it is imported, so `test_kernels.py` runs this file in a process of its own.
"""

import pytest
import torch
from support.models import pack_rows, random_rows, randomise, row_error
from torch import nn

from virnucpro.data import pad
from virnucpro.models import ESM2, ESM2Config
from virnucpro.models import triton_kernels as triton
from virnucpro.models.float8 import Quantised
from virnucpro.models.grouped_sdpa import GroupedSDPA
from virnucpro.models.kernels import PLAIN
from virnucpro.models.rotary import rotary_table
from virnucpro.models.triton_attention import attention
from virnucpro.models.triton_kernels import TRITON

# The twin computes in float64 on the same values. Float32 keeps 24 bits; a mean over D adds a few roundings.
FP32 = 1e-6
# One rounding of the result (at most 2^-11 and 2^-8) and little in float32 before it.
HALF = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
TOLERANCE = {torch.float32: FP32, **HALF}
# Two layers of float32 sums in another order; of float16 roundings at other places.
FORWARD = {torch.float32: 1e-5, torch.float16: 5e-3}
# Logits of up to 20, whose last bits are relative errors of the weights; weights and result are rounded.
ATTENTION = {torch.float32: 5e-6, torch.float16: 2e-3}

dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


@pytest.mark.parametrize("residual", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize(("rows", "width"), [(7, 48), (3, 320), (2, 2560), (1, 5120), (5, 1)])
@dtypes
def test_add_layer_norm(rows, width, dtype, add, residual):
    norm = nn.LayerNorm(width)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias, 0, 0.3)
    x = (3 + 5 * random(rows, width)).to(residual)  # a mean that is not zero
    x[:, 0] = 500.0  # as in the published models, one channel above all others
    y = random(rows, width, seed=1).to(dtype) if add else None
    expected_x, expected_h = PLAIN.add_layer_norm(
        x.double(), None if y is None else y.double(), norm.double(), torch.float64
    )
    found_x, found_h = TRITON.add_layer_norm(x, y, norm.float(), dtype)
    assert found_x.data_ptr() == x.data_ptr()
    assert (found_x.dtype, found_h.dtype) == (residual, dtype)
    assert row_error(found_x, expected_x) <= TOLERANCE[residual]
    assert row_error(found_h, expected_h) <= TOLERANCE[dtype]


@pytest.mark.parametrize(("tokens", "heads", "width"), [((5,), 4, 16), ((7,), 3, 24), ((2, 9), 5, 32), ((33,), 1, 64)])
@dtypes
def test_rotary_qk(tokens, heads, width, dtype):
    qkv = random(*tokens, 3, heads, width).to(dtype)
    positions = torch.randint(0, 1024, tokens, generator=torch.Generator().manual_seed(1))
    cos, sin = rotary_table(positions, width)
    assert cos.shape == (*tokens, 1, width // 2)
    kept = qkv.clone()
    expected = [t.double() for t in PLAIN.rotary_qk(qkv.float(), cos, sin)]
    found = TRITON.rotary_qk(qkv, cos, sin)
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.shape == (*tokens, heads, width)
        assert one.data_ptr() == qkv.select(-3, place).data_ptr()  # a view: nothing is copied
        assert row_error(one, other) <= TOLERANCE[dtype]
    assert torch.equal(found[2], kept.select(-3, 2))


@pytest.mark.parametrize(("rows", "inner", "width"), [(1, 8, 16), (19, 12, 48), (17, 16, 300)])
@dtypes
def test_feed_forward(rows, inner, width, dtype):
    x, weight, bias = random(rows, inner), random(width, inner), 2 * random(width)
    product = torch.nn.functional.linear(x, weight).to(dtype)
    bias = bias.to(dtype)
    expected = torch.nn.functional.gelu(product.double() + bias.double())
    found = triton.bias_gelu(product, bias)
    assert found.data_ptr() == product.data_ptr()
    assert row_error(found, expected) <= TOLERANCE[dtype]
    if dtype == torch.float32:  # the exact form, in the tails as well: the tanh form is off by 1e-4
        tails = torch.linspace(-6, 6, 300)[None]
        exact = torch.nn.functional.gelu(tails.double())
        assert (triton.bias_gelu(tails.clone(), torch.zeros(300)) - exact).abs().max() <= 1e-6
    up, down = nn.Linear(inner, width).to(dtype), nn.Linear(width, inner).to(dtype)
    with torch.inference_mode():
        found = triton.feed_forward(x.to(dtype), up, down)
        twin = PLAIN.feed_forward(x.to(dtype).double(), up.double(), down.double())
    assert row_error(found, twin) <= 3 * TOLERANCE[dtype]  # three roundings to that dtype


@pytest.mark.parametrize(("rows", "width"), [(7, 48), (3, 320), (1, 2560)])
def test_quantise_before_rounding(rows, width, monkeypatch):
    """The interpreter rounds to e4m3 wrongly (1.96 becomes 1), so the kernels store float32 here."""
    monkeypatch.setattr(triton, "FLOAT8", torch.float32)
    x, bias, norm = 3 * random(rows, width).bfloat16(), random(width).bfloat16(), nn.LayerNorm(width)
    x[0] = 0
    given = torch.nn.functional.gelu(x.float() + bias.float())
    _, normed = triton.add_layer_norm(torch.zeros(rows, width), x, norm, torch.float32)
    expected_normed = norm(x.float())
    for found, expected in ((triton.quantise(x), x), (triton.quantise(x, bias), given), (normed, expected_normed)):
        assert isinstance(found, Quantised)
        scale = (expected.float().abs().amax(1, keepdim=True) / 448).clamp_min(1e-12)
        assert torch.allclose(found.scale, scale, rtol=1e-5)
        assert torch.allclose(found.values * found.scale, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alibi", [False, True])
@pytest.mark.parametrize("lengths", [[5, 1, 64, 65, 3], [150], [2] * 9], ids=str)
@pytest.mark.parametrize(("heads", "width"), [(1, 64), (3, 24), (2, 16)])
@pytest.mark.parametrize("dtype", ATTENTION, ids=str)
def test_attention(heads, width, lengths, alibi, dtype):
    total, borders = sum(lengths), torch.tensor([0, *lengths]).cumsum(0).int()
    qkv = 2 * random(total, 3, heads, width).to(dtype)
    slopes = torch.linspace(0.5, 0.1, heads) if alibi else None
    sdpa = GroupedSDPA()
    expected = sdpa.attend(
        *qkv.double().unbind(1), sdpa.prepare(borders, max(lengths)), None if slopes is None else slopes.double()
    )
    one_stride, two_strides = qkv.unbind(1), (qkv[:, 0].clone(), *qkv[:, 1:].unbind(1))
    for longest, (q, k, v) in ((max(lengths), two_strides), (200, one_stride)):  # no less than the longest
        found = attention(q, k, v, borders, longest, slopes)
        assert (found.shape, found.dtype) == (q.shape, dtype)
        assert row_error(found.flatten(1), expected.flatten(1)) <= ATTENTION[dtype]


# ---- the whole model


def make_model(dtype=torch.float32, heads=2):
    return randomise(ESM2(ESM2Config(layers=2, width=48, heads=heads)), seed=2).place("cpu", dtype)


def make_batch():
    return pack_rows(random_rows((5, 1, 8, 8, 3), 4, 33, seed=3))  # some are <mask>


def forwards(model, batch):
    """Return the hidden states of every layer, packed and padded."""
    layers = range(model.n_layers + 1)
    packed = model.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, repr_layers=layers)
    real = pad(batch, model.pad_token) != model.pad_token
    padded = model(pad(batch, model.pad_token), repr_layers=layers)
    return {(form, i): h for form, hs in (("packed", packed), ("padded", padded)) for i, h in hs.items()}, real


@pytest.mark.parametrize("heads", [2, 3])  # head widths 24 and 16
@pytest.mark.parametrize("dtype", FORWARD, ids=str)
@torch.inference_mode()
def test_every_layer_of_a_forward(dtype, heads):
    model, batch = make_model(dtype, heads), make_batch()
    expected, real = forwards(make_model(heads=heads), batch)
    model.kernels = TRITON
    found, _ = forwards(model, batch)
    for key, values in expected.items():
        mine = found[key]
        assert mine.dtype == torch.float32
        if key[0] == "padded":
            mine, values = mine[real], values[real]
        seen = values.norm(dim=-1) > 0  # the embedding of <mask> is zero
        assert row_error(mine[seen], values[seen]) <= FORWARD[dtype], key


def test_gradients_come_from_the_plain_twins():
    model, batch = make_model(), make_batch()
    gradients = []
    for kernels in (PLAIN, TRITON):
        model.kernels = kernels
        model.zero_grad()
        model.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[
            model.n_layers
        ].square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
