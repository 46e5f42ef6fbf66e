"""Reading: every compression and line end, and an error of ours for everything else."""

import bz2
import dataclasses
import gzip
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.files import zstd

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.seq import read_records
from virnucpro.seq.reader import SequenceFile, refuse_repeated_pipes
from virnucpro.types import Record

FASTA = b">a first one\nACGT\nacgn\n>b\n\n>c|x;y=1\tz\nUUU\n"
FASTQ = b"@a first one\nACGTacgn\n+\nIIIIIIII\n@b\n\n+\n\n@c|x;y=1\tz\nUUU\n+c|x;y=1\tz\n@@@\n"
EXPECTED = [("a", b"ACGTACGN", "first one"), ("b", b"", ""), ("c|x;y=1", b"UUU", "z")]


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}
compressions = pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS.keys())


def written(folder: Path, data: bytes, name: str = "reads") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def entries(path: Path) -> list[tuple[str, bytes, str]]:
    return [(record.id, record.sequence, record.description) for record in read_records([path])]


def fault(path: Path) -> str:
    """Return the message of the InputError that reading must end in, and check that it names the file."""
    with pytest.raises(InputError) as caught:
        list(read_records([path]))
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@compressions
@pytest.mark.parametrize("data", [FASTA, FASTQ], ids=["fasta", "fastq"])
@pytest.mark.parametrize("name", ["reads", "reads.fa.gz", "reads.fastq", "reads.zst", "reads.txt"])
def test_content_decides_and_the_name_does_not(
    tmp_path: Path, compress: Callable[[bytes], bytes], data: bytes, name: str
) -> None:
    assert entries(written(tmp_path, compress(data), name)) == EXPECTED


@compressions
@pytest.mark.parametrize("data", [FASTA, FASTQ], ids=["fasta", "fastq"])
def test_standard_input_is_a_pipe(compress: Callable[[bytes], bytes], data: bytes) -> None:
    script = "from virnucpro.seq import read_records\nfor r in read_records(['-']): print(r.id, r.sequence, r.source)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(run, input=compress(data), capture_output=True, env=environment, check=False)
    assert result.stderr == b""
    assert result.stdout.decode() == "".join(f"{name} {sequence!r} -\n" for name, sequence, _ in EXPECTED)


