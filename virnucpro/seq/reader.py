"""Read records from FASTA and FASTQ files, plain or compressed, whatever their names say.

FASTQ is parsed by dnaio. FASTA is parsed here, as bytes: dnaio decodes it by the locale, so that a header in
another encoding would stop the run or come out changed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

import dnaio
from xopen import xopen

from virnucpro.errors import InputError, MissingInputError
from virnucpro.types import Record

_BUFFER_BYTES = 1 << 17
# No sequence file starts with the first byte of any of these, so a short first read from a pipe is enough.
_MAGIC = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"\x50\x2a\x4d\x18": "zst",  # what pzstd writes first
}
_SEQUENCE_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ*-."


def read_records(sources: Iterable[str | os.PathLike[str]]) -> Iterator[Record]:
    """Yield every record of the given files, in order, one at a time in memory.

    FASTA or FASTQ, and gzip, bzip2, xz or zstd compression, are recognised by content. Sequences are
    upper-cased; letters, `*`, `-` and `.` are accepted, and what they mean is decided later. Ids are kept
    byte for byte: bytes that are not UTF-8 become surrogate escapes, which `errors="surrogateescape"`
    writes back. A file without records (empty, or only blank lines) yields none.

    Args:
        sources: paths, of which `-` is standard input; `index` counts records over all of them from 0.

    Raises:
        MissingInputError: a file does not exist.
        InputError: a file cannot be opened, is damaged, is neither FASTA nor FASTQ, or holds other
            characters in a sequence (or, in FASTQ, beyond ASCII in a header). Records before the fault
            have been yielded by then.
    """
    index = 0
    for source in sources:
        path = os.fspath(source)
        last: Record | None = None
        try:
            with _open(path) as stream:
                for header, sequence in _entries(stream):
                    last = _record(header, sequence, path, index)
                    yield last
                    index += 1
        except FileNotFoundError as error:
            raise MissingInputError(f"{path}: no such file; check the path") from error
        except IsADirectoryError as error:
            raise InputError(f"{path}: is a directory; name the files in it") from error
        except (dnaio.FileFormatError, OSError) as error:
            after = f"after record {last.id!r}" if last else "before the first record"
            raise InputError(f"{path}: {_fault(error)} ({after}); check that it is whole FASTA or FASTQ") from error


@contextmanager
def _open(path: str) -> Iterator[io.BufferedReader]:
    """Open a path or standard input, which need not be seekable, and decompress it if its content says so."""
    with open(0 if path == "-" else path, "rb", closefd=path != "-") as raw:
        head = raw.peek(1)
        formats = (name for magic, name in _MAGIC.items() if head and head.startswith(magic[: len(head)]))
        if compression := next(formats, None):
            stream: io.BufferedReader = io.BufferedReader(_Decompressed(raw, compression), _BUFFER_BYTES)
            with stream:
                yield stream
        else:
            yield raw


class _Decompressed(io.RawIOBase):
    """The content of a compressed file; a fault in it is an OSError.

    xopen takes the fastest decoder that is installed, and each has an error class of its own with no common
    base but Exception: hence the broad catch, around that one call.
    """

    def __init__(self, raw: IO[bytes], compression: str) -> None:
        # threads=0: no helper process or thread; a thread speeds up FASTQ.gz only, which is fast enough without.
        self._decoder = xopen(raw, "rb", threads=0, format=compression)
        self._compression = compression

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._decoder.read(len(buffer))
        except Exception as error:
            raise OSError(f"damaged or truncated {self._compression} data: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._decoder.close()
        super().close()


def _entries(stream: io.BufferedReader) -> Iterator[tuple[bytes, bytes]]:
    """Yield (header without its mark, sequence) of each entry, in the format that the first character names."""
    blank_lines = 0
    while (head := stream.peek(1)) and (blank := len(head) - len(head.lstrip())):
        blank_lines += stream.read(blank).count(b"\n")
    if not head:
        return
    if head.startswith(b">"):
        yield from _fasta_entries(stream)
    elif head.startswith(b"@"):
        try:
            for record in dnaio.FastqReader(stream):
                yield record.name.encode(), record.sequence.encode().upper()
        except dnaio.FastqFormatError as error:
            line = None if error.line is None else error.line + blank_lines
            raise dnaio.FastqFormatError(error.message, line) from error
    else:
        message = f"neither FASTA nor FASTQ: expected '>' or '@', found {chr(head[0])!a}"
        raise dnaio.FileFormatError(message, blank_lines)


def _fasta_entries(stream: io.BufferedReader) -> Iterator[tuple[bytes, bytes]]:
    header = stream.readline().rstrip()
    if b"\r" in header:
        raise dnaio.FastaFormatError("lines end in CR alone; convert them to LF", None)
    sequence = bytearray()
    for line in stream:
        if line.startswith(b">"):
            yield header[1:], bytes(sequence)
            header, sequence = line.rstrip(), bytearray()
        else:
            sequence += line.rstrip().upper()
    yield header[1:], bytes(sequence)


def _record(header: bytes, sequence: bytes, source: str, index: int) -> Record:
    words = header.split(None, 1)
    name = words[0].decode(errors="surrogateescape") if words else ""
    description = words[1].decode(errors="surrogateescape") if len(words) > 1 else ""
    if foreign := sequence.translate(None, _SEQUENCE_CHARACTERS):
        position = sequence.index(foreign[:1]) + 1
        message = f"record {name!r} has {chr(foreign[0])!a} at position {position} of its sequence"
        raise dnaio.FileFormatError(message, None)
    return Record(name, sequence, source, index, description)


def _fault(error: dnaio.FileFormatError | OSError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return error.message if error.line is None else f"line {error.line + 1}: {error.message}"
