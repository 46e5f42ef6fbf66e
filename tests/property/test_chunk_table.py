"""The chunks and frames of blocks are those of plain loops over objects."""

import numpy as np
import specification
from drawn import blocks, limits, rules, sequences
from hypothesis import given
from hypothesis import strategies as st
from specified_letters import pieces_of
from specified_types import Chunk, Frame

from virnucpro.config import FrameRule
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import STATUSES, cut_chunks, read_letters
from virnucpro.seq.frame_table import find_frames
from virnucpro.seq.screen import Limits
from virnucpro.seq.strings import Strings
from virnucpro.types import Letters, Status

Found = list[tuple[int, Chunk | None, int, Status, str]]  # row of the record, chunk and its end, status and reason


def specified(block: RecordBlock, limits: Limits) -> Found:
    return [
        (row, chunk, chunk.end if chunk else 0, status, reason)
        for row, record in enumerate(block.records())
        for chunk, status, reason in specification.screened_chunks(record, limits)
    ]


def found(block: RecordBlock, limits: Limits) -> Found:
    table = cut_chunks(block, limits)
    letters = read_letters(block, table, np.arange(len(table)))
    assert table.length.tolist() == letters.lengths.tolist()
    assert table.part.tolist() == sorted(table.part.tolist())
    assert (table.part // block.mates).tolist() == table.record.tolist()
    rows: Found = []
    for row, text in enumerate(letters):
        record, start, end = int(table.record[row]), int(table.start[row]), int(table.end[row])
        chunk = Chunk(block.record(record).id, int(table.index[row]), start, text, end - start - len(text))
        rows.append((record, chunk, end, STATUSES[table.status[row]], table.reason(row)))
    for row, status in enumerate(table.record_status.tolist()):
        assert (STATUSES[status] is Status.OK) == (row in table.record) == (table.record_reason(row) == "")
        if STATUSES[status] is not Status.OK:
            rows.append((row, None, 0, STATUSES[status], table.record_reason(row)))
    return sorted(rows, key=lambda item: item[0])


@given(blocks(), limits)
def test_chunks_are_those_of_the_plain_loop(block: RecordBlock, limits: Limits) -> None:
    assert found(block, limits) == specified(block, limits)


@given(blocks(), limits, st.data())
def test_a_slice_of_a_block_gives_its_own_chunks(block: RecordBlock, limits: Limits, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(block) - 1))
    part = block.slice(begin, data.draw(st.integers(begin + 1, len(block))))
    assert found(part, limits) == specified(part, limits)


@given(blocks(), limits)
def test_what_is_done_to_letters_is_counted(block: RecordBlock, limits: Limits) -> None:
    expected = []
    for record in block.records():
        counts = [pieces_of(part.sequence.decode())[1] for part in record.parts]
        expected.append(sum(counts if limits.pieces else [Letters(one.ambiguous) for one in counts], Letters()))
    assert [Letters(*row) for row in cut_chunks(block, limits).letters.tolist()] == expected


@given(blocks(), limits, st.data())
def test_letters_of_any_chunks_can_be_read(block: RecordBlock, limits: Limits, data: st.DataObject) -> None:
    table = cut_chunks(block, limits)
    every = read_letters(block, table, np.arange(len(table))).tolist()
    rows = data.draw(st.lists(st.integers(0, len(table) - 1), max_size=8) if len(table) else st.just([]))
    assert read_letters(block, table, rows).tolist() == [every[row] for row in rows]


@given(st.lists(sequences, max_size=6), rules)
def test_frames_are_those_of_the_plain_loop(texts: list[bytes], rule: FrameRule) -> None:
    table = find_frames(Strings.of(texts), rule)
    columns = (table.chunk, table.strand, table.offset, table.nucleotide)
    frames = [
        Frame(f"r_chunk_{chunk}", strand, offset, table.nucleotides[nucleotide], protein)
        for chunk, strand, offset, nucleotide, protein in zip(
            *(column.tolist() for column in columns), table.proteins, strict=True
        )
    ]
    expected = [specification.frames(Chunk("r", row, 0, text), rule) for row, text in enumerate(texts)]
    assert frames == [frame for kept in expected for frame in kept]
    shared = rule.nucleotide == "longest"
    assert len(table.nucleotides) == (sum(map(bool, expected)) if shared else len(table))
