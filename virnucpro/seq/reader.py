"""Read records from FASTA and FASTQ files, plain or compressed, whatever their names.

This module opens, decompresses and recognises files; `virnucpro.seq.entry_table` parses them by arrays, and
`virnucpro.seq.entry` parses what arrays cannot.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.seq.decompress import Decompressed, compression_of
from virnucpro.seq.entry import LONG_BYTES, Entry, named
from virnucpro.seq.entry_table import EntryTable, fasta_tables, fastq_tables
from virnucpro.seq.formats import HEAD_BYTES, no_sequence, recognise
from virnucpro.types import Record

Kind = Literal["nucleotide", "protein"]
AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_BUFFER_BYTES = 1 << 17
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors put it before UTF-8 text
_LETTERS: dict[Kind, bytes] = {
    # The IUPAC codes, X (a masked base), gaps, and *, which is a gap in some assemblies.
    "nucleotide": b"ACGTURYSWKMBDHVNXacgturyswkmbdhvnx-.*",
    "protein": b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-.*",
}
_QUALITIES = bytes(range(33, 127))
# Characters that are not codes: where they may come from, and what to do.
_REMEDIES = {
    b"EFIJLOPQZefijlopqz": "DNA has no such letter: if these are proteins, use `virnucpro embed`",
    b"@+": "a file holds either FASTA or FASTQ: divide it",
    b" \t0123456789": "remove numbers and blanks from the sequence",
    b"\r": "convert CR line ends to LF",
}


class SequenceFile:
    """An input file, `-` for standard input.

    `compression` (plain, gz, bz2, xz, zst) and `format` (FASTA, FASTQ, empty, unknown) are found from the content when
    the first of `entries` is read.
    """

    def __init__(self, path: AnyPath, kind: Kind = "nucleotide") -> None:
        if kind not in _LETTERS:
            raise ConfigError(f"kind must be nucleotide or protein, got {kind!r}")
        self.path = as_path(path)
        self.compression = "plain"
        self.format = "unknown"
        self.kind = kind
        self._letters = _LETTERS[kind]
        self._position: Callable[[], int] = int

    def __fspath__(self) -> str:
        return self.path

    @property
    def size(self) -> int | None:
        """The bytes of a regular file, None for anything else."""
        return os.path.getsize(self.path) if os.path.isfile(self.path) else None

    @property
    def pipe(self) -> object:
        """The identity of standard input or a named pipe, None for a file that can be read again."""
        if self.path == "-":
            return self.path
        with suppress(OSError):
            found = os.stat(self.path)
            return (found.st_dev, found.st_ino) if stat.S_ISFIFO(found.st_mode) else None
        return None

    @property
    def position(self) -> int:
        """The bytes of a regular file that have been read, before decompression."""
        return self._position()

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, one at a time; raises as `tables`."""
        for found in self.tables():
            if isinstance(found, EntryTable):
                yield from found.entries()
            else:
                yield found

    def tables(self) -> Iterator[EntryTable | Entry]:
        """Yield all entries: records in tables of some hundreds, faulty entries one at a time.

        Raises:
            MissingInputError: the file does not exist.
            InputError: it cannot be opened, the rest is damaged, or it is neither FASTA nor FASTQ.
        """
        found: EntryTable | Entry | None = None
        try:
            with self._open() as stream:
                for found in self._parse(stream):
                    yield found
        except FileNotFoundError as error:
            raise MissingInputError(f"{self.path}: no such file; check the path") from error
        except IsADirectoryError as error:
            raise InputError(f"{self.path}: is a directory; name the files in it") from error
        except OSError as error:
            last = found.entry(len(found) - 1) if isinstance(found, EntryTable) else found
            after = f"after line {last[0]}, {named(last[1])}" if last else "before the first record"
            advice = "check that the file is complete and that you may read it"
            raise InputError(f"{self.path}: {error.strerror or error} ({after}); {advice}") from error

    def record(self, entry: Entry, index: int = 0) -> Record:
        """Return an entry as a record, its sequence upper-case.

        Raises:
            InputError: the entry is faulty; the error names file, line and record.
        """
        line, header, sequence, fault, quality = entry
        if header is None:
            raise InputError(f"{self.path}: line {line}: {fault}")
        if ord("\r") in header:  # the rest of the line may be sequence
            fault = "a CR in its header; convert CR line ends to LF"
        if fault := fault or find_fault(sequence, quality, self.kind):
            raise InputError(f"{self.path}: line {line}: {named(header)}: {fault}")
        words = header.split(None, 1)
        name = words[0].decode("utf-8", "surrogateescape") if words else ""
        description = words[1].decode("utf-8", "surrogateescape") if len(words) > 1 else ""
        upper = sequence if len(sequence) > LONG_BYTES and sequence.isupper() else sequence.upper()
        return Record(name, upper, self.path, index, description, quality=quality)

    @contextmanager
    def _open(self) -> Iterator[io.BufferedReader]:
        """Open the file, which need not be seekable, and decompress it if its content is compressed."""
        with open(0 if self.path == "-" else self.path, "rb", closefd=self.path != "-") as raw:
            self._position = raw.tell
            try:
                if raw.peek(1)[:1] in (b"", b">", b"@"):
                    yield raw
                else:
                    yield from self._open_other(raw)
            finally:  # the position is needed after a fault, too, for the block of the records before it
                end = self.size or 0
                self._position = lambda: end

    def _open_other(self, raw: io.BufferedReader) -> Iterator[io.BufferedReader]:
        """Yield the content of a file that does not begin with a record, decompressed if necessary."""
        head = raw.read(HEAD_BYTES)  # a buffered read, because a pipe may give its first bytes one by one
        whole: io.BufferedReader = io.BufferedReader(_Joined(head, raw), _BUFFER_BYTES)
        self.compression = compression_of(head)
        if self.compression == "plain":
            yield whole
        else:
            stream: io.BufferedReader = io.BufferedReader(Decompressed(whole, self.compression), _BUFFER_BYTES)
            with stream:
                yield stream

    def _parse(self, stream: io.BufferedReader) -> Iterator[EntryTable | Entry]:
        """Yield the entries of a stream in the format given by its first character."""
        line = 1
        if stream.peek(1).startswith(_BYTE_ORDER_MARK[:1]) and (mark := stream.read(3)) != _BYTE_ORDER_MARK:
            raise self._unknown(line, mark, stream)
        while (head := stream.peek(1)) and (blank := len(head) - len(head.lstrip())):
            line += stream.read(blank).count(b"\n")
        if not head:
            self.format = "empty"
        elif head.startswith(b">"):
            self.format = "FASTA"
            yield from fasta_tables(stream, line, self._letters)
        elif head.startswith(b"@"):
            self.format = "FASTQ"
            yield from self._fastq(stream, line)
        else:
            raise self._unknown(line, b"", stream)

    def _fastq(self, stream: io.BufferedReader, line: int) -> Iterator[EntryTable | Entry]:
        """Yield the entries of a stream that begins with '@'; raise if it is SAM."""
        tables = fastq_tables(stream, line, self._letters)
        for first in tables:
            if isinstance(first, tuple) and first[3] and (found := recognise(b"@" + (first[1] or b""))):
                self.format = "unknown"
                raise InputError(f"{self.path}: line {line}: neither FASTA nor FASTQ but {found[0]}: {found[1]}")
            yield first
            break
        yield from tables

    def _unknown(self, line: int, head: bytes, stream: io.BufferedReader) -> InputError:
        head += stream.read(HEAD_BYTES)
        where = f"{self.path}: line {line}: neither FASTA nor FASTQ"
        if found := recognise(head):
            return InputError(f"{where} but {found[0]}: {found[1]}")
        found_byte = f"expected '>' or '@', found {chr(head[0])!a}"
        return InputError(f"{where}: {found_byte}; convert the file, or unpack it if it is an archive")


