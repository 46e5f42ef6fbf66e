"""Cost of position ids and of the wrapper's checks for 100 sequences of 16 384 tokens in all, on one CPU core."""

from __future__ import annotations

import torch
from timing import cpu_name, median_seconds, write_results

from virnucpro.models import create_position_ids_packed
from virnucpro.models.packed_checks import check_packed

TOKENS, SEQUENCES = 16384, 100


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    cuts = torch.randperm(TOKENS - 1, generator=generator)[: SEQUENCES - 1].sort().values + 1
    cu_seqlens = torch.cat((torch.tensor([0]), cuts, torch.tensor([TOKENS]))).to(torch.int32)
    q = torch.zeros(TOKENS, 4, 16, dtype=torch.bfloat16)
    longest = int(cu_seqlens.diff().max())
    rows = [
        {
            "what": "create_position_ids_packed",
            "microseconds": round(1e6 * median_seconds(lambda: create_position_ids_packed(cu_seqlens), 2000), 1),
        },
        {
            "what": "checks of flash_attn_varlen_wrapper",
            "microseconds": round(1e6 * median_seconds(lambda: check_packed(q, q, q, cu_seqlens, longest), 2000), 1),
        },
    ]
    write_results("packed_checks", rows, cpu_name())


if __name__ == "__main__":
    main()
