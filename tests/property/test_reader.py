"""Whatever the bytes: records or an InputError, `check` of the same opinion, and what was written comes back."""

import bz2
import gzip
import lzma
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from virnucpro.errors import InputError
from virnucpro.seq import read_records
from virnucpro.seq.inspect import Inspection
from virnucpro.seq.reader import SequenceFile

COMPRESSIONS = [bytes, gzip.compress, bz2.compress, lambda data: lzma.compress(data, preset=0)]
compressions = st.sampled_from(COMPRESSIONS)
line_ends = st.sampled_from([b"\n", b"\r\n"])
# Pieces of both formats in any order get further than random bytes do.
pieces = st.sampled_from(
    [b">", b"@", b"+", b"\n", b"\r\n", b"\r", b"a", b"id x", b"ACGT", b"acgun", b"MKL", b"IIII", b"@@@@"]
)
texts = st.lists(st.one_of(pieces, pieces, pieces, st.binary(max_size=4)), max_size=40).map(b"".join)

identifiers = st.binary(max_size=12).map(lambda name: b"".join(name.split()))
descriptions = st.binary(max_size=12).map(lambda text: b" ".join(text.split()))
sequences = st.text("ACGTURYSWKMBDHVNXacgtun-.*", max_size=90).map(str.encode)
records = st.lists(st.tuples(identifiers, descriptions, sequences), max_size=6)


def outcome(data: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], str]:
    """Return the records of a file and the error that ended reading, and see that `check` agrees."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(data)
        found, error = [], ""
        try:
            for record in read_records([path]):
                words = (text.encode(errors="surrogateescape") for text in (record.id, record.description))
                found.append((*words, record.sequence))
        except InputError as fault:
            error = str(fault)
        inspection = Inspection(SequenceFile(path))
        faults = [str(fault) for fault in inspection.faults()]
        assert faults[:1] == ([error] if error else [])
        assert inspection.records >= len(found)
        assert inspection.errors == len(faults)
        assert inspection.summary()
        return found, error


@given(st.one_of(st.binary(max_size=300), texts), compressions)
def test_any_bytes_are_records_or_an_error_of_ours(data: bytes, compress) -> None:
    outcome(compress(data))


@given(texts, st.sampled_from(COMPRESSIONS[1:]), st.data())
def test_damaged_compressed_data_are_an_error_of_ours(data: bytes, compress, draw: st.DataObject) -> None:
    whole = compress(data)
    place = draw.draw(st.integers(0, len(whole) - 1))
    damage = draw.draw(st.binary(max_size=4))
    outcome(whole[:place] + damage + whole[place + len(damage) :])
    if place:
        (_, fault), (_, error) = outcome(whole), outcome(whole[:place])
        assert error
        assert fault or "damaged or truncated" in error  # a fault of a record may come before the end


@given(records, line_ends, st.integers(1, 100), st.integers(0, 2), st.booleans(), compressions)
def test_fasta_comes_back(entries, end: bytes, width: int, blank: int, ended: bool, compress) -> None:
    text = b""
    for name, description, sequence in entries:
        lines = [sequence[i : i + width] for i in range(0, len(sequence), width)]
        text += end.join([b">" + b" ".join(filter(None, (name, description))), *lines, *[b""] * (1 + blank)])
    text = text if ended else text.removesuffix(end)
    assert outcome(compress(text)) == ([as_read(*entry) for entry in entries], "")


@given(records, line_ends, st.integers(0, 2), compressions)
def test_fastq_comes_back(entries, end: bytes, blank: int, compress) -> None:
    text = b""
    for name, description, sequence in entries:
        header = b"@" + b" ".join(filter(None, (name, description)))
        text += end.join([header, sequence, b"+", b"@" * len(sequence), *[b""] * (1 + blank)])
    assert outcome(compress(text)) == ([as_read(*entry) for entry in entries], "")


def as_read(name: bytes, description: bytes, sequence: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what an entry is once read: without an id, the first word of the description stands for it."""
    words = b" ".join(filter(None, (name, description))).split(None, 1)
    return (*[*words, b"", b""][:2], sequence.upper())


# Ways to spoil a FASTQ record of which the reader must find the beginning of the next.
SPOILED = [
    lambda header, sequence, quality: [header, sequence, b"+", quality[1:]],
    lambda header, sequence, quality: [header, sequence, b"+"],
    lambda header, sequence, quality: [header, sequence, quality],
    lambda header, sequence, quality: [header, sequence],
    lambda header, sequence, quality: [header, b"!" + sequence[1:], b"+", quality],
    lambda header, sequence, quality: [header, sequence[:9], sequence[9:], b"+", quality[:9], quality[9:]],
]
reads = st.tuples(
    st.text("ACGT", min_size=20, max_size=30),
    st.sampled_from(["I", "@", "+", "A"]),
    st.none() | st.sampled_from(SPOILED),
)


@given(st.lists(reads, min_size=1, max_size=12))
def test_check_finds_every_spoiled_read(entries) -> None:
    lines, spoiled = [], []
    for number, (sequence, quality, spoil) in enumerate(entries):
        entry = (f"@r{number}".encode(), sequence.encode(), quality.encode() * len(sequence))
        if spoil:
            spoiled.append((len(lines) + 1, number))
        lines += spoil(*entry) if spoil else [entry[0], entry[1], b"+", entry[2]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(b"\n".join(lines) + b"\n")
        inspection = Inspection(SequenceFile(path))
        faults = [str(fault).removeprefix(f"{path}: ") for fault in inspection.faults()]
    assert [fault.split("': ")[0] for fault in faults] == [f"line {line}: record 'r{n}" for line, n in spoiled]
    assert inspection.records == len(entries) - len(spoiled)
