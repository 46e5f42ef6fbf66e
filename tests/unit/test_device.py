"""Which precision a CPU gets."""

import os
import subprocess
import sys

import pytest
import torch

AUTO = """
import torch
from virnucpro.pipeline.device import choose_precision
print(choose_precision("auto", torch.device("cpu")))
"""


def auto(settings):
    environ = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    run = [sys.executable, "-c", AUTO]
    return subprocess.run(run, env=environ | settings, capture_output=True, text=True, check=True).stdout.strip()


def test_without_the_instructions_a_cpu_computes_in_float32():
    assert auto({"ONEDNN_MAX_CPU_ISA": "AVX2"}) == "fp32"


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this CPU has no bf16 instructions")
def test_with_the_instructions_a_cpu_computes_in_bfloat16():
    assert auto({}) == "bf16"
