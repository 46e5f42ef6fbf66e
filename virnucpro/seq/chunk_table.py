"""ChunkTable: the chunks of a block of records as flat arrays, with the reasons why some are not scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk import spans_of_chunks
from virnucpro.seq.letters import (
    SLACK_NT,
    Bools,
    ambiguous_places,
    count_read,
    find_ambiguous,
    find_pieces,
    left_out,
    may_end_in_homopolymer,
    resolve_rows,
)
from virnucpro.seq.screen import Limits, repetitions
from virnucpro.seq.strings import Ints, Strings, join_spans
from virnucpro.types import Status

STATUSES = tuple(Status)
_CODE = {status: np.uint8(code) for code, status in enumerate(STATUSES)}
_OK, _EMPTY, _TOO_SHORT = _CODE[Status.OK], _CODE[Status.EMPTY], _CODE[Status.TOO_SHORT]
_AMBIGUOUS, _REPETITIVE = _CODE[Status.TOO_AMBIGUOUS], _CODE[Status.LOW_COMPLEXITY]
_SLICE_NT = 1 << 17  # bases examined together, so that a chromosome needs no arrays of its own length

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTable:
    """C chunks of a block of R records, in order, and the statuses of the records.

    For each chunk (C,): `record`, the row of its record in the block; `part`, the row of its sequence in
    `block.sequences`; `index`, from 1 within the record; `start` and `end` in the part, 0-based and half-open, nt;
    `length`, the number of letters that are read; `status`, an index into `STATUSES`; `detail`, the number in its
    reason (nt, a share or evidence); `whole`, whether it is a mate that is too short to be cut; `fill`, whether some of
    its letters are filled or left out.

    For each record: `record_status` (R,), ok if it has chunks; `longest` (R,), nt of the longest part; `letters`
    (R, 4), the numbers ambiguous, resolved, gaps and trimmed of `virnucpro.types.Letters`.
    """

    limits: Limits
    record: Ints
    part: Ints
    index: Ints
    start: Ints
    end: Ints
    length: Ints
    status: Codes
    detail: npt.NDArray[np.float64]
    whole: Bools
    fill: Bools
    record_status: Codes
    longest: Ints
    letters: Ints

    def __len__(self) -> int:
        return len(self.record)

    def screened(self, rows: Ints, evidence: npt.NDArray[np.float64]) -> ChunkTable:
        """Return the table after a screen: these chunks (N,), with this evidence (N,), are not scored."""
        status, detail = self.status.copy(), self.detail.copy()
        status[rows], detail[rows] = _CODE[Status.SCREENED], evidence
        return replace(self, status=status, detail=detail)

    def reason(self, row: int) -> str:
        """Return why a chunk is not scored, "" if it is."""
        status, detail = STATUSES[self.status[row]], float(self.detail[row])
        if status is Status.OK:
            return ""
        if status is Status.TOO_AMBIGUOUS:
            return f"{detail:.0%} of the letters are not A, C, G, T or U"
        if status is Status.SCREENED:
            return f"evidence in the screen: {detail:.2f}"
        if status is Status.LOW_COMPLEXITY:
            return f"{detail:.0%} of the pairs of triplets are equal"
        if self.whole[row]:
            return f"the mate has {int(detail)} nt, needs {self.limits.min_length}"
        return f"{int(detail)} nt without N and homopolymer ends, needs {_min_nt(self.limits)}"

    def record_reason(self, row: int) -> str:
        """Return why a record has no chunks, "" if it has."""
        status = STATUSES[self.record_status[row]]
        if status is Status.OK:
            return ""
        if status is Status.EMPTY:
            return "the record has no sequence"
        return f"{self.longest[row]} nt, needs {self.limits.min_length}"

    def outcome(self, row: int) -> tuple[Status, str]:
        """Return the status and reason of a record before its frames are known.

        It is ok if one of its chunks is; if none is, the first says why.
        """
        begin, end = np.searchsorted(self.record, (row, row + 1)).tolist()
        if begin == end:
            return STATUSES[self.record_status[row]], self.record_reason(row)
        if (self.status[begin:end] == _OK).any():
            return Status.OK, ""
        return STATUSES[self.status[begin]], self.reason(begin)


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """Pieces of sequences (see `virnucpro.seq.letters`), all (N,); `nt` is the number of letters that are read."""

    part: Ints
    begin: Ints
    end: Ints
    nt: Ints


def cut_chunks(block: RecordBlock, limits: Limits) -> ChunkTable:
    """Cut records into chunks with a status: `ok` if the chunk can be scored, else the reason.

    Each mate of a pair is cut by itself, and a mate that is too short or empty is one chunk. The second mate's chunks
    follow the first's and continue their numbers. With `limits.pieces`, only pieces that are long enough are cut, and
    `read_letters` returns the letters that are read.

    Raises:
        ConfigError: `limits.chunk_length` is below 3.

    >>> from virnucpro.types import Record
    >>> block = RecordBlock.of([Record("a", b"GATTACA" * 5, index=0), Record("b", b"ACGT", index=1)])
    >>> table = cut_chunks(block, Limits(min_length=10, chunk_length=20))
    >>> table.start.tolist(), table.end.tolist(), table.record_reason(1)
    ([0, 17], [20, 35], '4 nt, needs 10')
    """
    sequences, mates = block.sequences, block.mates
    sizes = sequences.lengths  # (P,)
    ambiguous = _count_ambiguous(sequences)
    pieces, letters = _find_pieces(sequences, ambiguous, limits)
    longest = sizes.reshape(-1, mates).max(axis=1)
    record_status = np.where(longest < limits.min_length, _TOO_SHORT, _OK)
    record_status[longest == 0] = _EMPTY

    has_chunks = np.repeat(record_status == _OK, mates)  # whether the record of each part has chunks, (P,)
    whole, cut = has_chunks & (sizes < limits.min_length), has_chunks & (sizes >= limits.min_length)
    part, start, end, failed = _cut(pieces, sizes, cut, whole, limits)
    status, detail, fill, out = _judge(sequences, ambiguous, part, start, end, limits)
    short, whole = failed[part] & (status == _OK), whole[part]
    status[short] = _TOO_SHORT
    status[whole] = np.where(sizes[part[whole]] == 0, _EMPTY, _TOO_SHORT)
    nt = np.zeros(len(sizes), np.int64)  # letters read from the longest piece of each part
    np.maximum.at(nt, pieces.part, pieces.nt)
    detail[short], detail[whole] = nt[part[short]], sizes[part[whole]]
    fill &= status == _OK
    record = part // mates
    return ChunkTable(
        limits,
        record,
        part,
        np.arange(1, len(part) + 1) - np.searchsorted(record, record),
        start,
        end,
        end - start - np.where(fill, out, 0),
        status,
        detail,
        whole,
        fill,
        record_status,
        longest,
        letters.reshape(-1, mates, 4).sum(axis=1),
    )


def read_letters(block: RecordBlock, table: ChunkTable, rows: npt.ArrayLike) -> Strings:
    """Return the letters that are read from these chunks, in the order of `rows`.

    Args:
        block: the records.
        table: the result of `cut_chunks` for them.
        rows: rows of the table; this needs about 10 bytes of memory per letter.
    """
    index = np.asarray(rows, np.int64)
    letters = _take(block.sequences, table.part[index], table.start[index], table.end[index])
    return resolve_rows(letters, table.fill[index]) if table.fill[index].any() else letters


def _take(sequences: Strings, part: Ints, start: Ints, end: Ints) -> Strings:
    return join_spans(sequences.data, sequences.starts[part] + start, end - start)


def _min_nt(limits: Limits) -> int:
    """Return the minimum number of letters that must be read from a piece."""
    return limits.min_length - min(SLACK_NT, limits.min_length // 5) if limits.pieces else limits.min_length


def _count_ambiguous(sequences: Strings) -> Ints:
    """Return the number of letters other than A, C, G, T and U in each sequence, (P,)."""
    counts = np.zeros(len(sequences), np.int64)
    for begin in range(0, len(sequences.data), _SLICE_NT):
        places = begin + ambiguous_places(sequences.data[begin : begin + _SLICE_NT])
        rows = np.searchsorted(sequences.starts, places, side="right") - 1
        if len(rows):
            counts[rows[0] : rows[-1] + 1] += np.bincount(rows - rows[0])
    return counts


def _find_pieces(sequences: Strings, ambiguous: Ints, limits: Limits) -> tuple[_Pieces, Ints]:
    """Return the pieces of all sequences, in order, and the columns of `letters` of each sequence, (P, 4)."""
    letters = np.zeros((len(sequences), 4), np.int64)
    letters[:, 0] = ambiguous
    everywhere, sizes = np.arange(len(sequences)), sequences.lengths
    if not limits.pieces:
        return _Pieces(everywhere, np.zeros_like(sizes), sizes, sizes), letters
    unclear = may_end_in_homopolymer(sequences) | (ambiguous > 0)
    clean = np.flatnonzero(~unclear)
    found: list[tuple[int, int, int, int]] = []
    for row in np.flatnonzero(unclear).tolist():  # few sequences: use the functions for a single one
        sequence = sequences.data[sequences.starts[row] : sequences.starts[row + 1]].data
        pieces, done = find_pieces(sequence)
        letters[row] = done.ambiguous, done.resolved, done.gaps, done.trimmed
        found += [(row, begin, end, count_read(sequence, begin, end)) for begin, end in pieces]
    others = np.array(found, np.int64).reshape(-1, 4).T
    own = (clean, np.zeros_like(clean), sizes[clean], sizes[clean])
    return _Pieces(*(np.concatenate(pair) for pair in zip(own, others, strict=True))), letters


def _cut(pieces: _Pieces, sizes: Ints, cut: Bools, whole: Bools, limits: Limits) -> tuple[Ints, Ints, Ints, Bools]:
    """Return part, start and end of each chunk (C,), and whether no piece of a part is long enough (P,).

    Pieces of parts in `cut` (P,) are cut if they are long enough; if none is, the part itself is cut. Parts in `whole`
    (P,) are one chunk.
    """
    chosen = cut[pieces.part] & (pieces.nt >= _min_nt(limits))
    failed = cut.copy()
    failed[pieces.part[chosen]] = False
    uncut, alone = np.flatnonzero(failed), np.flatnonzero(whole)
    part = np.concatenate((pieces.part[chosen], uncut))
    begin = np.concatenate((pieces.begin[chosen], np.zeros_like(uncut)))
    end = np.concatenate((pieces.end[chosen], sizes[uncut]))
    owner, first, last = spans_of_chunks(end - begin, limits.chunk_length)
    part = np.concatenate((part[owner], alone))
    start = np.concatenate((begin[owner] + first, np.zeros_like(alone)))
    end = np.concatenate((begin[owner] + last, sizes[alone]))
    order = np.argsort(part, kind="stable")  # pieces of a part, and chunks of a piece, are already in order
    return part[order], start[order], end[order], failed


def _judge(
    sequences: Strings, ambiguous: Ints, part: Ints, start: Ints, end: Ints, limits: Limits
) -> tuple[Codes, npt.NDArray[np.float64], Bools, Ints]:
    """Screen chunks by their letters: return status, detail, whether any is ambiguous, how many are left out, all (C,).

    `ambiguous` (P,) counts these letters in each sequence.
    """
    status = np.full(len(part), _OK)
    detail = np.zeros(len(part))
    fill, out = np.zeros(len(part), np.bool_), np.zeros(len(part), np.int64)
    for begin, stop in _slices(end - start):
        rows = slice(begin, stop)
        letters = _take(sequences, part[rows], start[rows], end[rows])
        if ambiguous[part[rows]].any():
            places, owners = find_ambiguous(letters)
            counts = np.bincount(owners, minlength=len(letters))
            share = counts / np.maximum(letters.lengths, 1)
            status[rows][share > limits.max_ambiguous] = _AMBIGUOUS
            detail[rows][share > limits.max_ambiguous] = share[share > limits.max_ambiguous]
            if limits.pieces:
                fill[rows] = counts > 0
                out[rows] = np.bincount(left_out(places, owners), minlength=len(letters))
        if limits.max_repetition < 1:
            repeated = repetitions(letters)
            simple = (repeated > limits.max_repetition) & (status[rows] == _OK)
            status[rows][simple], detail[rows][simple] = _REPETITIVE, repeated[simple]
    return status, detail, fill, out


def _slices(lengths: Ints) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of consecutive chunks of about `_SLICE_NT` bases."""
    ends = np.cumsum(lengths)
    begin, seen = 0, 0
    while begin < len(ends):
        stop = min(int(np.searchsorted(ends, seen + _SLICE_NT)) + 1, len(ends))
        yield begin, stop
        begin, seen = stop, int(ends[stop - 1])
