"""With the bundled model on a CPU, a score is the same to the last bit in any company and by any threads."""

import os
import subprocess
import sys

import pytest
import torch

# In a process of its own, since MKL takes this setting before its first product only.
SCRIPT = """
from virnucpro.environment import make_sums_reproducible

make_sums_reproducible()
import random
import sys
from virnucpro import Options, Predictor, Record, load_model

letters = random.Random(2)
lengths = (75, 80, 100, 150, 150, 151, 300, 500, 501, 1300)
records = [Record(f"r{i}", "".join(letters.choices("ACGT", k=n)).encode(), index=i) for i, n in enumerate(lengths)]


def predictor(**changes):
    return Predictor(load_model(), Options(**{"device": "cpu", "precision": sys.argv[1], "threads": 1, **changes}))


def numbers(results):
    calls = [call for result in results for call in (result.call, *(chunk.call for chunk in result.chunks))]
    predictions = [p for result in results for chunk in result.chunks for p in chunk.predictions]
    return [call.virus_score for call in calls] + [v for p in predictions for v in (p.score_virus, p.weight)]


expected = numbers(list(predictor().run(records)))
for changes in ({"threads": 2}, {"threads": 3}, {"max_tokens": 1}, {"max_tokens": 300, "threads": 3}):
    if numbers(list(predictor(**changes).run(records))) != expected:
        raise SystemExit(f"{changes} change a score")
one = predictor()
if numbers([result for record in records for result in one.run([record])]) != expected:
    raise SystemExit("alone a record has another score")
if numbers(list(one.run(records[::-1]))[::-1]) != expected:
    raise SystemExit("the order changes a score")
"""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_threads_token_budget_and_company_change_no_bit(precision):
    if precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("shown on CPUs with AVX512_BF16 only")
    environment = dict(os.environ)
    if precision == "bf16" and torch.cpu._is_amx_tile_supported():  # see "Same bytes" in docs/run-directory.md
        environment["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"
    done = subprocess.run([sys.executable, "-c", SCRIPT, precision], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
