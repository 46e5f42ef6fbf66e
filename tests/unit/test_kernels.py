"""Which kernels are chosen, and, in a process of its own, the Triton kernels through their interpreter."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from virnucpro.models import ESM2, ESM2Config
from virnucpro.models.kernels import PLAIN, kernels_for

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
    ("device", "dtype"),
    [("cpu", torch.float32), ("cpu", torch.bfloat16), ("cpu", torch.float16), ("cuda", torch.float32)],
)
def test_the_cpu_and_float32_take_the_plain_kernels(device, dtype):
    assert kernels_for(torch.device(device), dtype) is PLAIN


def test_a_placed_model_on_the_cpu_has_plain_kernels():
    model = ESM2(ESM2Config(1, 16, 2))
    assert model.kernels is PLAIN
    assert model.place("cpu", torch.bfloat16).kernels is PLAIN


def test_without_triton_the_plain_kernels_serve(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "virnucpro.models.triton_kernels", None)  # importing it fails
    monkeypatch.delattr("virnucpro.models.triton_kernels", raising=False)
    with caplog.at_level(logging.WARNING):
        assert kernels_for(CUDA, torch.bfloat16) is PLAIN
    assert "Triton cannot be used" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_probe_that_fails_gives_the_plain_kernels(caplog):
    with caplog.at_level(logging.WARNING):
        assert kernels_for(CUDA, torch.float16) is PLAIN
    assert "Triton cannot be used" in caplog.text


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
