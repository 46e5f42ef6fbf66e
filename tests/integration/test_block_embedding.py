"""Vectors of the tokens of a block: those of a stream of sequences, whatever the batches, the memory and the precision.

Both language models, with random weights.
"""

import random

import numpy as np
import pytest
import torch
from support.models import randomise

from virnucpro.errors import NumericalError, StoppedError
from virnucpro.models import DNABERT, ESM2, DNABERTConfig, ESM2Config
from virnucpro.models.pooling import PoolingWindow
from virnucpro.models.tokenizers import ESM2Tokenizer, KmerTokenizer
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pretrained.registry import Encoder
from virnucpro.seq.strings import Strings

KMER = KmerTokenizer(2)
# The same float32 sums in batches of other shapes.
FP32 = 1e-5


def make_encoder(name: str, dtype: torch.dtype = torch.float32) -> Encoder:
    if name == "esm2":
        model, tokenizer = ESM2(ESM2Config(layers=2, width=32, heads=2)), ESM2Tokenizer()
    else:
        config = DNABERTConfig(2, 48, 3, 96, KMER.vocabulary, pad_token=KMER.pad_token)
        model, tokenizer = DNABERT(config), KMER
    return Encoder(randomise(model, seed=3).place("cpu", dtype), tokenizer, PoolingWindow(1, 1, 1024))


@pytest.fixture(params=["esm2", "dnabert"])
def encoder(request) -> Encoder:
    return make_encoder(request.param)


def sequences_for(encoder: Encoder, number: int = 60) -> list[bytes]:
    letters, alphabet = random.Random(number), "ACGT" if encoder.tokenizer is KMER else "ACDEFGHIKLMNPQRSTVWYX"
    return ["".join(letters.choices(alphabet, k=letters.randint(1, 90))).encode() for _ in range(number)]


def tokens_of(encoder: Encoder, sequences: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return encoder.tokenizer.encode(Strings.of(sequences))


def error(found: torch.Tensor, expected: np.ndarray) -> float:
    """Return the largest relative L2 error of a vector."""
    return float((np.linalg.norm(found.numpy() - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


class Little(AsyncInferenceRunner):
    """A runner on a device that has memory for so many tokens at a time."""

    room, sizes = 130, ()

    def _embed_rows(self, model, sequences, rows, vectors):
        total = int(sequences.lengths[rows].sum())
        if total > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes = (*self.sizes, total)
        super()._embed_rows(model, sequences, rows, vectors)


@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize(("max_tokens", "threads"), [(1, 1), (100, 1), (4096, 1), (100, 2)])
def test_a_block_has_the_vectors_of_its_sequences(encoder, packing, max_tokens, threads):
    sequences = sequences_for(encoder)
    expected = AsyncInferenceRunner(encoder).embed(sequences)
    runner = AsyncInferenceRunner(encoder, max_tokens=max_tokens, packing=packing, threads=threads)
    found = runner.embed_tokens(*tokens_of(encoder, sequences))
    assert found.shape == expected.shape
    assert error(found, expected) <= FP32


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(encoder):
    sequences = sequences_for(encoder)
    expected = AsyncInferenceRunner(encoder).embed(sequences)
    tokens, lengths = tokens_of(encoder, sequences)
    runner = Little(encoder, max_tokens=2000)
    assert error(runner.embed_tokens(tokens, lengths), expected) <= FP32
    assert sum(runner.sizes) == len(tokens)
    assert runner.n_out_of_memory >= 1
    assert runner.max_tokens <= 1000
    before = runner.n_out_of_memory
    runner.max_tokens = runner.room
    runner.embed_tokens(tokens, lengths)
    assert runner.n_out_of_memory == before


def test_one_sequence_that_does_not_fit_is_an_error(encoder):
    runner = Little(encoder)
    runner.room = 1
    with pytest.raises(torch.OutOfMemoryError):
        runner.embed_tokens(*tokens_of(encoder, sequences_for(encoder, 3)))


class Overflowing(AsyncInferenceRunner):
    """A runner whose half precision makes the vectors of the longest sequences infinite."""

    def _embed_rows(self, model, sequences, rows, vectors):
        super()._embed_rows(model, sequences, rows, vectors)
        if model.dtype != torch.float32:
            vectors[torch.from_numpy(rows[sequences.lengths[rows] > 30])] = torch.inf


@pytest.mark.parametrize("name", ["esm2", "dnabert"])
def test_what_overflows_is_computed_again_in_float32_and_the_others_stay(name):
    half = make_encoder(name, torch.bfloat16)
    sequences = sequences_for(half)
    tokens, lengths = tokens_of(half, sequences)
    plain = AsyncInferenceRunner(half).embed_tokens(tokens, lengths)
    runner = Overflowing(half)
    found = runner.embed_tokens(tokens, lengths)
    long = lengths > 30
    assert 2 < long.sum() < len(sequences)
    assert (~torch.isfinite(found).all(dim=1)).numpy().tolist() == long.tolist()
    assert runner.repair(found, tokens, lengths) == runner.n_redone == long.sum()
    assert torch.equal(found[~long], plain[~long])
    exact = AsyncInferenceRunner(Encoder(runner._exact, half.tokenizer, half.window))
    expected = exact.embed([sequence for sequence, one in zip(sequences, long, strict=True) if one])
    assert error(found[long], expected) <= FP32
    assert runner.repair(found, tokens, lengths) == 0


def test_what_is_not_finite_in_float32_is_an_error(encoder):
    with torch.no_grad():
        encoder.model.embedding.weight.fill_(float("nan"))
    runner, (tokens, lengths) = AsyncInferenceRunner(encoder), tokens_of(encoder, sequences_for(encoder, 4))
    with pytest.raises(NumericalError, match="4 of 4 embeddings are not finite"):
        runner.repair(runner.embed_tokens(tokens, lengths), tokens, lengths)


def test_a_stopped_runner_stops(encoder):
    runner = AsyncInferenceRunner(encoder)
    runner.stopped = True
    with pytest.raises(StoppedError):
        runner.embed_tokens(*tokens_of(encoder, sequences_for(encoder, 4)))
