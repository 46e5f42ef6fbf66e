"""Which kernels are chosen, and, in a process of its own, the Triton kernels through their interpreter."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.models import seeded

from virnucpro.models import ESM2, ESM2Config
from virnucpro.models.cpu_kernels import CPU
from virnucpro.models.kernel_choice import kernels_for
from virnucpro.models.kernels import PLAIN
from virnucpro.models.rotary import rotary_table

CUDA = torch.device("cuda")


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=os.environ | environment
    )


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_kernels_equal_their_twins_under_the_interpreter():
    tests = Path(__file__).with_name("interpreted_kernels.py")
    # Without a GPU, so that the interpreter is all there is; without plugins, so that it starts quickly.
    done = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests), TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES=""
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cpu", torch.float32, CPU), ("cpu", torch.bfloat16, CPU), ("cpu", torch.float16, PLAIN),
        ("cpu", torch.float8_e4m3fn, PLAIN), ("cuda", torch.float32, PLAIN),
    ],
)  # fmt: skip
def test_each_device_and_dtype_has_its_kernels(device, dtype, expected):
    assert kernels_for(torch.device(device), dtype, narrow=True) is expected
    assert kernels_for(torch.device(device), dtype) is PLAIN


def test_a_model_has_plain_kernels_until_it_is_placed():
    model = ESM2(ESM2Config(1, 16, 2))
    assert model.kernels is PLAIN
    assert model.place("cpu", torch.bfloat16).kernels is CPU


# Of float32 a last bit or two of sums; of bfloat16, whose steps are 2^-8 apart, that each pass rounds once.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize(("tokens", "heads", "head_width"), [(1, 1, 2), (37, 2, 16), (128, 5, 32), (70, 3, 24)])
def test_kernels_of_the_cpu_equal_their_twins(dtype, tolerance, tokens, heads, head_width):
    with seeded(tokens):
        layer = ESM2(ESM2Config(1, heads * head_width, heads)).place("cpu", dtype).layers[0]
        x, y = torch.randn(2, tokens, heads * head_width)
    table = rotary_table(torch.arange(tokens), head_width)

    def close(found, expected):
        assert found.dtype == expected.dtype
        error = (found.double() - expected.double()).norm() / expected.double().norm()
        assert error <= tolerance, float(error)

    with torch.inference_mode():
        for branch in (None, y.to(dtype)):
            found, expected = (k.add_layer_norm(x.clone(), branch, layer.attention_norm, dtype) for k in (CPU, PLAIN))
            close(found[0], expected[0])
            close(found[1], expected[1])
        h = expected[1]
        q, k, v = CPU.rotary_qk(CPU.qkv(h, layer.qkv, heads), *table)
        q_, k_, v_ = PLAIN.rotary_qk(PLAIN.qkv(h, layer.qkv, heads), *table)
        close(v, v_)
        close(q.norm(dim=-1), q_.norm(dim=-1))
        close(torch.einsum("ihd,jhd->hij", q, k), torch.einsum("ihd,jhd->hij", q_, k_))
        close(CPU.linear(h, layer.out), PLAIN.linear(h, layer.out))
        close(CPU.feed_forward(h, layer.up, layer.down), PLAIN.feed_forward(h, layer.up, layer.down))


@pytest.mark.parametrize(("width", "heads", "vocabulary"), [(96, 2, 69), (128, 2, 33), (40, 5, 130)])
def test_the_first_projection_from_a_table_is_the_same_to_the_last_bit(width, heads, vocabulary):
    torch.manual_seed(vocabulary)
    model = ESM2(ESM2Config(1, width, heads, vocabulary=vocabulary, mask_token=32, token_dropout=False)).place("cpu")
    ids = torch.randint(vocabulary, (640,))
    with torch.inference_mode():
        _, expected = model.layers[0].project(model.embedding(ids), None, CPU)
        assert torch.equal(model.project_tokens(ids, CPU), expected)


def test_there_is_no_table_where_more_than_the_token_decides():
    ids = torch.randint(33, (640,), generator=torch.Generator().manual_seed(0))
    dropping, model = (ESM2(ESM2Config(1, 32, 2, token_dropout=drop)).place("cpu") for drop in (True, False))
    with torch.inference_mode():
        assert dropping.project_tokens(ids, CPU) is None
        assert model.project_tokens(ids, PLAIN) is None  # autograd and other devices
        assert model.project_tokens(ids[:64], CPU) is None  # no more than the table has rows
        assert model.project_tokens(ids, CPU).shape == (640, 3, 2, 16)


def test_without_triton_the_plain_kernels_serve(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "virnucpro.models.triton_kernels", None)  # importing it fails
    monkeypatch.delattr("virnucpro.models.triton_kernels", raising=False)
    with caplog.at_level(logging.WARNING):
        assert kernels_for(CUDA, torch.bfloat16) is PLAIN
    assert "Triton does not work" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_probe_that_fails_gives_the_plain_kernels(caplog):
    with caplog.at_level(logging.WARNING):
        assert kernels_for(CUDA, torch.float16) is PLAIN
    assert "Triton does not work" in caplog.text


def test_models_on_the_cpu_need_no_triton():
    code = """
import sys
sys.modules["triton"] = None  # not installed
import torch, virnucpro.models as m
m.ESM2(m.ESM2Config(1, 16, 2)).place("cpu", torch.bfloat16)
assert "virnucpro.models.triton_kernels" not in sys.modules
"""
    done = python("-W", "error", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
