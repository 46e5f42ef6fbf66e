"""Parse FASTA and FASTQ by array operations, some thousands of entries of a stream at a time.

FASTQ that does not have four lines per record, and records longer than `LONG_BYTES`, are parsed by
`virnucpro.seq.entry` instead, one entry at a time. Both give the same entries.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import repeat

import numpy as np
import numpy.typing as npt

from virnucpro.seq.entry import LONG_BYTES, Entry, fasta_entry, fastq_entries, lines_of
from virnucpro.seq.strings import Bytes, Ints, Strings, borders, gather

Flags = npt.NDArray[np.bool_]

_NEWLINE, _CR, _BLANK, _TAB = b"\n\r \t"
_FASTQ_MARKS = b"@+"
_LOWEST_QUALITY, _HIGHEST_QUALITY = b"!~"
# The number of bytes to read at a time. It is small at first, so that the first records come soon and
# `SequenceFile.position` is not far ahead of them, and grows to 1/32 of what has been read.
_FIRST_READ, _LARGEST_READ, _SHARE_BITS = 1 << 14, 1 << 20, 5
_TRIM_ROUNDS = (
    3  # white space at line ends to remove by arrays (CR and two blanks); longer runs are removed line by line
)


@dataclass(frozen=True, slots=True, eq=False)
class EntryTable:
    """N consecutive entries without a fault.

    `lines` (N,) are the numbers of their first lines, from 1. `headers` (N) have no mark and no white space at the end;
    `sequences` (N) are as in the file, without line ends; `upper` (N) are the same in upper case; `qualities` (N) are
    as long as the sequences, empty for FASTA.
    """

    lines: Ints
    headers: Strings
    sequences: Strings
    upper: Strings
    qualities: Strings

    def __len__(self) -> int:
        return len(self.lines)

    def entry(self, row: int) -> Entry:
        """Return one of the entries as a tuple."""
        return int(self.lines[row]), self.headers[row], self.sequences[row], "", self.qualities[row]

    def entries(self) -> Iterator[Entry]:
        """Yield the entries as tuples."""
        return zip(self.lines.tolist(), self.headers, self.sequences, repeat(""), self.qualities)

    def slice(self, begin: int, end: int) -> EntryTable:
        """Return the entries `begin` to `end`, half-open."""
        columns = (self.headers, self.sequences, self.upper, self.qualities)
        return EntryTable(self.lines[begin:end], *(column.slice(begin, end) for column in columns))

    def titles(self) -> tuple[Strings, Strings]:
        """Return names and descriptions: the headers up to the first white space, and the rest."""
        data, begins, ends = self.headers.data, self.headers.starts[:-1].copy(), self.headers.starts[1:]
        blank = _is_space(data)
        places = np.append(np.flatnonzero(blank), len(data))
        name_ends = np.minimum(places[np.searchsorted(places, begins)], ends)
        following = np.minimum(name_ends + 1, ends)
        blank = np.append(blank, False)
        # White space before the name, or several between name and description, are rare.
        for row in np.flatnonzero((blank[begins] & (begins < ends)) | (blank[following] & (following < ends))).tolist():
            header = self.headers[row]
            begins[row] += len(header) - len(header.lstrip())
            name, *rest = header.split(None, 1)
            name_ends[row] = begins[row] + len(name)
            following[row] = ends[row] - len(b"".join(rest))
        return gather(data, begins, name_ends - begins), gather(data, following, ends - following)


def fasta_tables(stream: io.BufferedReader, line: int, letters: bytes) -> Iterator[EntryTable | Entry]:
    """Yield the entries of a stream whose next line, number `line`, is a header.

    Args:
        stream: FASTA; entries of a slow stream come as soon as they are read.
        line: the number of the next line.
        letters: the letters that sequences may have; entries with other letters come as tuples.
    """
    held: list[bytes] = []
    for more in _reads(stream):
        before = held[-1][-1:] if held else b""
        found = (before + more).rfind(b"\n>")
        if found >= 0:
            cut = found + 1 - len(before)
            text = b"".join([*held, more[:cut]])
            held = [more[cut:]]
            yield from _fasta_table(text, line, letters)
            line += text.count(b"\n")
        elif sum(map(len, held)) + len(more) <= LONG_BYTES:
            held.append(more)
        else:
            text = b"".join([*held, more])
            held.clear()
            del more
            entry, header, line = fasta_entry(lines_of(text, stream), line)
            del text
            yield entry
            del entry
            held = [header] if header else []
    if held:
        yield from _fasta_table(b"".join(held), line, letters)


def fastq_tables(stream: io.BufferedReader, line: int, letters: bytes) -> Iterator[EntryTable | Entry]:
    """Yield the entries of a stream whose next line is number `line`; arguments are those of `fasta_tables`."""
    held: list[bytes] = []
    header, wanted = b"", 4
    for more in _reads(stream):
        held.append(more)
        wanted -= _count_lines(more, wanted)
        if wanted:
            if sum(map(len, held)) > LONG_BYTES:
                break
            continue
        text = b"".join(held)
        table, faulty, used = _fastq_table(text, line, letters)
        held = [text[used:]]
        if len(table):
            line, header = line + 4 * len(table), table.headers[len(table) - 1]
            yield from _divided(table, faulty)
        wanted = 4 - _count_lines(held[0], 4)
        if not wanted:  # the rest does not begin with a record of four lines
            break
    rest = b"".join(held)
    held.clear()
    yield from fastq_entries(lines_of(rest, stream), line, header)


def _count_lines(text: bytes, maximum: int) -> int:
    """Return the number of line ends, or `maximum` if there are more."""
    place = -1
    for number in range(maximum):
        if (place := text.find(b"\n", place + 1)) < 0:
            return number
    return maximum


def _reads(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield the content of a stream as it comes, without waiting to fill a buffer."""
    size = 0
    while more := stream.read1(min(max(size >> _SHARE_BITS, _FIRST_READ), _LARGEST_READ)):
        size += len(more)
        yield more
        del more


