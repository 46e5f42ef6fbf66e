"""The Triton kernels on a CUDA device: against their plain twins, in a whole model, without waiting."""

import copy
import importlib.util

import pytest
import torch
import torch.nn.functional as F
from support.models import pack_rows, random_rows, randomise, row_error, seeded
from torch import nn

from virnucpro.data import TokenSequence, pack
from virnucpro.models import ESM2, ESM2Config
from virnucpro.models.float8 import FLOAT8
from virnucpro.models.kernel_choice import kernels_for
from virnucpro.models.kernels import PLAIN
from virnucpro.models.packed_attention import BACKENDS
from virnucpro.models.rotary import rotary_table

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
]

CUDA = torch.device("cuda")
# One rounding of the result (at most 2^-11 and 2^-8) and little in float32 before it.
ROUNDING = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
# The residual stream is float32: a few roundings of 2^-24.
FP32 = 1e-6
# A model in half precision against float32: about ten roundings a layer, none amplified.
HALF = {torch.float16: 2e-3, torch.bfloat16: 1e-2}
# The kernels round less often than the plain path, elsewhere; both are within HALF of float32.
PATHS = {dtype: 2 * tolerance for dtype, tolerance in HALF.items()}

TOKENS = 1001  # odd: no block is full at the end
SHAPES = [(320, 20), (480, 20), (640, 20), (1280, 20), (2560, 40), (5120, 40)]  # widths and heads, as published
LENGTHS = [168, 1, 59, 168, 3, 1024, 57, 300, 168, 2, 65, 512]

half = pytest.mark.parametrize("dtype", ROUNDING, ids=str)
shapes = pytest.mark.parametrize(("width", "heads"), SHAPES)


def random(*shape, seed=0):
    return torch.randn(*shape, device=CUDA, generator=torch.Generator(CUDA).manual_seed(seed))


@pytest.fixture
def fused():
    return kernels_for(CUDA, torch.bfloat16)


def test_half_precision_on_cuda_takes_the_fused_kernels():
    assert [kernels_for(CUDA, dtype).name for dtype in ROUNDING] == ["triton", "triton"]
    assert kernels_for(CUDA, torch.float32) is PLAIN