def test_a_named_pipe_that_starts_slowly(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = gzip.compress(FASTA)
    script = (
        "import sys, time; data = bytes.fromhex(sys.argv[2]); pipe = open(sys.argv[1], 'wb', 0)\n"
        "pipe.write(data[:1]); time.sleep(0.2); pipe.write(data[1:]); pipe.close()"
    )
    with subprocess.Popen([sys.executable, "-c", script, path, data.hex()]):
        assert entries(path) == EXPECTED


@pytest.mark.parametrize("data", [FASTA, FASTQ], ids=["fasta", "fastq"])
def test_crlf(tmp_path: Path, data: bytes) -> None:
    assert entries(written(tmp_path, data.replace(b"\n", b"\r\n"))) == EXPECTED


@pytest.mark.parametrize("data", [FASTA, FASTQ], ids=["fasta", "fastq"])
def test_no_line_end_at_the_end_and_blank_lines_before(tmp_path: Path, data: bytes) -> None:
    assert entries(written(tmp_path, b"\n \r\n" + data[:-1])) == EXPECTED
    assert entries(written(tmp_path, data + b"\n \r\n")) == EXPECTED


@pytest.mark.parametrize("data", [FASTA, FASTQ], ids=["fasta", "fastq"])
def test_byte_order_mark(tmp_path: Path, data: bytes) -> None:
    assert entries(written(tmp_path, b"\xef\xbb\xbf" + data)) == EXPECTED


def test_several_files_share_one_count(tmp_path: Path) -> None:
    first, second = written(tmp_path, FASTA, "1"), written(tmp_path, gzip.compress(FASTQ), "2")
    records = list(read_records([first, str(second), first]))
    assert [record.index for record in records] == list(range(9))
    assert [record.source for record in records] == [str(first)] * 3 + [str(second)] * 3 + [str(first)] * 3


@compressions
@pytest.mark.parametrize("data", [b"", b"\n", b"\n \r\n\n"], ids=["empty", "newline", "blank"])
def test_nothing_is_no_records(tmp_path: Path, compress: Callable[[bytes], bytes], data: bytes) -> None:
    assert entries(written(tmp_path, compress(data))) == []


@pytest.mark.parametrize("form", [b">%s\n%s\n", b"@%s\n%s\n+\nII\n"], ids=["fasta", "fastq"])
def test_headers_byte_for_byte(tmp_path: Path, form: bytes) -> None:
    path = written(tmp_path, form % (b"sp|P1|\xc3\xa9\xff#%=\xc2\xa0x d\xe9s", b"AC") + form % (b"", b"GT"))
    first, second = read_records([path])
    assert first.id.encode(errors="surrogateescape") == b"sp|P1|\xc3\xa9\xff#%=\xc2\xa0x"
    assert first.description.encode(errors="surrogateescape") == b"d\xe9s"
    assert second == Record("", b"GT", str(path), 1)


@pytest.mark.parametrize("form", [b">a\n%s\n", b"@a\n%s\n+\n" + b"I" * 20 + b"\n"], ids=["fasta", "fastq"])
def test_all_codes_of_nucleotides(tmp_path: Path, form: bytes) -> None:
    letters = b"ACGTURYSWKMBDHVNX*-."
    for case in (letters, letters.lower()):
        assert entries(written(tmp_path, form % case)) == [("a", letters, "")]


def test_letters_of_proteins(tmp_path: Path) -> None:
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ*-."
    path = written(tmp_path, b">a\n" + letters.lower() + b"\n")
    assert [record.sequence for record in read_records([path], "protein")] == [letters]
    for letter in b"EFIJLOPQZefijlopqz":
        message = fault(written(tmp_path, b">a\nACGT\n>b\nMK%cG\n" % letter))
        assert f"line 3: record 'b': {chr(letter)!r} at position 3 of its sequence; DNA has no such letter" in message
        assert "`virnucpro embed`" in message


def test_records_come_one_at_a_time(tmp_path: Path) -> None:
    path = written(tmp_path, FASTA + b">d\nAC!GT\n")
    records = read_records([path])
    assert [next(records).id for _ in range(3)] == ["a", "b", "c|x;y=1"]
    with pytest.raises(InputError, match=r"line 8: record 'd': '!' at position 3 of its sequence"):
        next(records)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        list(read_records([tmp_path / "absent.fa"]))


def test_directory(tmp_path: Path) -> None:
    assert "is a directory" in fault(tmp_path)


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst"])
@pytest.mark.parametrize("data", [FASTA, FASTQ], ids=["fasta", "fastq"])
@pytest.mark.parametrize("keep", [0.5, 0.99, None], ids=["half", "almost", "three bytes"])
def test_truncated_compressed(tmp_path: Path, name: str, data: bytes, keep: float | None) -> None:
    whole = COMPRESSIONS[name](data * 5000)
    path = written(tmp_path, whole[: int(keep * len(whole)) if keep else 3])
    assert f"damaged or truncated {name} data" in fault(path)


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst"])
def test_damaged_compressed(tmp_path: Path, name: str) -> None:
    whole = bytearray(COMPRESSIONS[name](os.urandom(5000).hex().encode()))
    whole[len(whole) // 2 : len(whole) // 2 + 64] = bytes(64)
    assert fault(written(tmp_path, bytes(whole)))


@pytest.mark.parametrize("first", [b"\x00", b"\x7fELF", b"ACGT\n", b"# comment\n", b"\xff\x00>"])
def test_neither_fasta_nor_fastq(tmp_path: Path, first: bytes) -> None:
    message = fault(written(tmp_path, b"\n\n" + first + bytes(range(256)) * 9))
    assert f"line 3: neither FASTA nor FASTQ: expected '>' or '@', found {chr(first[0])!a}" in message


@pytest.mark.parametrize("first", [b">", b"@", b">a\n", b"@a\n"])
def test_binary_that_starts_like_text(tmp_path: Path, first: bytes) -> None:
    fault(written(tmp_path, first + bytes(range(256)) * 2000))


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (b"@d\nACGT\n", "line 13: record 'd': expected '+' on its third line, the file ends"),
        (b"@d\n", "line 13: record 'd': expected '+' on its third line, the file ends"),
        (b"@d\nACGT\nACGT\n+\nIIIIIIII\n", "line 13: record 'd': expected '+' on its third line, found 'A'"),
        (b"@d\nACGT\n+\n", "line 13: record 'd': 4 bases but 0 qualities"),
        (b"@d\n\n+\n", "line 13: record 'd': no bases and no line of qualities, the file ends"),
        (b"@d\nACGT\n+\nII\n", "line 13: record 'd': 4 bases but 2 qualities"),
        (b"@d\nACGT\n+\n@e\nAC\n+\nII\n", "line 13: record 'd': 4 bases but 2 qualities"),
        (b">d\nACGT\n+\nIIII\n", "line 13: expected '@' to begin a record, found '>'"),
    ],
)
def test_broken_fastq(tmp_path: Path, broken: bytes, what: str) -> None:
    message = fault(written(tmp_path, FASTQ + broken))
    assert what in message
    assert ("(after record 'c|x;y=1')" in message) == broken.startswith(b">")


