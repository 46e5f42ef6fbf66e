"""Frames of many chunks as arrays, worked out by hand."""

import numpy as np
import pytest

from virnucpro.config import FrameRule
from virnucpro.seq.frame_table import _BLOCK_NT, find_frames, reverse_complement
from virnucpro.seq.strings import Strings

LONGEST = FrameRule("longest_segments", 2, 1, "longest")


def test_frames_name_their_chunk_strand_and_offset() -> None:
    table = find_frames(Strings.of([b"ATGGCATAG", b"", b"AC", b"GATTACA"]), FrameRule("longest_segments", 2, 1))
    assert table.chunk.tolist() == [0, 0, 3, 3]
    assert table.column.tolist() == [2, 3, 0, 3]
    assert table.strand.tolist() == [1, -1, 1, -1]
    assert table.offset.tolist() == [2, 0, 0, 0]
    assert table.proteins.tolist() == [b"GI", b"LCH", b"DY", b"CN"]
    assert table.nucleotides.tolist() == [b"GGCATAG", b"CTATGCCAT", b"GATTACA", b"TGTAATC"]
    assert table.nucleotide.tolist() == [0, 1, 2, 3]


def test_the_frames_of_a_chunk_share_the_nucleotides_of_the_longest() -> None:
    table = find_frames(Strings.of([b"ATGGCATAG", b"AC", b"GAUUACA"]), LONGEST)
    assert table.nucleotides.tolist() == [b"CTATGCCAT", b"TGTAATC"]
    assert table.nucleotide.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("rule", [FrameRule("stop_free"), LONGEST, FrameRule("longest_segments")], ids=str)
def test_no_chunks_have_no_frames(rule: FrameRule) -> None:
    for texts in ([], [b""], [b"AC", b""]):
        table = find_frames(Strings.of(texts), rule)
        assert (len(table), len(table.proteins), len(table.nucleotides), len(table.nucleotide)) == (0, 0, 0, 0)
        assert (table.chunk.dtype, table.column.dtype) == (np.int64, np.int8)


@pytest.mark.parametrize("rule", [FrameRule("stop_free"), LONGEST, FrameRule("longest_segments", 3, 1)], ids=str)
def test_the_frames_of_some_chunks_are_those_of_these_chunks_alone(rule: FrameRule) -> None:
    rng = np.random.default_rng(1)
    texts = [rng.choice(np.frombuffer(b"ACGT", np.uint8), n).tobytes() for n in rng.integers(0, 90, 40).tolist()]
    kept = rng.random(40) < 0.5
    found, rows = find_frames(Strings.of(texts), rule).of_chunks(kept), np.flatnonzero(kept)
    alone = find_frames(Strings.of([texts[row] for row in rows]), rule)
    assert 0 < len(alone) < len(find_frames(Strings.of(texts), rule))
    assert found.chunk.tolist() == rows[alone.chunk].tolist()
    for name in ("column", "proteins", "nucleotides", "nucleotide"):
        assert getattr(found, name).tolist() == getattr(alone, name).tolist()


def test_equal_lengths_go_by_the_bytes_of_long_runs() -> None:
    """Both strands begin with 149 times A; beside chunks of other lengths."""
    same = b"GCC" * 150 + b"GGC" * 150  # its own reverse complement
    other = b"GCC" * 149 + b"GAC" + b"GGC" * 150  # A... D G... and, on the other strand, A... A V G...
    chunks = [b"GCCGCC", same, other, reverse_complement(other), b"GATTACA"]
    table = find_frames(Strings.of(chunks), FrameRule("longest_segments", 1, 1))
    assert table.column.tolist() == [0, 0, 3, 0, 3]
    assert table.proteins[1] == b"A" * 150 + b"G" * 150
    assert table.proteins[2] == table.proteins[3] == b"A" * 150 + b"V" + b"G" * 149


def test_results_do_not_depend_on_the_company() -> None:
    rng = np.random.default_rng(3)
    texts = [rng.choice(np.frombuffer(b"ACGTN", np.uint8), n).tobytes() for n in rng.integers(0, 400, 60)]
    texts += [b"GATTACA" * (_BLOCK_NT // 7 + 2), *(reverse_complement(text) for text in texts)]
    together = find_frames(Strings.of(texts), LONGEST)
    alone = [find_frames(Strings.of([text]), LONGEST) for text in texts]
    assert together.chunk.tolist() == [row for row, table in enumerate(alone) for _ in range(len(table))]
    assert together.column.tolist() == [column for table in alone for column in table.column.tolist()]
    assert together.proteins.tolist() == [protein for table in alone for protein in table.proteins]
    assert together.nucleotides.tolist() == [text for table in alone for text in table.nucleotides]
    shared = together.own_nucleotides().tolist()
    assert shared == [text for table in alone for text in table.own_nucleotides()]
