"""PackedBatch: what it holds, what it refuses, and the ways to make one."""

import dataclasses

import numpy as np
import pytest
import torch

from virnucpro.data import PackedBatch, TokenSequence, VarlenCollator, pack, pad, unpad
from virnucpro.errors import PackedFormatError
from virnucpro.models.tokenizers import ESM2Tokenizer


def sequences(*lengths):
    return [TokenSequence(f"s{i}", np.arange(10 * i, 10 * i + n)) for i, n in enumerate(lengths, start=1)]


def test_pack():
    batch = pack(sequences(3, 1, 2))
    assert batch.input_ids.tolist() == [10, 11, 12, 20, 30, 31]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 0, 1]
    assert batch.cu_seqlens.tolist() == [0, 3, 4, 6]
    assert (batch.max_seqlen, batch.num_sequences, batch.num_tokens) == (3, 3, 6)
    assert batch.sequence_ids == ("s1", "s2", "s3")
    assert (batch.input_ids.dtype, batch.position_ids.dtype) == (torch.int64, torch.int64)
    assert batch.cu_seqlens.dtype == torch.int32
    assert type(batch.max_seqlen) is int


def test_fields_by_key_and_by_attribute():
    batch = pack(sequences(2, 3))
    for name in ("input_ids", "position_ids", "cu_seqlens", "max_seqlen", "sequence_ids", "num_sequences"):
        assert batch[name] is getattr(batch, name) or batch[name] == getattr(batch, name)
    for name in ("token_budget", "_rows", ""):
        with pytest.raises(KeyError):
            batch[name]


def test_a_batch_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        pack(sequences(2)).max_seqlen = 5


@pytest.mark.parametrize("lengths", [[], [3, 0, 2], [0]])
def test_pack_refuses_empty(lengths):
    with pytest.raises(PackedFormatError, match="at least one token"):
        pack(sequences(*lengths))


def int32(*values):
    return torch.tensor(values, dtype=torch.int32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cu_seqlens": torch.tensor([0, 3, 5])}, r"must be int32, got torch.int64"),
        ({"cu_seqlens": int32(1, 3, 5)}, r"from 0 to T = 5, got 3 from \[1\] to \[5\]"),
        ({"cu_seqlens": int32(0, 3, 4)}, r"from 0 to T = 5, got 3 .* to \[4\]"),
        ({"cu_seqlens": int32(0, 5)}, "3 elements"),
        ({"cu_seqlens": int32()}, "3 elements"),
        ({"cu_seqlens": int32(0, 3, 5)[None]}, "3 elements"),
        ({"cu_seqlens": int32(0, 5, 5), "max_seqlen": 5}, "1 to max_seqlen = 5 tokens, got 0 to 5"),
        ({"cu_seqlens": int32(0, 6, 5)}, "got -1 to 6"),
        ({"max_seqlen": 2}, "got 2 to 3"),
        ({"max_seqlen": 4}, "got 2 to 3"),
        ({"position_ids": torch.tensor([0, 1, 2, 3, 4])}, "start at 0"),
        ({"position_ids": torch.tensor([0, 1, 1, 0, 1])}, "rise by 1"),
        ({"position_ids": torch.tensor([0, 2, 3, 0, 1])}, "rise by 1"),
        ({"position_ids": torch.tensor([0, 1, -1, 0, 1])}, "rise by 1"),
        ({"position_ids": torch.tensor([0, 1, 2, 0])}, r"must be \(T,\)"),
        ({"input_ids": torch.arange(4)}, "T = 4"),
        ({"sequence_ids": ("a",)}, "2 elements"),
        ({"sequence_ids": (), "cu_seqlens": int32(0), "input_ids": torch.arange(0)}, "at least one sequence"),
    ],
)
def test_a_batch_whose_fields_disagree_is_refused(changes, message):
    batch = pack(sequences(3, 2))
    with pytest.raises(PackedFormatError, match=message):
        dataclasses.replace(batch, **changes)


def test_to_keeps_everything():
    batch = pack(sequences(3, 2))
    moved = batch.to("cpu", non_blocking=True)
    assert moved.input_ids.equal(batch.input_ids)
    assert moved.sequence_ids == batch.sequence_ids
    assert batch.to("meta").cu_seqlens.device.type == "meta"  # values there cannot be checked, and are not


def test_pad_and_unpad():
    batch = pack(sequences(3, 1, 2))
    padded = pad(batch, 99)
    assert padded.tolist() == [[10, 11, 12], [20, 99, 99], [30, 31, 99]]
    assert unpad(padded[..., None], batch)[:, 0].equal(batch.input_ids)


def test_collator_is_pure():
    collator = VarlenCollator(ESM2Tokenizer())
    items = [("a", b"MK"), ("b", b""), ("c", b"LAGV")]
    first, second = collator(items), collator(items)
    assert isinstance(first, PackedBatch)
    assert first.sequence_ids == second.sequence_ids == ("a", "b", "c")
    assert first.input_ids.equal(second.input_ids)
    assert first.cu_seqlens.tolist() == [0, 4, 6, 12]
    assert first.num_tokens == sum(len(sequence) + 2 for _, sequence in items)


@pytest.mark.parametrize("lengths", [[3, 5], [1, 2, 3], [4, 4, 4, 4, 9]])
def test_halves_are_batches_of_all_sequences(lengths):
    rows = [np.arange(n) + 10 * n for n in lengths]
    first, second = pack([TokenSequence(str(i), row) for i, row in enumerate(rows)]).halves()
    assert first.sequence_ids + second.sequence_ids == tuple(map(str, range(len(lengths))))
    assert first.num_sequences == len(lengths) // 2
    found = [tokens for half in (first, second) for tokens in half.input_ids.split(half.cu_seqlens.diff().tolist())]
    assert [tokens.tolist() for tokens in found] == [row.tolist() for row in rows]
