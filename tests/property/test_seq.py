"""What must hold for any record."""

import random
from itertools import pairwise

import pytest
import specification
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.config import FrameRule
from virnucpro.seq import chunk_spans, frames_of, iter_chunks, reverse_complement
from virnucpro.types import Chunk, Record

dna = st.text("ACGT", max_size=400).map(str.encode)
odd_dna = st.text("ACGTACGTACGTNURY-*", max_size=200).map(str.encode)
rules = st.one_of(
    st.just(FrameRule("stop_free")),
    st.builds(
        FrameRule,
        st.just("longest_segments"),
        st.integers(1, 6),
        st.integers(1, 30),
        min_share=st.sampled_from([0.0, 0.3, 0.75, 1.0]),
    ),
)


@given(st.integers(1, 5000), st.integers(3, 700))
def test_spans_are_the_published_ones(length: int, chunk_length: int) -> None:
    assert chunk_spans(length, chunk_length) == specification.spans(length, chunk_length)


@given(st.integers(1, 100_000), st.integers(3, 1000))
def test_spans_cover_the_record(length: int, chunk_length: int) -> None:
    spans = chunk_spans(length, chunk_length)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    for (start, end), (next_start, _) in pairwise(spans):
        assert start < next_start <= end
    assert all(0 < end - start <= chunk_length for start, end in spans)


@given(dna, st.integers(3, 90))
def test_chunks_are_slices_of_the_record(sequence: bytes, chunk_length: int) -> None:
    chunks = list(iter_chunks(Record("r", sequence), chunk_length))
    assert [chunk.index for chunk in chunks] == list(range(1, len(chunks) + 1))
    for chunk in chunks:
        assert chunk.sequence == sequence[chunk.start : chunk.start + chunk_length]
    covered = b""
    for chunk in chunks:
        covered += chunk.sequence[len(covered) - chunk.start :]
    assert covered == sequence


@given(odd_dna)
def test_reverse_complement_twice_is_the_identity(sequence: bytes) -> None:
    assert reverse_complement(reverse_complement(sequence)) == sequence


@given(st.lists(odd_dna, max_size=6), rules)
def test_frames_are_those_of_the_plain_twin(sequences: list[bytes], rule: FrameRule) -> None:
    chunks = [Chunk("r", i, 0, sequence) for i, sequence in enumerate(sequences, start=1)]
    assert frames_of(chunks, rule) == [specification.frames(chunk, rule) for chunk in chunks]


RULES = [FrameRule("stop_free"), FrameRule("longest_segments"), FrameRule("longest_segments", 1, 1),
         FrameRule("longest_segments", 6, 1), FrameRule("longest_segments", 3, 40),
         FrameRule("longest_segments", 3, 20, min_share=0.75)]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("letters", ["ACGT", "ACG", "ACGT" * 30 + "N", "ACGU", "ACGT" * 8 + "RYKMSWBDHVNU-.*"])
def test_many_random_chunks_as_the_plain_twin(rule: FrameRule, letters: str) -> None:
    rng = random.Random(f"{rule}{letters}")
    lengths = [500] * 60 + [300] * 40 + [rng.randrange(200) for _ in range(300)]
    chunks = [Chunk("r", i, 0, "".join(rng.choices(letters, k=n)).encode()) for i, n in enumerate(lengths, start=1)]
    expected = [specification.frames(chunk, rule) for chunk in chunks]
    assert any(expected)
    assert frames_of(chunks, rule) == expected


@given(odd_dna.map(lambda sequence: sequence.replace(b"U", b"T")), rules)
def test_both_strands_give_the_same_proteins(sequence: bytes, rule: FrameRule) -> None:
    chunks = [Chunk("r", 1, 0, sequence), Chunk("r", 2, 0, reverse_complement(sequence))]
    forward, backward = frames_of(chunks, rule)
    assert sorted(frame.protein for frame in forward) == sorted(frame.protein for frame in backward)
    if rule.kind == "stop_free":
        mirrored = {(-frame.strand, frame.offset, frame.nucleotide, frame.protein) for frame in backward}
        assert {(frame.strand, frame.offset, frame.nucleotide, frame.protein) for frame in forward} == mirrored


@given(odd_dna)
def test_nucleotides_of_the_longest_frame(sequence: bytes) -> None:
    chunk = Chunk("r", 1, 0, sequence)
    own = frames_of([chunk], FrameRule("longest_segments", 3, 1))[0]
    shared = frames_of([chunk], FrameRule("longest_segments", 3, 1, "longest"))[0]
    assert [(f.strand, f.offset, f.protein) for f in shared] == [(f.strand, f.offset, f.protein) for f in own]
    if own:
        longest = min(own, key=lambda frame: (-len(frame.protein), frame.protein))
        assert {frame.nucleotide for frame in shared} == {longest.nucleotide}
