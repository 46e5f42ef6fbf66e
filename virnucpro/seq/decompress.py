"""Decompress gzip, bzip2, xz and zstd; damage in any stream of a file is an error."""

from __future__ import annotations

import bz2
import io
import lzma
import re
from collections.abc import Callable
from typing import IO, Protocol

from xopen import xopen

_BLOCK_BYTES = 1 << 16
_HEAD = 6  # bytes by which a compression is recognised
# The first bytes of a frame or stream. A file that ends within them is truncated.
_MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00", "zst": b"\x28\xb5\x2f\xfd"}
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # a skippable zstd frame, which pzstd and others write first


def compression_of(head: bytes) -> str:
    """Return the compression of a file by its first bytes: gz, bz2, xz, zst or plain."""
    if _SKIPPABLE.match(head):
        return "zst"
    return next((name for name, magic in _MAGIC.items() if head and magic.startswith(head[: len(magic)])), "plain")


def content_of(raw: io.BufferedReader) -> io.BufferedReader:
    """Return the content of an open file, which is the file itself if it is not compressed."""
    compression = compression_of(raw.peek(_HEAD)[:_HEAD])
    return raw if compression == "plain" else io.BufferedReader(Decompressed(raw, compression), _BLOCK_BYTES)


class Decompressed(io.RawIOBase):
    """The content of a compressed file; a fault in it is an OSError.

    xopen uses the fastest installed decoder. Each has its own error class, with no common base but Exception, so that
    one call has a broad catch.
    """

    def __init__(self, raw: IO[bytes], compression: str) -> None:
        self._compression = compression
        self._decoder: _Readable = _decoder(raw, compression)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._decoder.read(len(buffer))
        except MemoryError:
            raise
        except Exception as error:
            raise OSError(f"damaged or truncated {self._compression} data: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._decoder.close()
        super().close()


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class _Decoder(Protocol):
    """A decoder of one stream: the common interface of `bz2.BZ2Decompressor` and `lzma.LZMADecompressor`."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _decoder(raw: IO[bytes], compression: str) -> _Readable:
    if compression == "bz2":
        return _Streams(raw, bz2.BZ2Decompressor, 0)
    if compression == "xz":
        return _Streams(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), 4)
    # threads=0: no helper process or thread; it would speed up only FASTQ.gz, which is fast enough.
    return xopen(raw, "rb", threads=0, format=compression)


class _Streams:
    """The content of bzip2 or xz streams that lie end to end.

    Python's own file objects end without an error if a stream after the first cannot be decoded. Zeros may follow an xz
    stream, their number a multiple of `padding` bytes; 0 allows none.
    """

    def __init__(self, raw: IO[bytes], new_decoder: Callable[[], _Decoder], padding: int) -> None:
        self._raw, self._new_decoder, self._padding = raw, new_decoder, padding
        self._decoder = new_decoder()

    def read(self, size: int) -> bytes:
        """Return some bytes, at most `size`; none at the end."""
        while True:
            if self._decoder.eof:
                if not (data := self._next_stream()):
                    return b""
                self._decoder = self._new_decoder()
            else:
                data = self._raw.read(_BLOCK_BYTES) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not data:
                    raise EOFError("it ends within a stream")
            if content := self._decoder.decompress(data, size):
                return content

    def _next_stream(self) -> bytes:
        """Return the first bytes of the next stream, none at the end."""
        zeros = 0
        data = self._decoder.unused_data or self._raw.read(_BLOCK_BYTES)
        while data and self._padding:
            stream = data.lstrip(b"\0")
            zeros += len(data) - len(stream)
            if stream:
                data = stream
                break
            data = self._raw.read(_BLOCK_BYTES)
        if self._padding and zeros % self._padding:
            raise EOFError(f"{zeros} zero bytes after a stream, not a multiple of {self._padding}")
        return data

    def close(self) -> None:
        """Do nothing; the caller that opened the file closes it."""
