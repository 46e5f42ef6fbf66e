"""What must hold for any record."""

import random
from itertools import pairwise

import as_objects
import pytest
import specification
from hypothesis import given
from hypothesis import strategies as st
from specified_types import Chunk

from virnucpro.config import FrameRule
from virnucpro.seq.frame_table import reverse_complement

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
    assert as_objects.spans(length, chunk_length) == specification.spans(length, chunk_length)


@given(st.integers(1, 100_000), st.integers(3, 1000))
def test_spans_cover_the_record(length: int, chunk_length: int) -> None:
    spans = as_objects.spans(length, chunk_length)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    for (start, end), (next_start, _) in pairwise(spans):
        assert start < next_start <= end
    assert all(0 < end - start <= chunk_length for start, end in spans)


@given(odd_dna)
def test_reverse_complement_twice_is_the_identity(sequence: bytes) -> None:
    assert reverse_complement(reverse_complement(sequence)) == sequence


@given(st.lists(odd_dna, max_size=6), rules)
def test_frames_are_those_of_the_plain_twin(sequences: list[bytes], rule: FrameRule) -> None:
    chunks = [Chunk("r", i, 0, sequence) for i, sequence in enumerate(sequences, start=1)]
    assert as_objects.frames(chunks, rule) == [specification.frames(chunk, rule) for chunk in chunks]


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
    assert as_objects.frames(chunks, rule) == expected


@given(odd_dna.map(lambda sequence: sequence.replace(b"U", b"T")), rules)
def test_both_strands_give_the_same_proteins(sequence: bytes, rule: FrameRule) -> None:
    chunks = [Chunk("r", 1, 0, sequence), Chunk("r", 2, 0, reverse_complement(sequence))]
    forward, backward = as_objects.frames(chunks, rule)
    assert sorted(frame.protein for frame in forward) == sorted(frame.protein for frame in backward)
    if rule.kind == "stop_free":
        mirrored = {(-frame.strand, frame.offset, frame.nucleotide, frame.protein) for frame in backward}
        assert {(frame.strand, frame.offset, frame.nucleotide, frame.protein) for frame in forward} == mirrored


@given(odd_dna)
def test_nucleotides_of_the_longest_frame(sequence: bytes) -> None:
    chunk = Chunk("r", 1, 0, sequence)
    own = as_objects.frames([chunk], FrameRule("longest_segments", 3, 1))[0]
    shared = as_objects.frames([chunk], FrameRule("longest_segments", 3, 1, "longest"))[0]
    assert [(f.strand, f.offset, f.protein) for f in shared] == [(f.strand, f.offset, f.protein) for f in own]
    if own:
        longest = min(own, key=lambda frame: (-len(frame.protein), frame.protein))
        assert {frame.nucleotide for frame in shared} == {longest.nucleotide}