def find_fault(sequence: bytes, quality: bytes = b"", kind: Kind = "nucleotide") -> str:
    """Return in words which character of a sequence or its qualities is wrong, and what to do; "" if none is."""
    if foreign := sequence.translate(None, _LETTERS[kind])[:1]:
        remedy = no_sequence(sequence) or next(
            (text for letters, text in _REMEDIES.items() if foreign in letters), "correct or remove it"
        )
        return f"{chr(foreign[0])!a} at position {sequence.index(foreign) + 1} of its sequence; {remedy}"
    if foreign := quality.translate(None, _QUALITIES)[:1]:
        return (
            f"{chr(foreign[0])!a} at position {quality.index(foreign) + 1} of its qualities, which must be "
            "printable ASCII ('!' to '~'); create or download the file again"
        )
    return ""


class _Joined(io.RawIOBase):
    """A stream whose first bytes have already been read."""

    def __init__(self, head: bytes, rest: io.BufferedReader) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._head:
            return self._rest.readinto1(buffer)
        n = min(len(buffer), len(self._head))
        buffer[:n], self._head = self._head[:n], self._head[n:]
        return n


def as_path(given: AnyPath) -> str:
    """Return a path as text.

    Raises:
        InputError: it is not a path, or not a valid one.
    """
    try:
        path = os.fsdecode(given)
        os.fsencode(path)
    except (TypeError, UnicodeError) as error:
        raise InputError(f"an input must be a path (text, bytes or a path object), got {given!a}") from error
    if "\0" in path:
        raise InputError(f"{path!a} is not a path: it has a NUL character; check how it was made")
    return path


