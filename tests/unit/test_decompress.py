"""Compressed streams that lie end to end: read whole, or refused, whatever decoder is installed."""

import bz2
import gzip
import io
import lzma
import random
import struct
from collections.abc import Callable

import pytest
import xopen

from virnucpro.seq.decompress import Decompressed, compression_of

_chance = random.Random(7)
FIRST, SECOND = (bytes(_chance.choices(b"ACGT\n", k=300_000)) for _ in range(2))  # more than what is read at a time


def zstd(data: bytes) -> bytes:
    """Compress with a checksum, as the program zstd does."""
    return xopen.zstd.compress(data, options={xopen.zstd.CompressionParameter.checksum_flag: True})


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}
STREAMS = {name: (compress(FIRST), compress(SECOND)) for name, compress in COMPRESS.items()}
names = pytest.mark.parametrize("name", COMPRESS)


@pytest.fixture(params=["isal", "zlib-ng", "gzip"])
def decoder(request, monkeypatch):
    """Make xopen take a decoder of gzip as if those that it prefers were not installed."""
    if request.param in ("zlib-ng", "gzip"):
        monkeypatch.setattr(xopen, "igzip", None)
    if request.param == "gzip":
        monkeypatch.setattr(xopen, "gzip_ng", None)


def content(name: str, data: bytes) -> bytes:
    assert compression_of(data[:512]) == name
    return io.BufferedReader(Decompressed(io.BytesIO(data), name)).read()


def refused(name: str, data: bytes) -> str:
    with pytest.raises(OSError, match=f"^damaged or truncated {name} data: ") as caught:
        content(name, data)
    return str(caught.value)


@names
def test_streams_end_to_end(decoder, name):
    first, second = STREAMS[name]
    assert content(name, first + second) == FIRST + SECOND
    assert content(name, COMPRESS[name](b"") + first + COMPRESS[name](b"") + second) == FIRST + SECOND


# Of gzip, no checksum covers the time, and the last 4 bytes are the length.
PLACES = [(name, place) for name in COMPRESS for place in (0, 2, 4, 30, 0.5, -5) if (name, place) != ("gz", 4)]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_damage_in_a_second_stream(decoder, name, place):
    first, second = STREAMS[name]
    at = int(place * len(second)) if isinstance(place, float) else place % len(second)
    refused(name, first + second[:at] + bytes([second[at] ^ 0x55]) + second[at + 1 :])


@names
@pytest.mark.parametrize("left", [1, 3, 5, 12, 0.5, -1])
def test_a_second_stream_that_is_cut(decoder, name, left):
    first, second = STREAMS[name]
    refused(name, first + second[: int(left * len(second)) if isinstance(left, float) else left])


@names
@pytest.mark.parametrize("garbage", [b"x", b"garbage", b">a\nACGT\n" * 20_000, b"\xff" * 9])
def test_other_bytes_after_a_stream(decoder, name, garbage):
    refused(name, STREAMS[name][0] + garbage)


@pytest.mark.parametrize("zeros", [4, 8, 512, 200_000])
def test_padding_of_xz(zeros):
    first, second = STREAMS["xz"]
    assert content("xz", first + bytes(zeros) + second + bytes(zeros)) == FIRST + SECOND
    for wrong in (zeros - 1, zeros + 2):
        said = refused("xz", first + bytes(wrong) + second)
        assert f"{wrong} zero bytes after a stream" in said
        assert f"{wrong} zero bytes after a stream" in refused("xz", first + second + bytes(wrong))
    assert "xz" in refused("xz", first + bytes(zeros) + b"garbage")


@pytest.mark.parametrize("zeros", [1, 3, 512, 200_000])
def test_zeros_after_gzip_are_ignored_and_after_the_others_refused(decoder, zeros):
    first, second = STREAMS["gz"]
    assert content("gz", first + bytes(zeros)) == FIRST
    assert content("gz", first + bytes(zeros) + second + bytes(zeros)) == FIRST + SECOND
    for name in ("bz2", "zst"):
        refused(name, STREAMS[name][0] + bytes(zeros))


@pytest.mark.parametrize("number", range(16))
@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_skippable_frames_of_zstd(number, size):
    first, second = STREAMS["zst"]
    skippable = struct.pack("<II", 0x184D2A50 + number, size) + bytes(size)
    for parts in ((skippable, first, second), (first, skippable, second), (first, second, skippable, skippable)):
        assert content("zst", b"".join(parts)) == FIRST + SECOND
    assert content("zst", skippable) == b""
    refused("zst", first + skippable[:-1])


@pytest.mark.parametrize(
    "head", [b"", b">", b"@", b"P", b"PK\3\4", b"\x50\x2a\x4d", b"\x60\x2a\x4d\x18", b"B", b"BAM\1"]
)
def test_what_is_not_compressed_or_cannot_be_recognised(head):
    assert compression_of(head) == ("bz2" if head == b"B" else "plain")
