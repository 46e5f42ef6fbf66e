"""Ambiguous letters, runs of N and homopolymer ends."""

from itertools import product

import pytest
from as_objects import chunks, resolved
from hypothesis import given
from hypothesis import strategies as st
from specified_letters import leave_out

from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import cut_chunks
from virnucpro.seq.letters import GAP_NT, count_read, find_pieces
from virnucpro.seq.screen import Limits
from virnucpro.types import Letters, Record, Status

GENE = b"GATTACAGCCTGAGGTCAATCGATCCTAGA"  # 30 nt without a homopolymer
_COMPLEMENT = bytes.maketrans(b"ACGTURYSWKMBDHVNX-.*", b"TGCAAYRSWMKVHDBNX-.*")
_MEANS = {
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG",
    "N": "ACGT", "X": "ACGT", "-": "ACGT", ".": "ACGT", "*": "ACGT",
}  # fmt: skip


def other_strand(sequence: bytes) -> bytes:
    return sequence.translate(_COMPLEMENT)[::-1]


def letters_of(record: Record, pieces: bool = True) -> Letters:
    """Return what is done to the letters of a record."""
    [counts] = cut_chunks(RecordBlock.of([record]), Limits(pieces=pieces)).letters.tolist()
    return Letters(*counts)


def read(sequence: bytes) -> list[bytes]:
    """Return what is read of each piece."""
    return [resolved(sequence[begin:end]) for begin, end in find_pieces(sequence)[0]]


ends = st.one_of(
    st.just(b""),
    st.builds(lambda base, n: base * n, st.sampled_from([b"A", b"C", b"G", b"T", b"N"]), st.integers(0, 70)),
)
bodies = st.one_of(
    st.text("ACGT", max_size=80), st.text("ACGTNRYKMSWBDHVX-.*", max_size=80), st.text("AN", max_size=40)
)
sequences = st.builds(
    lambda head, body, middle, rest, tail: head + body.encode() + middle + rest.encode() + tail,
    ends, bodies, ends, bodies, ends,
)  # fmt: skip


@given(sequences)
def test_both_strands_give_the_same(sequence):
    other = other_strand(sequence)
    (pieces, letters), (mirrored, same) = find_pieces(sequence), find_pieces(other)
    assert letters == same
    size = len(sequence)
    assert [(size - end, size - begin) for begin, end in reversed(mirrored)] == pieces
    for (begin, end), here, there in zip(pieces, read(sequence), reversed(read(other)), strict=True):
        own = leave_out(sequence[begin:end].decode()).encode().translate(bytes.maketrans(b"X-.*", b"NNNN"))
        palindrome = own == other_strand(own)  # reads alike on both strands, so that nothing tells one from the other
        assert there == (here if palindrome else other_strand(here))


@given(sequences)
def test_pieces_are_parts_in_order_and_known_letters_stay(sequence):
    pieces, letters = find_pieces(sequence)
    places = [place for piece in pieces for place in piece]
    assert places == sorted(places)
    assert all(begin < end for begin, end in pieces)
    assert letters.ambiguous == sum(letter not in b"ACGTU" for letter in sequence)
    for (begin, end), piece in zip(pieces, read(sequence), strict=True):
        assert set(piece) <= set(b"ACGT")
        left = leave_out(sequence[begin:end].decode())
        assert len(left) == len(piece) == count_read(sequence, begin, end)
        assert (end - begin - len(piece)) % 3 == 0
        for before, after in zip(left, piece.decode(), strict=True):
            assert after in _MEANS.get(before, before)
        assert N_RUN not in sequence[begin:end]


N_RUN = b"N" * GAP_NT


def test_letters_are_filled_the_same_wherever_they_stand():
    one, two = resolved(b"CCGATTNCAGGA"), resolved(b"TTGATTNCAGGT")
    assert one[6] == two[6] != ord("N")
    around = (bytes(letters) for letters in product(b"ACGT", repeat=4))
    assert {resolved(b"ACGT" + four[:2] + b"N" + four[2:] + b"TTAC")[6] for four in around} == set(b"ACGT")


