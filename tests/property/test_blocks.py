"""Whatever the bytes: arrays read what the parser of single entries reads, and blocks say what records say."""

import gzip
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from reading import block_units, object_units, said

from virnucpro.errors import InputError
from virnucpro.seq.entry import Entry, fasta_entry, fastq_entries
from virnucpro.seq.entry_table import EntryTable, fasta_tables, fastq_tables
from virnucpro.seq.reader import SequenceFile

MARK = b"\xef\xbb\xbf"

line_ends = st.sampled_from([b"\n", b"\n", b"\r\n", b" \n", b"\t \r\n", b"      \n", b"\n\n"])
names = st.one_of(st.sampled_from([b"x", b"r/1", b"r/2", b"r.1", b"r_2", b" x", b"x\x1c"]), st.binary(max_size=6))
descriptions = st.sampled_from([b"", b"", b" d", b"  d e", b"\t1:N:0:A", b" 2:Y:", b"\x0bz"])
letters = st.text("ACGTacgtuNX-.*RYSWKM", max_size=40).map(str.encode)


@st.composite
def fastas(draw: st.DrawFn) -> bytes:
    """Return FASTA with lines of any length, blank ones among them."""
    text = b""
    for _ in range(draw(st.integers(0, 8))):
        lines = [b">" + draw(names).replace(b"\n", b"") + draw(descriptions), *draw(st.lists(letters, max_size=4))]
        text += b"".join(line + draw(line_ends) for line in lines)
    return text


@st.composite
def fastqs(draw: st.DrawFn) -> bytes:
    """Return FASTQ of four lines a record."""
    text = b""
    for _ in range(draw(st.integers(0, 8))):
        sequence, end = draw(letters), draw(line_ends)
        quality = bytes(draw(st.lists(st.integers(33, 126), min_size=len(sequence), max_size=len(sequence))))
        header = b"@" + draw(names).replace(b"\n", b"") + draw(descriptions)
        text += end.join([header, sequence, draw(st.sampled_from([b"+", b"+x"])), quality, b""])
    return text


@st.composite
def spoiled(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """Return a text with a few bytes changed, put in or taken out, and perhaps cut."""
    text = draw(texts)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        piece = draw(st.sampled_from([b"", b"\n", b"\r", b" ", b"\x1c", b"@", b"+", b">", b"A", b"!", b"\xff", b"\0"]))
        text = text[:place] + piece + text[place + draw(st.integers(0, 2)) :]
    return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


texts = st.one_of(fastas(), fastqs(), spoiled(fastas()), spoiled(fastqs()), st.binary(max_size=60))


class Chunked(io.RawIOBase):
    """A stream that gives its bytes in parts of these sizes, again and again."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._turn = data, sizes, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        self._turn += 1
        part = self._data[: min(len(buffer), self._sizes[self._turn % len(self._sizes)])]
        buffer[: len(part)], self._data = part, self._data[len(part) :]
        return len(part)


def one_by_one(text: bytes, line: int = 1) -> Iterator[Entry]:
    """Yield the entries of a text that begins with a mark, by the parser of single entries."""
    lines = iter(io.BytesIO(text))
    if text.startswith(b"@"):
        yield from fastq_entries(lines, line)
        return
    following = next(lines)
    while following:
        rest = iter([following, *lines])
        entry, following, line = fasta_entry(rest, line)
        yield entry
        lines = rest


@given(texts, st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_arrays_read_what_single_entries_are(text: bytes, sizes: list[int]) -> None:
    text = text.lstrip()
    if text[:1] not in (b">", b"@") or not text:
        return
    parse = fastq_tables if text.startswith(b"@") else fasta_tables
    alphabet = bytes(range(65, 91)) + bytes(range(97, 123)) + b"-.*"
    found: list[Entry] = []
    for item in parse(io.BufferedReader(Chunked(text, sizes)), 1, alphabet):
        found += list(item.entries()) if isinstance(item, EntryTable) else [item]
    assert found == list(one_by_one(text))


def expected(path: Path, text: bytes) -> tuple[list[tuple], str]:
    """Return what the records of a text say, and the error that ends them, entry by entry."""
    body = text.removeprefix(MARK).lstrip()
    file, found = SequenceFile(path), []
    try:
        for index, entry in enumerate(one_by_one(body, 1 + text[: len(text) - len(body)].count(b"\n"))):
            found.append(said(file.record(entry, index)))
    except InputError as error:
        return found, f"InputError: {error}"
    return found, ""


@given(texts, st.sampled_from([b"", b"", MARK, b"\n \r\n"]), st.booleans(), st.integers(1, 5), st.integers(1, 90))
def test_blocks_say_what_records_say(
    text: bytes, before: bytes, compressed: bool, n_records: int, n_bases: int
) -> None:
    text = before + text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        middle = len(text) // 2
        path.write_bytes(gzip.compress(text[:middle]) + gzip.compress(text[middle:]) if compressed else text)
        found, error = block_units([path], False, n_records, n_bases)
        assert (found, error) == object_units([path], False, n_records, n_bases)
        assert block_units([path], True, n_records, n_bases) == object_units([path], True, n_records, n_bases)
        if text.removeprefix(MARK).lstrip()[:1] in (b">", b"@") and "neither FASTA nor FASTQ" not in error:
            assert ([record for unit in found for record in unit], error) == expected(path, text)


@given(texts, texts, st.integers(1, 5), st.integers(1, 90))
def test_pairs_of_two_files_say_what_records_say(one: bytes, two: bytes, n_records: int, n_bases: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "1", Path(folder) / "2"]
        for first, second in ((one, two), (one, one.replace(b"/1", b"/2").replace(b"r.1", b"r.2"))):
            paths[0].write_bytes(first)
            paths[1].write_bytes(second)
            assert block_units(paths, True, n_records, n_bases) == object_units(paths, True, n_records, n_bases)