def test_lines_are_counted_from_the_first_even_if_blank(tmp_path: Path) -> None:
    message = fault(written(tmp_path, b"\n\n@good\nAC\n+\nII\n" + b"@d\nACGT\n+\nII\n"))
    assert "line 7: record 'd': 4 bases" in message


def test_a_cut_file_names_the_last_record(tmp_path: Path) -> None:
    reads = [b"@r%d x\nACGT\n+\n%s\n" % (i, os.urandom(2).hex().encode()) for i in range(50_000)]
    whole = gzip.compress(b"".join(reads), 1)
    path = written(tmp_path, whole[: len(whole) // 2])
    records = []
    with pytest.raises(InputError) as caught:
        records.extend(read_records([path]))
    assert f"(after line {4 * records[-1].index + 1}, record {records[-1].id!r})" in str(caught.value)


@pytest.mark.parametrize("character", [b"!", b"1", b" ", b"\t", b"\xe9", b"\x00", b">", b"\r", b"@"])
@pytest.mark.parametrize("form", [b">a\nAC\n>bad\nAC%sGT\n", b"@a\nAC\n+\nII\n@bad\nAC%sGT\n+\nIIIII\n"])
def test_foreign_character(tmp_path: Path, character: bytes, form: bytes) -> None:
    line = 3 if form.startswith(b">") else 5
    expected = f"line {line}: record 'bad': {chr(character[0])!a} at position 3 of its sequence; "
    assert expected in fault(written(tmp_path, form % character))


def test_old_mac_line_ends(tmp_path: Path) -> None:
    assert "line 1: record 'a': a CR in its header" in fault(written(tmp_path, b">a b\rACGT\r>c\rAC\r"))
    assert "line 3: record 'b': a CR in its header" in fault(written(tmp_path, b">a\nAC\n>b\rACGT\r>c\rAC\r"))


def test_a_long_id_is_cut_in_messages(tmp_path: Path) -> None:
    message = fault(written(tmp_path, b">" + b"x" * 1_000_000 + b"\n!\n"))
    assert "record 'xxx" in message
    assert len(message) < len(str(tmp_path)) + 300


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    records = read_records([written(tmp_path, gzip.compress(FASTA * 9999))])
    next(records)
    records.close()  # an open file would be a ResourceWarning, and those are errors here


def test_a_pipe_is_named_once(tmp_path):
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    file.write_bytes(b">a\nACGT\n")
    refuse_repeated_pipes([SequenceFile(name) for name in (file, pipe, "-", file, tmp_path / "missing")])
    for twice in ((pipe, link), ("-", file, "-")):
        with pytest.raises(InputError, match=f"^{twice[-1]}: is named twice"):
            refuse_repeated_pipes([SequenceFile(name) for name in twice])


@pytest.mark.parametrize("give", [str, Path, os.fsencode, SequenceFile], ids=["text", "path", "bytes", "file"])
def test_one_source_is_read_as_several_are(tmp_path: Path, give: Callable[[Path], object]) -> None:
    path = written(tmp_path, FASTA, "na\udcefve é")
    expected = list(read_records([path]))
    assert list(read_records(give(path))) == list(read_records([give(path)])) == expected
    assert list(read_records(iter((give(path), path)))) == [
        *expected,
        *(dataclasses.replace(record, index=record.index + 3) for record in expected),
    ]
    assert [record.source for record in read_records(give(path))] == [str(path)] * 3


@pytest.mark.parametrize("wrong", [None, 5, 1.5, True, ["a", 5], [None], {5}, slice(3)], ids=str)
def test_what_is_no_path_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match="an input must be a path"):
        list(read_records(wrong))


@pytest.mark.parametrize("path", ["a\0b", b"a\0b", Path("a\0b"), "\ud800"])
def test_paths_that_no_file_can_have(path: object) -> None:
    with pytest.raises(InputError, match=r"NUL|an input must be a path") as caught:
        list(read_records(path))
    assert "\0" not in str(caught.value)
    with pytest.raises(InputError):
        SequenceFile(path)


def test_a_kind_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind must be nucleotide or protein, got 'dna'"):
        list(read_records(written(tmp_path, FASTA), "dna"))


@pytest.mark.parametrize("quality", [b"\xff", b"\xc3\xa9", b" ", b"\x1f", b"\x7f", b"\0", b"\t"])
@pytest.mark.parametrize("name", [b"bad", b"b\xffd"])
def test_qualities_are_printable_ascii(tmp_path: Path, quality: bytes, name: bytes) -> None:
    read = b"@%b\n%b\n+\n%b\n" % (name, b"A" * (2 + len(quality)), b"I" + quality + b"I")
    message = fault(written(tmp_path, FASTQ + read + FASTQ))
    assert (
        f": line 13: record {name.decode(errors='surrogateescape')!r}: {chr(quality[0])!a} at position 2 of its"
        in message
    )
    assert "qualities, which must be printable ASCII" in message


def test_all_qualities_there_are(tmp_path: Path) -> None:
    quality = bytes(range(33, 127))
    [record] = read_records(written(tmp_path, b"@a\n%b\n+\n%b\n" % (b"A" * 94, quality)))
    assert record.quality == quality


@pytest.mark.parametrize("ends", [(b"", b" "), (b" ", b"  "), (b"\t", b"\r")])
def test_a_blank_in_the_place_of_a_quality_is_none(tmp_path: Path, ends: tuple[bytes, bytes]) -> None:
    """Lines of equal length, of which the second has a blank where its last quality should be."""
    message = fault(written(tmp_path, b"@a\nACGT%b\n+\nIII%b\n" % ends))
    assert "of its qualities" in message or "4 bases but 3 qualities" in message


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 3_000_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \t\n", b""])
def test_long_lines_are_read_like_short_ones(tmp_path: Path, size: int, end: bytes) -> None:
    sequence = os.urandom(size // 2).hex().translate(str.maketrans("0123456789abcdef", "ACGT" * 4)).encode()
    path = written(tmp_path, b">a" + b"\n" + sequence + end + (b"" if not end else b">b\nAC \n \nGT\n>c\n" + sequence))
    expected = [("a", sequence)] + ([("b", b"ACGT"), ("c", sequence)] if end else [])
    assert [(record.id, record.sequence) for record in read_records(path)] == expected
    quality = sequence.lower()
    read = b"@a\n%b%b\n+\n%b%b\n" % (sequence, end.strip(b"\n"), quality, end.strip(b"\n"))
    path = written(tmp_path, read + b"@b\nAC\n+\nII\n" + read + b"@d\nA!\n+\nII\n")
    records: list[Record] = []
    with pytest.raises(InputError, match="line 13: record 'd': '!' at position 2"):
        records.extend(read_records(path))
    assert [record.quality for record in records] == [quality, b"II", quality]
    assert [record.sequence for record in records] == [sequence, b"AC", sequence]
