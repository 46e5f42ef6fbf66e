"""Mean pooling against a plain loop over the windows of the two language models."""

import pytest
import torch

from virnucpro.models.pooling import PoolingWindow, mean_pool_packed
from virnucpro.models.positions import position_ids_unchecked

ALL_TOKENS = PoolingWindow()
RESIDUES = PoolingWindow(skip_first=1, skip_last=1, limit=1024)

# Two float32 sums of up to 2 000 terms in another order.
SUM_ORDER = 1e-6


def packed(lengths, width=5, dtype=torch.float32, seed=0):
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    hidden = torch.randn(sum(lengths), width, generator=torch.Generator().manual_seed(seed))
    return hidden.to(dtype), cu_seqlens


def plain_means(hidden, lengths, window):
    """ESM-2: positions 1 .. min(limit, residues); DNABERT-S: all."""
    means = []
    for tokens in hidden.double().split(lengths):
        inner = tokens[window.skip_first : len(tokens) - window.skip_last]
        means.append(inner[: window.limit].mean(0))
    return torch.stack(means)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "window", [ALL_TOKENS, RESIDUES, PoolingWindow(1, 1), PoolingWindow(2, 0, 3), PoolingWindow(0, 3, 1)]
)
@pytest.mark.parametrize("lengths", [[4], [7, 4, 30, 4, 5], [1026, 1025, 1027, 2000, 5]])
def test_equals_a_plain_loop(lengths, window, dtype):
    hidden, cu_seqlens = packed(lengths, dtype=dtype)
    pooled = mean_pool_packed(hidden, cu_seqlens, window)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled.double(), plain_means(hidden, lengths, window), rtol=0, atol=SUM_ORDER)
    given_positions = position_ids_unchecked(cu_seqlens, sum(lengths))
    assert mean_pool_packed(hidden, cu_seqlens, window, given_positions).equal(pooled)


def test_windows_of_the_language_models():
    assert (ALL_TOKENS.skip_first, ALL_TOKENS.skip_last, ALL_TOKENS.limit) == (0, 0, None)
    assert (RESIDUES.skip_first, RESIDUES.skip_last, RESIDUES.limit) == (1, 1, 1024)


@pytest.mark.parametrize(
    ("length", "first_out"),
    [(10, 9), (1025, 1024), (1026, 1025), (1027, 1025), (1500, 1025)],  # residues are 1 .. length - 2
)
def test_residues_are_positions_1_to_1024(length, first_out):
    positions = torch.arange(length, dtype=torch.float32)[:, None]
    cu_seqlens = torch.tensor([0, length], dtype=torch.int32)
    mean = mean_pool_packed(positions, cu_seqlens, RESIDUES).item()
    assert mean == pytest.approx(sum(range(1, first_out)) / (first_out - 1), rel=SUM_ORDER)


def test_cls_and_eos_do_not_count():
    hidden, cu_seqlens = packed([6, 9])
    changed = hidden.clone()
    changed[[0, 5, 6, 14]] = 1e4
    assert mean_pool_packed(changed, cu_seqlens, RESIDUES).equal(mean_pool_packed(hidden, cu_seqlens, RESIDUES))
    assert not mean_pool_packed(changed, cu_seqlens, ALL_TOKENS).equal(mean_pool_packed(hidden, cu_seqlens, ALL_TOKENS))


def test_an_empty_window_is_nan_and_alone():
    hidden, cu_seqlens = packed([4, 2, 1, 4])
    pooled = mean_pool_packed(hidden, cu_seqlens, RESIDUES)
    assert pooled.isnan().all(dim=1).tolist() == [False, True, True, False]
    assert pooled[[0, 3]].isfinite().all()


def test_a_nan_stays_in_its_sequence():
    hidden, cu_seqlens = packed([4, 5, 6])
    hidden[6] = float("nan")
    assert mean_pool_packed(hidden, cu_seqlens, ALL_TOKENS).isnan().any(dim=1).tolist() == [False, True, False]


def test_half_precision_is_summed_in_float32():
    # 4 096 times 1.0 and 0.001: a sum in float16 stops at 2 048, one in bfloat16 at 256.
    hidden = torch.tensor([1.0, 0.001]).expand(4096, 2).to(torch.float16).contiguous()
    pooled = mean_pool_packed(hidden, torch.tensor([0, 4096], dtype=torch.int32), ALL_TOKENS)
    torch.testing.assert_close(pooled[0], hidden[0].float(), rtol=SUM_ORDER * 10, atol=0)
