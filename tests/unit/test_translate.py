"""The two frame rules on sequences that can be worked out by hand."""

import as_objects
import pytest
from specified_types import Chunk, Frame

from virnucpro.config import FrameRule
from virnucpro.seq.frame_table import _BLOCK_NT, reverse_complement

STOP_FREE = FrameRule("stop_free")
STOPS = b"TAACTAACTAA"  # a stop in each forward frame


def frames(sequence: bytes, rule: FrameRule) -> dict[str, Frame]:
    (kept,) = as_objects.frames([Chunk("r", 1, 0, sequence)], rule)
    return {frame.id.removeprefix("r_chunk_1"): frame for frame in kept}


def test_whole_standard_code() -> None:
    codons = [a + b + c for a in "TCAG" for b in "TCAG" for c in "TCAG"]
    expected = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
    chunks = [Chunk("r", 1, 0, codon.encode()) for codon in codons]
    first = [kept[0] if kept and kept[0].strand == 1 else None for kept in as_objects.frames(chunks, STOP_FREE)]
    assert "".join(frame.protein.decode() if frame else "*" for frame in first) == expected


@pytest.mark.parametrize(
    ("length", "emitted", "residues"),
    [
        (500, [499, 499, 498], [166, 166, 166]),
        (300, [300, 298, 298], [100, 99, 99]),
        (174, [174, 172, 172], [58, 57, 57]),
    ],
)
def test_published_slice_table(length: int, emitted: list[int], residues: list[int]) -> None:
    kept = frames(b"C" * length, STOP_FREE)
    assert list(kept) == ["F1", "F2", "F3", "R1", "R2", "R3"]
    assert [len(frame.nucleotide) for frame in kept.values()] == emitted * 2
    assert [len(frame.protein) for frame in kept.values()] == residues * 2


def test_published_rule_drops_ambiguous_codons() -> None:
    frame = frames(b"ATGNNNGCC", STOP_FREE)["F1"]
    assert (frame.protein, frame.nucleotide) == (b"MA", b"ATGNNNG")


def test_published_rule_does_not_read_u_as_t() -> None:
    assert frames(b"AUGGCC", STOP_FREE)["F1"].protein == b"A"
    assert frames(b"UAAGCC", STOP_FREE)["F1"].protein == b"A"  # not a stop either


def test_published_rule_rejects_a_terminal_stop_and_an_empty_protein() -> None:
    assert "F1" not in frames(b"GCCTAA", STOP_FREE)
    assert frames(b"NNNNNNNN", STOP_FREE) == {}
    assert frames(b"AC", STOP_FREE) == {}
    assert frames(b"", STOP_FREE) == {}


def test_reverse_frames_are_read_on_the_reverse_strand() -> None:
    frame = frames(b"AGGCCAT", STOP_FREE)["R1"]  # reverse strand ATGGCCT
    assert (frame.strand, frame.offset, frame.nucleotide, frame.protein) == (-1, 0, b"ATGGCCT", b"MA")


def test_longest_segments_keeps_the_longest_run() -> None:
    sequence = b"GCC" * 4 + b"TAA" + b"GCC" * 9 + b"TAG" + b"GCC" * 2
    kept = frames(sequence, FrameRule("longest_segments", segments=6, min_aa=5))
    assert kept["F1"].protein == b"A" * 9
    assert kept["F1"].nucleotide == sequence
    assert kept["F2"].nucleotide == sequence[1:]
    assert kept["R3"].nucleotide == reverse_complement(sequence)[2:]


def test_longest_segments_takes_the_leftmost_of_equal_runs_on_its_own_strand() -> None:
    rule = FrameRule("longest_segments", segments=6, min_aa=1)
    sequence = b"ATGATGTAAGCCGCC"
    assert frames(sequence, rule)["F1"].protein == b"MM"
    assert frames(reverse_complement(sequence), rule)["R1"].protein == b"MM"


def test_longest_segments_reads_u_as_t_and_ambiguity_as_x() -> None:
    rule = FrameRule("longest_segments", segments=6, min_aa=1)
    assert frames(b"AUGNNNGCC", rule)["F1"].protein == b"MXA"
    assert frames(b"AUGNNNGCC", rule)["F1"].nucleotide == b"ATGNNNGCC"
    assert frames(b"GCCUAAATGGCC", rule)["F1"].protein == b"MA"


def test_longest_segments_counts_and_minimum() -> None:
    sequence = STOPS + b"GCC" * 30 + STOPS
    lengths = [len(f.protein) for f in frames(sequence, FrameRule("longest_segments", segments=6, min_aa=1)).values()]
    two = frames(sequence, FrameRule("longest_segments", segments=2, min_aa=1))
    assert sorted(len(f.protein) for f in two.values()) == sorted(lengths)[-2:]
    only = frames(sequence, FrameRule("longest_segments", segments=6, min_aa=1000))
    assert [len(f.protein) for f in only.values()] == [max(lengths)]


def test_longest_segments_beside_a_much_longer_one() -> None:
    sequence = STOPS + b"GCC" * 30 + STOPS
    lengths = sorted(len(f.protein) for f in frames(sequence, FrameRule("longest_segments", 6, 1)).values())
    for share in (0.0, 0.5, 0.97, 1.0):
        kept = frames(sequence, FrameRule("longest_segments", 6, 1, min_share=share))
        assert sorted(len(f.protein) for f in kept.values()) == [n for n in lengths if n >= share * lengths[-1]]


def test_longest_segments_without_any_residue() -> None:
    rule = FrameRule("longest_segments")
    assert frames(b"", rule) == {}
    assert frames(b"AC", rule) == {}
    assert [f.protein for f in frames(b"TTA", rule).values()] == [b"L"]  # F1 is L, R1 is a stop
    assert frames(b"ACG", FrameRule("longest_segments", segments=1))["R1"].protein == b"R"  # R before T


def test_longest_segments_breaks_ties_by_protein() -> None:
    kept = frames(b"ATGATG", FrameRule("longest_segments", segments=1))
    assert [(name, f.protein) for name, f in kept.items()] == [("R1", b"HH")]  # MM and HH are the only runs of two


def test_result_is_aligned_to_the_chunks_over_many_blocks() -> None:
    sequences = [b"GCC" * 50, b"", STOPS + b"TTAGTTAGTTA", b"A", b"ATGNNNGCC"] * (_BLOCK_NT // 60)
    chunks = [Chunk("r", i, 0, sequence) for i, sequence in enumerate(sequences, start=1)]
    result = as_objects.frames(chunks, STOP_FREE)
    assert len(result) == len(chunks)
    assert [len(kept) for kept in result[:5]] == [6, 0, 0, 0, 2]
    for chunk, kept, model in zip(chunks, result, result[:5] * (len(chunks) // 5), strict=True):
        assert {frame.chunk_id for frame in kept} <= {chunk.id}
        assert [frame.protein for frame in kept] == [frame.protein for frame in model]


def test_no_chunks() -> None:
    assert as_objects.frames([], STOP_FREE) == []


def test_reverse_complement_leaves_other_letters() -> None:
    assert reverse_complement(b"AACGTNRU-") == b"-URNACGTT"