@pytest.mark.parametrize(
    ("sequence", "expected", "letters"),
    [
        (GENE, [GENE], Letters()),
        (GENE + b"G" * 30, [GENE], Letters(trimmed=30)),
        (b"C" * 30 + GENE, [GENE], Letters(trimmed=30)),
        (GENE + b"GGGGGGGGGGGGTGGGGGGGGGAGGGGGGGGG", [GENE], Letters(trimmed=32)),
        (GENE + b"A" * 20 + b"G" * 20, [GENE[:-1]], Letters(trimmed=41)),
        (GENE + b"G" * 7, [GENE + b"G" * 7], Letters()),
        (GENE + b"G" * 20 + b"CT", [GENE], Letters(trimmed=22)),
        (b"NN" + GENE + b"NNNN", [GENE], Letters(ambiguous=6)),
        (GENE + b"U" * 12, [GENE], Letters(trimmed=12)),
        (GENE + N_RUN + GENE, [GENE, GENE], Letters(ambiguous=GAP_NT, gaps=1)),
        (N_RUN + GENE + N_RUN, [GENE], Letters(ambiguous=2 * GAP_NT)),
        (GENE + b"GGGGGGGGGG" + N_RUN + GENE, [GENE, GENE], Letters(GAP_NT, gaps=1, trimmed=10)),
        (GENE + b"N" * 21 + GENE, [GENE + GENE], Letters(21, 21)),
        (b"A" * 100, [], Letters(trimmed=100)),
        (b"A" * 5000 + GENE + b"T" * 5000, [GENE], Letters(trimmed=10_000)),
        (N_RUN, [], Letters(GAP_NT)),
        (b"", [], Letters()),
    ],
)
def test_examples(sequence, expected, letters):
    assert read(sequence) == expected
    assert letters_of(Record("r", sequence)) == letters
    mates = Record("r", b"", mates=(Record("r", sequence), Record("r", sequence)))
    assert letters_of(mates) == letters + letters


def test_what_was_done_is_said():
    assert Letters(ambiguous=7).describe() == ""
    said = "1 ambiguous letter filled or left out; cut at 2 runs of N; 30 nt of homopolymer trimmed"
    assert Letters(9, 1, 2, 30).describe() == said


def spans(sequence: bytes, limits: Limits) -> list[tuple[int, int, int, str]]:
    found = chunks(Record("r", sequence), limits)
    return [(chunk.start, chunk.end, len(chunk.sequence), str(status)) for chunk, status, _ in found]


def test_chunks_are_those_of_pieces():
    limits = Limits(min_length=20, chunk_length=40)
    body = GENE * 2
    assert spans(body + N_RUN + GENE, limits) == [
        (0, 40, 40, "ok"),
        (29, 60, 31, "ok"),
        (60 + GAP_NT, 90 + GAP_NT, 30, "ok"),
    ]
    assert spans(GENE[:20] + b"NNNNNNN" + GENE, limits) == [(0, 40, 34, "ok"), (28, 57, 29, "ok")]
    assert spans(GENE[:10] + N_RUN + GENE, limits) == [(10 + GAP_NT, 40 + GAP_NT, 30, "ok")]


def test_the_published_models_read_letters_as_they_are():
    limits = Limits(min_length=20, chunk_length=200, pieces=False)
    sequence = GENE + N_RUN + GENE + b"G" * 30
    [(chunk, status, _)] = chunks(Record("r", sequence), limits)
    assert (chunk.sequence, chunk.skipped, status) == (sequence, 0, Status.OK)
    assert letters_of(Record("r", sequence), pieces=False) == Letters(ambiguous=GAP_NT)


@pytest.mark.parametrize("tail", [b"A", b"C", b"G", b"T", b"N"])
def test_a_read_is_judged_by_what_is_left(tail):
    good = (GENE * 3)[:75]
    assert [row[3] for row in spans(good + tail * 75, Limits())] == ["ok"]
    [(_, status, reason)] = chunks(Record("r", good[:40] + tail * 40), Limits())
    expected = "40 nt without N and homopolymer ends, needs 60"
    assert (status, reason) == (Status.TOO_SHORT, expected) or status is Status.LOW_COMPLEXITY


def test_records_of_nothing_else_say_why():
    for sequence, expected in ((b"N" * 600, Status.TOO_AMBIGUOUS), (b"G" * 600, Status.LOW_COMPLEXITY)):
        assert {status for _, status, _ in chunks(Record("r", sequence), Limits())} == {expected}
    pieces = (GENE + N_RUN) * 5
    assert {status for _, status, _ in chunks(Record("r", pieces), Limits(max_ambiguous=0.9))} == {Status.TOO_SHORT}
