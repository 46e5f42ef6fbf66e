"""Parse FASTA and FASTQ one entry at a time, as bytes, and find the faults of entries.

This serves entries that `virnucpro.seq.entry_table` does not parse. Headers keep their bytes, whatever their encoding.
Reading continues after a faulty entry, so that `virnucpro check` finds all faults by the rules of `predict`.
"""

from __future__ import annotations

import io
import reprlib
from collections.abc import Iterator
from itertools import chain, islice

LONG_BYTES = 1 << 20  # longer records are not copied without need

_short = reprlib.Repr()
_short.maxstring = 80

# An entry, from one header to the next: number of its first line, from 1; header without its mark, None if it has none;
# sequence as in the file, lines joined; its fault, "" if it has none; quality, for FASTQ.
Entry = tuple[int, bytes | None, bytes, str, bytes]


def lines_of(held: bytes, stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield the lines of bytes that were already read and of the rest of the stream, without keeping a line here."""
    return chain((text if text.endswith(b"\n") else text + stream.readline() for text in io.BytesIO(held)), stream)


def fasta_entry(lines: Iterator[bytes], number: int) -> tuple[Entry, bytes, int]:
    """Read an entry; return it, the next header (b"" at the end) and the number of the next header's line.

    The next line must be its header, and `number` is the number of that line. At most two copies of the sequence exist,
    because it may have hundreds of megabytes.
    """
    begin, header, following = number, next(lines), b""
    sequence = bytearray()
    for text in lines:
        number += 1
        if text.startswith(b">"):
            following = text
            break
        if len(text) <= LONG_BYTES:
            sequence += text.rstrip()
        else:
            sequence += text
            _strip_end(sequence)
        del text
    return (begin, header[1:].rstrip(), bytes(sequence), "", b""), following, number


def _strip_end(sequence: bytearray) -> None:
    """Remove white space from the end, without a copy."""
    end = len(sequence)
    while end and sequence[end - 1 : end].isspace():
        end -= 1
    del sequence[end:]


def fastq_entries(stream: Iterator[bytes], line: int, header: bytes = b"") -> Iterator[Entry]:
    """Yield entries of four lines each; after a fault, continue at the next line that may begin an entry.

    `line` is the number of the next line and `header` that of the record before it.
    """
    lines: list[bytes] = []
    lost = False
    while True:
        lines += islice(stream, 4 - len(lines))
        if not lines:
            return
        if (lost and not _may_begin(lines)) or lines[0].isspace():
            del lines[0]
            line += 1
        elif fault := _fastq_fault(lines):
            if lines[0].startswith(b"@"):
                header = lines[0][1:].rstrip()
                yield line, header, b"", fault, b""
            else:
                yield line, None, b"", f"{fault} (after {named(header)})", b""
            lost = True
            del lines[0]
            line += 1
        else:
            header = lines[0][1:].rstrip()
            sequence, quality = lines[1].rstrip(), lines[3].rstrip(b"\r\n")
            lines.clear()
            yield line, header, sequence, "", quality[: len(sequence)]
            del sequence, quality
            lost = False
            line += 4


def _fastq_fault(lines: list[bytes]) -> str:
    """Return the fault of four lines, or fewer at the end of the file, as a record; "" if they have none."""
    header, sequence, plus, quality = lines if len(lines) == 4 else (*lines, b"", b"", b"")[:4]
    if not header.startswith(b"@"):
        return f"expected '@' to begin a record, found {chr(header[0])!a}; a file holds either FASTA or FASTQ"
    if not plus.startswith(b"+"):
        found = f"found {chr(plus[0])!a}" if plus else "the file ends"
        return f"expected '+' on its third line, {found}; a record has four lines, none of them wrapped"
    if len(sequence) != len(quality) and len(sequence.rstrip()) != len(quality.rstrip()):
        found = f"{len(sequence.rstrip())} bases but {len(quality.rstrip())} qualities"
        return f"{found}; create or download the file again"
    if not quality:
        return "no bases and no line of qualities, the file ends; create or download the file again"
    return ""


def _may_begin(lines: list[bytes]) -> bool:
    """Return whether lines that begin with '@' begin an entry; after a line of qualities comes a header or nothing."""
    return lines[0].startswith(b"@") and len(lines) > 1 and not lines[1].startswith(b"@")


def named(header: bytes | None) -> str:
    """Return the name of a record for messages: its id, shortened if it is long."""
    words = (header or b"").split(None, 1) or [b""]
    return f"record {_short.repr(words[0].decode('utf-8', 'surrogateescape'))}"