@pytest.mark.parametrize("residual", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("add", [True, False])
@half
@shapes
def test_add_layer_norm(fused, width, heads, dtype, add, residual):
    norm = nn.LayerNorm(width, device=CUDA)
    with torch.no_grad():
        norm.weight.copy_(1 + 0.3 * random(width))
        norm.bias.copy_(0.3 * random(width, seed=1))
    x = (3 + 5 * random(TOKENS, width, seed=2)).to(residual)
    x[:, 0] = 500.0  # as in the published models, one channel above all others
    y = random(TOKENS, width, seed=3).to(dtype) if add else None
    exact = nn.LayerNorm(width, device=CUDA, dtype=torch.float64)
    exact.load_state_dict(norm.state_dict())
    expected_x, expected_h = PLAIN.add_layer_norm(x.double(), None if y is None else y.double(), exact, torch.float64)
    found_x, found_h = fused.add_layer_norm(x, y, norm, dtype)
    assert found_x.data_ptr() == x.data_ptr()
    assert (found_x.dtype, found_h.dtype) == (residual, dtype)
    assert row_error(found_x, expected_x) <= (FP32 if residual == torch.float32 else ROUNDING[residual])
    assert row_error(found_h, expected_h) <= ROUNDING[dtype]


@half
@shapes
def test_rotary_qk(fused, width, heads, dtype):
    qkv = random(TOKENS, 3, heads, width // heads).to(dtype)
    cos, sin = rotary_table(torch.arange(TOKENS, device=CUDA), width // heads)
    expected = PLAIN.rotary_qk(qkv.float(), cos, sin)
    found = fused.rotary_qk(qkv, cos, sin)
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.data_ptr() == qkv[:, place].data_ptr()
        assert row_error(one, other) <= ROUNDING[dtype]
    assert torch.equal(found[2].float(), expected[2])


def test_more_rows_than_a_grid_has_in_its_second_dimension() -> None:
    from virnucpro.models.triton_kernels import bias_gelu

    rows = 65_535 * 16 + 129
    x = torch.linspace(-4, 4, rows * 8, device=CUDA).view(rows, 8).to(torch.bfloat16)
    bias = torch.linspace(-1, 1, 8, device=CUDA, dtype=torch.bfloat16)
    exact = F.gelu(x.double() + bias.double())
    assert row_error(bias_gelu(x, bias), exact) <= ROUNDING[torch.bfloat16]


@half
@shapes
def test_feed_forward(fused, width, heads, dtype):
    from virnucpro.models.triton_kernels import bias_gelu

    x = random(TOKENS, width).to(dtype)
    up, down = (nn.Linear(n, 5 * width - n, device=CUDA, dtype=dtype) for n in (width, 4 * width))
    bare = F.linear(x, up.weight)
    exact = F.gelu(bare.double() + up.bias.double())
    assert row_error(bias_gelu(bare, up.bias), exact) <= ROUNDING[dtype]
    with torch.inference_mode():
        found = fused.feed_forward(x, up, down)
        expected = PLAIN.feed_forward(x.double(), up.double(), down.double())
    assert row_error(found, expected) <= 3 * ROUNDING[dtype]  # three roundings


@shapes
def test_quantise(width, heads):
    from virnucpro.models.triton_kernels import TRITON, quantise

    x, bias = 3 * random(TOKENS, width).bfloat16(), random(width, seed=1).bfloat16()
    x[0] = 0
    norm = nn.LayerNorm(width, device=CUDA)
    with torch.inference_mode():
        gelu = F.gelu(x.float() + bias.float())
        pairs = [(quantise(x), PLAIN.quantise(x)), (quantise(x, bias), PLAIN.quantise(gelu))]
        one, other = (k.add_layer_norm(x.float(), x.clone(), norm, FLOAT8)[1] for k in (TRITON, PLAIN))
    for found, expected in (*pairs, (one, other)):
        assert torch.allclose(found.scale, expected.scale, rtol=1e-5)
        differs = found.values.float() != expected.values.float()
        assert differs.float().mean() <= 0.01  # the middle between two steps may go to either
        one, other = (q.values.float() * q.scale for q in (found, expected))
        assert ((one - other).norm() / other.norm()).item() <= 0.01


@torch.inference_mode()
def test_float8_is_the_plain_path_in_float8_and_near_float32():
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("needs compute capability 8.9")
    with seeded(0):
        exact = ESM2(ESM2Config(layers=3, width=320, heads=20)).eval().to(CUDA)
    batch = make_batch()
    arguments = (batch.input_ids, batch.cu_seqlens, batch.max_seqlen)
    expected = exact.forward_packed(*arguments)[3]
    model = copy.deepcopy(exact).place(CUDA, FLOAT8)
    assert model.kernels.name == "triton"
    found = model.forward_packed(*arguments)[3]
    model.kernels = PLAIN
    plain = model.forward_packed(*arguments)[3]
    assert ((found - plain).norm() / plain.norm()).item() <= 0.02
    assert ((found - expected).norm() / expected.norm()).item() <= 0.08
    alone = pack([TokenSequence("0", batch.input_ids[: LENGTHS[0]].cpu().numpy())]).to(CUDA)
    one = model.forward_packed(alone.input_ids, alone.cu_seqlens, alone.max_seqlen)[3]
    assert row_error(one, plain[: LENGTHS[0]]) <= 0.02  # neighbours and the number of tokens do not matter


def test_offsets_beyond_two_to_the_31():
    """A buffer of more than 2^31 elements: offsets of 32 bits would wrap around."""
    rows, width, last = 215_000, 10240, 5  # 4.4 GB in bfloat16
    if torch.cuda.mem_get_info()[0] < 6 << 30:
        pytest.skip("needs 6 GB of free GPU memory")
    from virnucpro.models import triton_kernels

    assert rows * width > 2**31
    x = torch.zeros(rows, width, device=CUDA, dtype=torch.bfloat16)
    x[-last:] = random(last, width).bfloat16()
    expected = F.gelu(x[-last:].double())
    triton_kernels.bias_gelu(x, torch.zeros(width, device=CUDA, dtype=torch.bfloat16))
    assert row_error(x[-last:], expected) <= ROUNDING[torch.bfloat16]
    assert not x[:-last].any()
    heads = width // 64
    qkv = x.view(-1)[: rows // 3 * 3 * width].view(-1, 3, heads, 64)
    qkv[-last:] = random(last, 3, heads, 64, seed=1).bfloat16()
    table = rotary_table(torch.arange(qkv.shape[0], device=CUDA) % 1024, 64)
    expected = PLAIN.rotary_qk(qkv[-last:].float(), *(t[-last:] for t in table))
    found = triton_kernels.rotary_qk(qkv, *table)
    assert all(row_error(f[-last:], e) <= ROUNDING[torch.bfloat16] for f, e in zip(found, expected, strict=True))


# ---- the whole model


def make_model(width, heads, dtype, attention="auto", device=CUDA):
    return randomise(ESM2(ESM2Config(4, width, heads)), seed=3, spread=0.1).place(device, dtype, attention)


def make_batch(device=CUDA):
    return pack_rows(random_rows(LENGTHS, 4, 24)).to(device)


@torch.inference_mode()
def forward(model, batch):
    return model.forward_packed(
        batch.input_ids, batch.cu_seqlens, batch.max_seqlen, range(model.n_layers + 1), batch.position_ids
    )


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize(("width", "heads"), SHAPES[:4])
@half
def test_fused_and_plain_forwards_agree_in_every_layer(width, heads, dtype, backend):
    reason = backend.refusal(CUDA, dtype, width // heads, False)
    if reason:
        pytest.skip(f"{backend.name} {reason}")
    batch, model = make_batch(), make_model(width, heads, dtype, backend.name)
    assert model.kernels.name == "triton"
    truth = forward(make_model(width, heads, torch.float32), batch)
    found = forward(model, batch)
    model.kernels = PLAIN
    plain = forward(model, batch)
    for layer, expected in truth.items():
        errors = (
            row_error(found[layer], expected),
            row_error(plain[layer], expected),
            row_error(found[layer], plain[layer]),
        )
        print(f"{width} {dtype} {backend.name} layer {layer}: fused {errors[0]:.2e}, plain {errors[1]:.2e}")
        assert found[layer].dtype == torch.float32
        assert errors[0] <= HALF[dtype]
        assert errors[2] <= PATHS[dtype]
    assert torch.equal(found[0], truth[0])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@half
def test_no_synchronisation_and_the_same_values_again(dtype):
    model, batch = make_model(640, 20, dtype), make_batch()
    if model.backend.name == "sdpa":
        pytest.skip("sdpa groups by length on the host: one synchronisation a batch")
    warm = forward(model, batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = forward(model, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(again[layer], values) for layer, values in warm.items())


def test_gradients_come_from_the_plain_twins():
    model, batch = make_model(320, 20, torch.bfloat16), make_batch()
    gradients = []
    for kernels in (model.kernels, PLAIN):
        model.kernels = kernels
        model.zero_grad()
        model.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[4].square().mean().backward()
        gradients.append(model.layers[0].up.weight.grad.flatten())
    assert gradients[0].any()
    assert row_error(*gradients) <= HALF[torch.bfloat16]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_device_that_is_not_the_current_one():
    other = torch.device("cuda:1")
    found = forward(make_model(320, 20, torch.bfloat16, device=other), make_batch(other))
    expected = forward(make_model(320, 20, torch.bfloat16), make_batch())
    assert all(torch.equal(found[layer].cpu(), values.cpu()) for layer, values in expected.items())
