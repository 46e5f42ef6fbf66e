"""Chunks of blocks, worked out by hand."""

import numpy as np
import pytest
from specified_letters import resolve

from virnucpro.errors import ConfigError
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import _SLICE_NT, STATUSES, ChunkTable, cut_chunks, read_letters
from virnucpro.seq.letters import may_end_in_homopolymer
from virnucpro.seq.screen import Limits
from virnucpro.seq.strings import Strings
from virnucpro.types import Record, Status

GENE = b"GATTACAGCCTGAGGTCAATCGATCCTAGA"  # 30 nt without a homopolymer
LIMITS = Limits(min_length=20, chunk_length=40, max_ambiguous=0.5, max_repetition=0.3)


def block_of(*sequences: bytes) -> RecordBlock:
    return RecordBlock.of([Record(f"r{i}", sequence, index=i) for i, sequence in enumerate(sequences)])


def pairs_of(*mates: tuple[bytes, bytes]) -> RecordBlock:
    return RecordBlock.of(
        [Record("p", b"", index=i, mates=tuple(Record("m", mate) for mate in two)) for i, two in enumerate(mates)]
    )


def rows(table: ChunkTable) -> list[tuple[int, int, int, int, int]]:
    columns = (table.record, table.index, table.start, table.end, table.length)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def reasons(table: ChunkTable) -> list[tuple[Status, str]]:
    return [(STATUSES[status], table.reason(row)) for row, status in enumerate(table.status.tolist())]


def test_records_are_cut_or_a_reason_is_given() -> None:
    block = block_of(GENE * 2, b"", GENE, b"GATTACA")
    table = cut_chunks(block, LIMITS)
    assert rows(table) == [(0, 1, 0, 40, 40), (0, 2, 29, 60, 31), (2, 1, 0, 30, 30)]
    assert [table.record_reason(row) for row in range(4)] == ["", "the record has no sequence", "", "7 nt, needs 20"]
    assert [STATUSES[status] for status in table.record_status] == [
        Status.OK, Status.EMPTY, Status.OK, Status.TOO_SHORT,
    ]  # fmt: skip
    assert read_letters(block, table, [2, 0]).tolist() == [GENE, (GENE * 2)[:40]]


def test_each_reason_names_its_number() -> None:
    block = block_of(b"AC" * 20, GENE + b"NNACN" * 20, b"G" * 25 + GENE[:12], GENE)
    table = cut_chunks(block, Limits(20, 200, 0.4, 0.3))
    assert reasons(table) == [
        (Status.LOW_COMPLEXITY, "49% of the pairs of triplets are equal"),
        (Status.TOO_AMBIGUOUS, "46% of the letters are not A, C, G, T or U"),
        (Status.LOW_COMPLEXITY, "46% of the pairs of triplets are equal"),
        (Status.OK, ""),
    ]
    assert table.detail[3] == 0
    short = cut_chunks(block_of(b"G" * 20 + GENE[:12]), Limits(20, 200, 0.4, 1.0))
    assert reasons(short) == [(Status.TOO_SHORT, "11 nt without N and homopolymer ends, needs 16")]


def test_the_chunks_of_both_mates_are_counted_on() -> None:
    block = pairs_of((GENE * 2, GENE), (b"GATTACA", GENE), (b"", GENE), (b"", b"ACGT"))
    table = cut_chunks(block, LIMITS)
    assert rows(table) == [
        (0, 1, 0, 40, 40), (0, 2, 29, 60, 31), (0, 3, 0, 30, 30),
        (1, 1, 0, 7, 7), (1, 2, 0, 30, 30),
        (2, 1, 0, 0, 0), (2, 2, 0, 30, 30),
    ]  # fmt: skip
    assert table.part.tolist() == [0, 0, 1, 2, 3, 4, 5]
    assert [reason for _, reason in reasons(table)] == [
        "", "", "", "the mate has 7 nt, needs 20", "", "the mate has 0 nt, needs 20", "",
    ]  # fmt: skip
    assert table.record_reason(3) == "4 nt, needs 20"


def test_letters_are_filled_and_left_out_when_they_are_read() -> None:
    block = block_of(b"NN" + GENE[:10] + b"NNNNN" + GENE[10:] + b"G" * 12, GENE)
    table = cut_chunks(block, LIMITS)
    assert rows(table) == [(0, 1, 2, 37, 32), (1, 1, 0, 30, 30)]
    assert table.letters.tolist() == [[7, 5, 0, 12], [0, 0, 0, 0]]
    read = read_letters(block, table, [0])[0]
    assert (read[:10], read[12:]) == (GENE[:10], GENE[10:])
    assert set(read) <= set(b"ACGT")


def test_without_pieces_letters_stay_as_they_are() -> None:
    block = block_of(b"NN" + GENE + b"N" * 5)
    table = cut_chunks(block, Limits(20, 40, 0.5, 0.3, pieces=False))
    assert rows(table) == [(0, 1, 0, 37, 37)]
    assert table.letters.tolist() == [[7, 0, 0, 0]]
    assert read_letters(block, table, [0]).tolist() == block.sequences.tolist()


def test_what_lies_in_several_slices_is_judged_alike() -> None:
    """Lengths that are no divisor of the slice, and odd letters on both sides of its border."""
    sequence = bytearray(GENE * (_SLICE_NT // 15))
    sequence[_SLICE_NT - 3 : _SLICE_NT + 4] = b"NNNRNNN"
    block = block_of(GENE, bytes(sequence))
    table = cut_chunks(block, LIMITS)
    assert table.letters.tolist() == [[0, 0, 0, 0], [7, 7, 0, 0]]
    assert table.fill.sum() in (1, 2)
    rows = np.flatnonzero(table.part == 1)
    starts, ends = table.start[rows].tolist(), table.end[rows].tolist()
    assert read_letters(block, table, rows).tolist() == [
        resolve(sequence[start:end].decode()).encode() for start, end in zip(starts, ends, strict=True)
    ]


def test_chunks_must_hold_a_codon() -> None:
    with pytest.raises(ConfigError, match="at least 3 nt"):
        cut_chunks(block_of(GENE), Limits(chunk_length=2))


def test_few_random_ends_are_looked_at_closely() -> None:
    rng = np.random.default_rng(0)
    random = rng.choice(np.frombuffer(b"ACGT", np.uint8), (5000, 100))
    assert may_end_in_homopolymer(Strings.of([row.tobytes() for row in random])).sum() < 10
    ends = [GENE + b"T" * 8, b"U" * 8 + GENE, GENE + b"GGGGAGGGGGGGG", b"G" * 8, GENE + b"CC" + b"A" * 14]
    assert may_end_in_homopolymer(Strings.of(ends)).all()
    assert not may_end_in_homopolymer(Strings.of([GENE, b"", b"G" * 7, b"GATTACA"])).any()