def _fasta_table(text: bytes, line: int, letters: bytes) -> Iterator[EntryTable | Entry]:
    """Yield the entries of FASTA that begins with a header and ends before one."""
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    if data[-1] != _NEWLINE:
        ends = np.append(ends, len(data))
    begins = np.concatenate([[0], ends[:-1] + 1])
    lengths = _trimmed(data, begins, ends) - begins
    is_header = data[begins] == ord(">")
    rows = np.flatnonzero(is_header)
    headers = gather(data, begins[rows] + 1, lengths[rows] - 1)
    lengths[rows] = 0
    sequences = Strings(gather(data, begins, lengths).data, borders(np.add.reduceat(lengths, rows)))
    yield from _divided(*_checked(rows + line, headers, sequences, Strings.repeat(b"", len(rows)), letters))


def _fastq_table(text: bytes, line: int, letters: bytes) -> tuple[EntryTable, Flags, int]:
    """Return the first entries of FASTQ, which of them are faulty, and their size in bytes.

    They end before the first entry whose marks or lengths are not those of a record of four lines.
    """
    data = np.frombuffer(text, np.uint8)
    newlines = np.flatnonzero(data == _NEWLINE)
    whole = newlines[: len(newlines) // 4 * 4]
    begins = np.concatenate([[0], whole[:-1] + 1])
    lengths = (_trimmed(data, begins, whole) - begins).reshape(-1, 4)
    marks = data[begins].reshape(-1, 4)
    sound = (marks[:, 0] == _FASTQ_MARKS[0]) & (marks[:, 2] == _FASTQ_MARKS[1]) & (lengths[:, 1] == lengths[:, 3])
    number = len(sound) if sound.all() else int(np.argmin(sound))
    begins = begins.reshape(-1, 4)[:number]
    lengths = lengths[:number]
    headers = gather(data, begins[:, 0] + 1, lengths[:, 0] - 1)
    sequences, qualities = (gather(data, begins[:, column], lengths[:, column]) for column in (1, 3))
    lines = line + 4 * np.arange(number)
    table, faulty = _checked(lines, headers, sequences, qualities, letters)
    return table, faulty, int(whole[4 * number - 1]) + 1 if number else 0


def _checked(
    lines: Ints, headers: Strings, sequences: Strings, qualities: Strings, letters: bytes
) -> tuple[EntryTable, Flags]:
    """Return a table of entries, and which of them are faulty by the rules of `SequenceFile.record`."""
    upper = sequences.data.tobytes().translate(_upper_case(letters))
    table = EntryTable(lines, headers, sequences, Strings(np.frombuffer(upper, np.uint8), sequences.starts), qualities)
    faulty = np.zeros(len(table), np.bool_)
    if b"\0" in upper:
        faulty[_rows(table.upper, table.upper.data == 0)] = True
    quality = qualities.data
    if len(quality) and (quality.min() < _LOWEST_QUALITY or quality.max() > _HIGHEST_QUALITY):
        faulty[_rows(qualities, (quality < _LOWEST_QUALITY) | (quality > _HIGHEST_QUALITY))] = True
    if (is_cr := headers.data == _CR).any():
        faulty[_rows(headers, is_cr)] = True
    return table, faulty


@cache
def _upper_case(letters: bytes) -> bytes:
    """Return a table for `bytes.translate` that maps these letters to upper case and all others to 0."""
    return bytes(byte if byte in letters else 0 for byte in range(256)).upper()


def _divided(table: EntryTable, faulty: Flags) -> Iterator[EntryTable | Entry]:
    """Yield the entries in order: runs of good entries as tables, faulty ones as tuples."""
    begin = 0
    for row in [*np.flatnonzero(faulty).tolist(), len(table)]:
        if begin < row:
            yield table.slice(begin, row)
        if row < len(table):
            yield table.entry(row)
        begin = row + 1


def _rows(strings: Strings, places: Flags) -> Ints:
    """Return the rows of the strings that have marked positions in their `data`."""
    return np.searchsorted(strings.starts, np.flatnonzero(places), "right") - 1


def _is_space(data: Bytes) -> Flags:
    """Return which bytes are white space as in `bytes.strip`: blank, tab, LF, VT, FF and CR."""
    return np.asarray((data == _BLANK) | (data - _TAB <= _CR - _TAB))


def _trimmed(data: Bytes, begins: Ints, ends: Ints) -> Ints:
    """Return the ends of lines without trailing white space."""
    ends = ends.copy()
    rows = np.flatnonzero(begins < ends)
    for _ in range(_TRIM_ROUNDS):
        rows = rows[_is_space(data[ends[rows] - 1])]
        if not len(rows):
            return ends
        ends[rows] -= 1
        rows = rows[begins[rows] < ends[rows]]
    for row in rows.tolist():
        ends[row] = begins[row] + len(data[begins[row] : ends[row]].tobytes().rstrip())
    return ends