def read_records(sources: AnyPath | Iterable[AnyPath], kind: Kind = "nucleotide") -> Generator[Record, None, None]:
    """Yield every record of one or several files, in order, with one at a time in memory.

    FASTA or FASTQ, and gzip, bzip2, xz or zstd compression, are recognised by content. Sequences are converted to upper
    case. Ids are kept byte for byte: bytes that are not UTF-8 become surrogate escapes, which
    `errors="surrogateescape"` writes back. A file without records (empty, or only blank lines) yields none.

    Args:
        sources: a path or several (text, bytes, path objects, `SequenceFile`s); `-` is standard input. `index`
            counts records over all of them from 0.
        kind: nucleotide: sequences may have the IUPAC codes of nucleotides, and U and X; protein: any letters. Both may
            have `-`, `.` and `*`.

    Raises:
        MissingInputError: a file does not exist.
        InputError: a source is not a path; a file cannot be opened, is damaged, is neither FASTA nor FASTQ, or has a
            faulty entry; or a pipe is named twice. Records before the fault are yielded first.
    """
    index = 0
    files = [source if isinstance(source, SequenceFile) else SequenceFile(source, kind) for source in several(sources)]
    refuse_repeated_pipes(files)
    for file in files:
        for entry in file.entries():
            yield file.record(entry, index)
            index += 1


def several(sources: AnyPath | Iterable[AnyPath]) -> Iterable[AnyPath]:
    """Return sources as an iterable, also if there is only one."""
    if isinstance(sources, (str, bytes, os.PathLike)):
        return [sources]
    if not isinstance(sources, Iterable):
        raise InputError(f"an input must be a path (text, bytes or a path object), or several, got {sources!a}")
    return sources


def refuse_repeated_pipes(files: Iterable[SequenceFile]) -> None:
    """Check that no pipe is named twice, because a second reader would find it empty or wait forever.

    Raises:
        InputError: a pipe or standard input is named twice.
    """
    pipes: set[object] = set()
    for file in files:
        if (pipe := file.pipe) in pipes:
            raise InputError(f"{file.path}: is named twice and can be read once; name it once, or use a file")
        pipes |= {pipe} - {None}
