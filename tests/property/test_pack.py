"""Packing loses nothing, doubles nothing, mixes nothing and keeps its budget, for any lengths."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.data import (
    TokenSequence,
    VarlenCollator,
    iter_packed,
    loader,
    pack,
    pack_by_tokens,
    pad,
    prefetch,
    unpad,
)
from virnucpro.models import create_position_ids_packed
from virnucpro.models.tokenizers import ESM2Tokenizer, KmerTokenizer

TOKENIZERS = [ESM2Tokenizer(), KmerTokenizer(2)]
tokens = st.lists(st.integers(0, 4095), min_size=1, max_size=40)
token_lists = st.lists(tokens, min_size=1, max_size=30)
proteins = st.lists(st.text("LAGVSERTIDPKQNFYMHWCX", max_size=30), max_size=60)


def sequences(rows):
    return [TokenSequence(str(i), np.array(row, dtype=np.int64)) for i, row in enumerate(rows)]


def rows_of(batch):
    return [row.tolist() for row in batch.input_ids.split(batch.cu_seqlens.diff().tolist())]


@given(token_lists)
def test_pack_then_split_is_the_identity(rows):
    batch = pack(sequences(rows))
    assert rows_of(batch) == rows
    assert batch.sequence_ids == tuple(str(i) for i in range(len(rows)))
    assert batch.max_seqlen == max(map(len, rows))
    assert batch.position_ids.equal(create_position_ids_packed(batch.cu_seqlens))


@given(token_lists, st.integers(0, 5000))
def test_pad_then_unpad_is_the_identity(rows, pad_token):
    batch = pack(sequences(rows))
    padded = pad(batch, pad_token)
    assert padded.shape == (len(rows), batch.max_seqlen)
    assert unpad(padded[..., None], batch)[:, 0].equal(batch.input_ids)
    filled = torch.ones_like(padded, dtype=torch.bool)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = False
    assert (padded[filled] == pad_token).all()


@given(st.lists(tokens, max_size=30), st.integers(1, 100))
def test_groups_hold_the_stream_within_the_budget(rows, budget):
    groups = list(pack_by_tokens(sequences(rows), budget))
    assert [s.tokens.tolist() for group in groups for s in group] == rows
    assert all(len(group) == 1 or sum(len(s.tokens) for s in group) <= budget for group in groups)
    for group, following in pairwise(groups):  # next-fit: the next one did not fit
        assert sum(len(s.tokens) for s in group) + len(following[0].tokens) > budget


@settings(deadline=None)  # a thread's start takes as long as the machine is busy
@given(proteins, st.integers(1, 120), st.booleans(), st.integers(1, 9), st.sampled_from(TOKENIZERS))
def test_every_id_leaves_the_loader_once_with_its_tokens(proteins, budget, sort, window, tokenizer):
    items = [(f"id{i}", protein.encode()) for i, protein in enumerate(proteins)]
    before, loader.WINDOW = loader.WINDOW, window
    try:
        batches = list(prefetch(iter_packed(items, VarlenCollator(tokenizer), budget, sort), depth=1))
    finally:
        loader.WINDOW = before
    found = [pair for batch in batches for pair in zip(batch.sequence_ids, rows_of(batch), strict=True)]
    expected = [(name, tokenizer([protein])[0].tolist()) for name, protein in items]
    assert (sorted(found) if sort else found) == (sorted(expected) if sort else expected)
    assert all(batch.num_sequences == 1 or batch.num_tokens <= budget for batch in batches)
    if sort:
        assert all((batch.cu_seqlens.diff().diff() >= 0).all() for batch in batches)
