"""Dense layers in e4m3 on the CPU, against the same numbers in float64."""

import pytest
import torch
from support.models import pack_rows, random_rows, seeded
from torch import nn

from virnucpro.errors import ConfigError
from virnucpro.models import ESM2, ESM2Config
from virnucpro.models.dnabert_flash import DNABERT, DNABERTConfig
from virnucpro.models.float8 import FLOAT8, Float8Linear, from_float8, quantise, to_float8
from virnucpro.pipeline.device import choose_precision

ROUNDING = 2**-4  # half a step of three bits of mantissa


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def test_a_row_is_rounded_to_its_own_scale():
    x = random(5, 48) * torch.tensor([1e-6, 1.0, 30.0, 1e6, 0.0])[:, None]
    values, scale = quantise(x)
    assert (values.dtype, scale.shape, scale.dtype) == (FLOAT8, (5, 1), torch.float32)
    assert values.float().abs().amax(1).tolist() == [448, 448, 448, 448, 0]
    assert torch.isfinite(values.float()).all()
    off = (values.float() * scale - x).abs()
    assert (off <= x.abs() * ROUNDING + 2**-10 * scale).all()  # below 2^-6 e4m3 has fixed steps of 2^-9


@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_the_rounded_numbers(bias):
    linear = nn.Linear(64, 48)
    layer = Float8Linear(linear)
    x = random(3, 7, 64)
    values, scale = quantise(x)
    exact = (values.double() * scale) @ (layer.weight.double() * layer.scale.T).T
    exact = exact + linear.bias.double() if bias else exact
    for given in (x, quantise(x)):
        found = layer.product(given, layer.bias if bias else None)
        assert found.shape == (3, 7, 48)
        assert ((found - exact).norm() / exact.norm()).item() <= 1e-5
    assert ((layer(x) - linear(x)).norm() / linear(x).norm()).item() <= ROUNDING


def test_layers_are_replaced_and_restored():
    model = nn.Sequential(nn.Linear(32, 16), nn.ModuleDict({"inner": nn.Linear(16, 32)}), nn.LayerNorm(32))
    before = [p.clone() for p in model.parameters()]
    to_float8(model, quantise)
    assert [type(m) for m in model.modules()].count(Float8Linear) == 2
    from_float8(model)
    assert not any(isinstance(m, Float8Linear) for m in model.modules())
    for one, other in zip(model.parameters(), before, strict=True):
        assert (one - other).norm().item() <= (ROUNDING * other.norm().item() if one.dim() == 2 else 0)


def batch_of(lengths, vocabulary):
    return pack_rows(random_rows(lengths, 4, vocabulary, seed=1))


@torch.inference_mode()
def test_esm2_in_float8_is_near_float32_and_goes_back():
    with seeded(0):
        model = ESM2(ESM2Config(layers=3, width=64, heads=4)).eval()
    batch = batch_of([9, 1, 30, 4], 24)

    def run():
        return model.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen)[model.n_layers]

    exact = run()
    model.place("cpu", FLOAT8)
    assert sum(isinstance(m, Float8Linear) for m in model.modules()) == 4 * 3
    assert model.dtype == torch.bfloat16
    found = run()
    assert 1e-4 < ((found - exact).norm() / exact.norm()).item() <= 0.08  # rounded, but not wrong
    with torch.enable_grad():  # no other path, and no silent one, where gradients could be asked for
        assert torch.allclose(run(), found, rtol=1e-3, atol=1e-3)
    model.place("cpu", torch.float32)
    assert not any(isinstance(m, Float8Linear) for m in model.modules())
    assert ((run() - exact).norm() / exact.norm()).item() <= 0.08


def test_dnabert_stays_in_bfloat16():
    model = DNABERT(DNABERTConfig(2, 48, 12, 96)).place("cpu", FLOAT8)
    assert not any(isinstance(m, Float8Linear) for m in model.modules())
    assert model.dtype == torch.bfloat16


def test_float8_is_refused_where_no_hardware_has_it():
    with pytest.raises(ConfigError, match=r"fp8 needs a GPU.*got cpu; use bf16"):
        choose_precision("fp8", torch.device("cpu"))
