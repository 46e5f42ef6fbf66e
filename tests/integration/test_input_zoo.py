"""Odd input through the command line: every row of the tables in docs/inputs.md, and no other.

A row has four cells: the input, the exit code of both commands, what `predict` makes of it and what `check` says.
Text in backticks in the last two is text that the command gives: `predict` in its messages or in records.tsv, `check`
on standard output.
"""

import bz2
import gzip
import io
import lzma
import os
import random
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from reading import block_units, object_units
from support.commands import Done, run_captured
from support.files import zstd

from virnucpro.cli.main import main

COMMAND = Path(sys.executable).with_name("virnucpro")
DOCUMENT = Path(__file__).parents[2] / "docs" / "inputs.md"
_letters = random.Random(23)
LONG = "".join(_letters.choices("ACGT", k=300)).encode()
SHORT = "".join(_letters.choices("ACGT", k=120)).encode()


def fasta(name: bytes, sequence: bytes = LONG) -> bytes:
    return b">%b\n%b\n" % (name, sequence)


def fastq(name: bytes, sequence: bytes = LONG) -> bytes:
    return b"@%b\n%b\n+\n%b\n" % (name, sequence, b"I" * len(sequence))


PLAIN = fasta(b"a one") + fasta(b"b", SHORT)
PLAIN_FASTQ = fastq(b"a one") + fastq(b"b", SHORT)
PLAIN_ROWS = ["a ok", "b ok"]
# More than the reader buffers, so that a fault comes after some records; too short to be scored, which takes time.
BULK = b"".join(fasta(b"r%d" % i, bytes(_letters.choices(b"ACGT", k=70))) for i in range(5000))


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("reads.fa", data)
    return buffer.getvalue()


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("reads.fa")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def skippable(number: int) -> bytes:
    """Return a skippable frame of zstd, of which there are 16 kinds."""
    return (0x184D2A50 + number).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"other"


def spoilt(data: bytes) -> bytes:
    """Change a byte near the begin of a compressed stream, in a part that its checksum covers."""
    return data[:8] + bytes([data[8] ^ 255]) + data[9:]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def damaged(data: bytes) -> bytes:
    """Change the checksum, which is in the last 8 bytes of gzip."""
    return data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]


def wrapped(sequence: bytes, width: int = 70) -> bytes:
    return b"\n".join(sequence[i : i + width] for i in range(0, len(sequence), width))


def write(path: Path, data: bytes) -> list[Path]:
    path.write_bytes(data)
    return [path]


def feed(path: Path, data: bytes) -> list[Path]:
    """Make a FIFO, into which a thread writes as soon as it is opened for reading."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()
    return [path]


@dataclass(frozen=True)
class Specimen:
    """An odd input: how to make its files in a folder, and the rows of records.tsv, "id status" (None: an error).

    `stdin` is what comes by standard input; `bound` tells that the command must not run with the powers of root.
    """

    make: Callable[[Path], list[Path]]
    rows: list[str] | None = None
    stdin: bytes = b""
    bound: bool = False


def wrong(data: bytes) -> Specimen:
    return Specimen(lambda folder: write(folder / "input", data))


def read(data: bytes, *rows: str) -> Specimen:
    return Specimen(lambda folder: write(folder / "input", data), list(rows))


def same(data: bytes, name: str = "input") -> Specimen:
    return Specimen(lambda folder: write(folder / name, data), PLAIN_ROWS)


def closed(folder: Path) -> list[Path]:
    (folder / "input").unlink(missing_ok=True)
    [path] = write(folder / "input", PLAIN)
    path.chmod(0)
    return [path]


def two(first: bytes, second: bytes) -> Callable[[Path], list[Path]]:
    return lambda folder: [*write(folder / "first", first), *write(folder / "second", second)]


ZOO: dict[str, Specimen] = {
    # Files
    "missing file": Specimen(lambda folder: [folder / "input"]),
    "directory": Specimen(lambda folder: [folder]),
    "file that may not be read": Specimen(closed, bound=True),
    "FIFO": Specimen(lambda folder: feed(folder / "input", PLAIN), PLAIN_ROWS),
    "the same FIFO, or `-`, twice": Specimen(lambda folder: feed(folder / "input", PLAIN) * 2),
    "standard input (`-`)": Specimen(lambda folder: [Path("-")], PLAIN_ROWS, stdin=zstd(PLAIN)),
    "file of 0 bytes": read(b""),
    "blank lines only": read(b"\n\r\n \n"),
    "compressed file of nothing": read(gzip.compress(b"")),
    "wrong suffix": same(gzip.compress(PLAIN_FASTQ), "reads.fa.zst"),
    "FASTA and FASTQ in two files": Specimen(two(fasta(b"a one"), fastq(b"b", SHORT)), PLAIN_ROWS),
    "gzip in several members (bgzip, `cat`)": same(gzip.compress(PLAIN[:99]) + gzip.compress(PLAIN[99:])),
    "bzip2 in several streams (pbzip2, `cat`)": same(bz2.compress(PLAIN[:99]) + bz2.compress(PLAIN[99:])),
    "xz in several streams, with zeros after each (`xz`, `pixz`)": same(
        lzma.compress(PLAIN[:99]) + bytes(8) + lzma.compress(PLAIN[99:]) + bytes(4)
    ),
    "zstd in several frames, with skippable ones (pzstd)": same(
        skippable(0) + zstd(PLAIN[:99]) + skippable(7) + zstd(PLAIN[99:]) + skippable(15)
    ),
    "zeros after gzip": same(gzip.compress(PLAIN) + bytes(512)),
    "cut gzip": wrong(cut(gzip.compress(BULK))),
    "cut bzip2": wrong(cut(bz2.compress(BULK))),
    "cut xz": wrong(cut(lzma.compress(BULK))),
    "cut zstd": wrong(cut(zstd(BULK))),
    "damaged gzip": wrong(damaged(gzip.compress(BULK))),
    "damaged second stream of bzip2": wrong(bz2.compress(BULK) + spoilt(bz2.compress(BULK))),
    "damaged second stream of xz": wrong(lzma.compress(BULK) + spoilt(lzma.compress(BULK))),
    "other bytes after gzip": wrong(gzip.compress(PLAIN) + b"more"),
    "other bytes after bzip2": wrong(bz2.compress(PLAIN) + b"more"),
    "other bytes after xz": wrong(lzma.compress(PLAIN) + b"more"),
    "other bytes after zstd": wrong(zstd(PLAIN) + b"more"),
    "zeros after xz that are no multiple of 4": wrong(lzma.compress(PLAIN) + bytes(3)),
    "compressed twice": wrong(gzip.compress(gzip.compress(PLAIN))),
    "binary": wrong(b"\x7fELF" + bytes(range(256))),
    "binary that begins with `>`": wrong(b">" + bytes(range(1, 256)) * 20),
    "other text": wrong(b"some words\nand more\n"),
    "UTF-8 byte order mark": same(b"\xef\xbb\xbf" + PLAIN),
    # Other formats
    "SAM": wrong(b"@HD\tVN:1.6\n@SQ\tSN:x\tLN:9\nr\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\n"),
    "SAM without a header": wrong(b"r\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\n"),
    "BAM": wrong(gzip.compress(b"BAM\1" + bytes(64))),
    "CRAM": wrong(b"CRAM\3\0" + bytes(64)),
    "POD5": wrong(b"\x8bPOD\r\n\x1a\n" + bytes(64)),
    "FAST5 (HDF5)": wrong(b"\x89HDF\r\n\x1a\n" + bytes(64)),
    "SRA archive": wrong(b"NCBI.sra" + bytes(64)),
    "SFF": wrong(b".sff\0\0\0\1" + bytes(64)),
    "ABI trace": wrong(b"ABIF\0e" + bytes(64)),
    "GenBank": wrong(gzip.compress(b"LOCUS       AB000001   9 bp\nORIGIN\n")),
    "EMBL": wrong(b"ID   X56734; SV 1; linear; mRNA; STD; PLN; 1859 BP.\n"),
    "GFF or GTF": wrong(b"##gff-version 3\nx\ta\tgene\t1\t9\t.\t+\t.\tID=1\n"),
    "VCF": wrong(gzip.compress(b"##fileformat=VCFv4.2\n#CHROM\tPOS\n")),
    "BED": wrong(b"chr1\t100\t200\n"),
    "table (TSV)": wrong(b"id\tlength\na\t300\n"),
    "table (CSV)": wrong(b"id,sequence,length\na,ACGT,4\n"),
    "qualities without bases (`.qual`)": wrong(b">a\n40 40 38\n2 40\n"),
    "colours (CSFASTA)": wrong(b">1_24_31_F3\nT2130.0123\n"),
    "Clustal, Stockholm, PHYLIP or Nexus alignment": wrong(b"CLUSTAL W (1.83) multiple sequence alignment\n\na ACGT\n"),
    "Newick tree": wrong(b"((a:0.1,b:0.2):0.3,c);\n"),
    "zip archive": wrong(zipped(PLAIN)),
    "tar archive, also compressed": wrong(gzip.compress(tarred(PLAIN))),
    "7z archive": wrong(b"7z\xbc\xaf\x27\x1c" + bytes(64)),
    "lz4": wrong(b"\x04\x22\x4d\x18" + bytes(64)),
    "Unix compress (`.Z`)": wrong(b"\x1f\x9d\x90" + bytes(64)),
    "HTML": wrong(b"<!DOCTYPE html>\n<html><title>404</title></html>\n"),
    "JSON": wrong(b'{"id": "a", "sequence": "ACGT"}\n'),
    "PDF": wrong(b"%PDF-1.7\n" + bytes(range(256))),
    "UTF-16": wrong(PLAIN.decode().encode("utf-16")),
    # Lines
    "CRLF line ends": same(PLAIN.replace(b"\n", b"\r\n")),
    "CRLF line ends in FASTQ": same(PLAIN_FASTQ.replace(b"\n", b"\r\n")),
    "CR-only line ends": wrong(PLAIN.replace(b"\n", b"\r")),
    "CR-only line ends in FASTQ": wrong(PLAIN_FASTQ.replace(b"\n", b"\r")),
    "CR-only line ends from the second record on": wrong(fasta(b"a") + fasta(b"b").replace(b"\n", b"\r")),
    "no line end at the end": same(PLAIN[:-1]),
    "blank lines around records": same(b"\n" + PLAIN.replace(b">b", b"\n \n>b") + b"\n\n"),
    "blank lines around FASTQ records": same(b"\n" + PLAIN_FASTQ.replace(b"@b", b"\n\n@b") + b"\n\n"),
    "sequence in many lines": same(PLAIN.replace(LONG, wrapped(LONG, 7))),
    "blanks and numbers in a sequence": wrong(fasta(b"a") + b">b\n        1 acgtac gtacgt\n"),
    "`;` comment before the records": wrong(b";a comment\n" + PLAIN),
    "`;` comment among the lines of a sequence": wrong(fasta(b"a") + b";a comment\n"),
    "`>` within a line of sequence": wrong(fasta(b"a", SHORT + b">b")),
    # FASTQ
    "FASTQ records in a FASTA file": wrong(fasta(b"a") + fastq(b"b") + fasta(b"c")),
    "FASTA records in a FASTQ file": wrong(fastq(b"a") + fasta(b"b") + fastq(b"c")),
    "no quality line": wrong(fastq(b"a") + b"@b\nACGTAC\n+\n" + fastq(b"c")),
    "no quality line at the end of the file": wrong(fastq(b"a") + b"@b\nACGTAC\n+\n"),
    "no quality line after an empty sequence at the end of the file": wrong(fastq(b"a") + b"@b\n\n+\n"),
    "too few qualities": wrong(fastq(b"a") + b"@b\nACGTAC\n+\nIIIII\n" + fastq(b"c")),
    "several records at fault": wrong(
        b"@a\nACGTAC\n+\n@@@@@\n" + fastq(b"b") + b"@c\nACGTAC\n+\nIIIIIII\n@d\nAC!\n+\nIII\n" + fastq(b"e")
    ),
    "no `+` line": wrong(fastq(b"a") + b"@b\nACGTAC\nIIIIII\n" + fastq(b"c")),
    "FASTQ cut within a record": wrong(PLAIN_FASTQ[:-130]),
    "FASTQ in more than four lines a record": wrong(b"@a\n%b\n+\n%b\n" % (wrapped(LONG), wrapped(b"I" * 300))),
    "another name after `+`": same(PLAIN_FASTQ.replace(b"+", b"+other")),
    "qualities that begin with `@` or `+`": same(PLAIN_FASTQ.replace(b"+\nI", b"+\n@", 1).replace(b"+\nI", b"+\n+")),
    "quality beyond ASCII": wrong(fastq(b"a") + fastq(b"b").replace(b"II", b"I\xff", 1) + fastq(b"c")),
    "blank among qualities": wrong(fastq(b"a") + fastq(b"b").replace(b"II", b"I ", 1)),
    "control character among qualities": wrong(fastq(b"a") + fastq(b"b").replace(b"II", b"I\x7f", 1)),
    # Pairs
    "reads 1 and reads 2 in two files": Specimen(
        two(fastq(b"a/1") + fastq(b"b/1"), fastq(b"a/2", SHORT) + fastq(b"b/2", SHORT)),
        ["a/1 ok", "b/1 ok", "a/2 ok", "b/2 ok"],
    ),
    "interleaved pairs": read(
        fastq(b"a.1") + fastq(b"a.2", SHORT) + fastq(b"b.1") + fastq(b"b.2", SHORT),
        *("a.1 ok", "a.2 ok", "b.1 ok", "b.2 ok"),
    ),
    "reads of one run that are numbered (`SRR1.1`, `SRR1.2`)": read(
        b"".join(fastq(b"SRR1.%d" % i) for i in range(1, 5)), *(f"SRR1.{i} ok" for i in range(1, 5))
    ),
    # Headers
    "header of 1 MB": read(fasta(b"x" * 1_000_000), "x" * 1_000_000 + " ok"),
    "faulty record with a header of 1 MB": wrong(fasta(b"x" * 1_000_000, b"!")),
    "header that is not UTF-8": read(fasta(b"na\xefve d\xe9s"), "na\udcefve ok"),
    "header that is not UTF-8, in FASTQ": read(fastq(b"na\xefve d\xe9s"), "na\udcefve ok"),
    "tabs in a header": same(PLAIN.replace(b"a one", b"a\tone\ttwo")),
    "`>`, quotes and the like in a header": read(fasta(b'a>b;"c"|#\'%=,'), 'a>b;"c"|#\'%=, ok'),
    "control characters in a header": read(fasta(b"a\x1b[31m\x00\x07"), "a\x1b[31m\x00\x07 ok"),
    "blanks between `>` and the id": same(PLAIN.replace(b">", b"> ")),
    "header without an id": read(fasta(b""), " ok"),
    "one id for two records": read(fasta(b"a") + fasta(b"a", SHORT), "a ok", "a ok"),
    "one id in two files": Specimen(two(fasta(b"a"), fastq(b"a", SHORT)), ["a ok", "a ok"]),
    # Sequences
    "headers only": read(b">a\n>b\n", "a empty", "b empty"),
    "one empty record": read(fasta(b"a") + b">b\n\n" + fasta(b"c"), "a ok", "b empty", "c ok"),
    "empty FASTQ record": read(fastq(b"a") + b"@b\n\n+\n\n", "a ok", "b empty"),
    "record of 74 nt": read(fasta(b"a", LONG[:74]), "a too_short"),
    "record of 1 nt": read(fasta(b"a", b"A"), "a too_short"),
    "soft-masked (lower-case) letters": same(PLAIN.replace(LONG, LONG[:100] + LONG[100:200].lower() + LONG[200:])),
    "RNA": same(PLAIN.replace(LONG, LONG.replace(b"T", b"U"))),
    "single N and IUPAC codes": read(fasta(b"a", LONG[:150] + b"RACYNTSWGKMCBDAHV" + LONG[150:]), "a ok"),
    "run of 50 N or more": read(fasta(b"a", LONG[:150] + b"N" * 50 + LONG[150:]), "a ok"),
    "homopolymer at an end (poly-G, poly-A)": read(fasta(b"a", b"A" * 30 + LONG + b"G" * 30), "a ok"),
    "long record of short pieces between N": read(
        fasta(b"a", (LONG[:50] + b"N" * 50) * 4 + LONG[50:100]), "a too_short"
    ),
    "only N": read(fasta(b"a", b"N" * 300), "a too_ambiguous"),
    "simple repeats": read(fasta(b"a", b"AC" * 150), "a low_complexity"),
    "X for masked bases": read(fasta(b"a", LONG[:150] + b"XXXX" + LONG[150:]), "a ok"),
    "gaps (`-`, `.`)": read(fasta(b"a", LONG[:150] + b"---..." + LONG[150:]), "a ok"),
    "`*` at the end or within": read(fasta(b"a", LONG[:150] + b"*" + LONG[150:] + b"*"), "a ok"),
    "proteins": wrong(fasta(b"a") + fasta(b"p", b"MKVLAAGIVGLLLAQW") + fasta(b"q", b"MSTNPKPQRKTKRNTNRR")),
    "protein without E, F, I, L, P, Q": read(fasta(b"p", b"MKVAAGTRSWHYNDCG" * 8), "p too_ambiguous"),
    "other sign in a sequence": wrong(fasta(b"a") + fasta(b"b", b"AC!GT")),
    "letter beyond ASCII in a sequence": wrong(fastq(b"a") + fastq(b"b", b"AC\xc3\xa9GT")),
}


@dataclass(frozen=True)
class Row:
    """A row of the document; `usual` tells that it promises the plain table, the last two are texts in backticks."""

    code: int
    usual: bool
    predict: list[str]
    check: list[str]


def documented() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if len(cells) == 4 and cells[1].isdecimal():
            assert cells[0] not in rows
            quoted = (re.findall("`([^`]+)`", cell) for cell in cells[2:])
            rows[cells[0]] = Row(int(cells[1]), cells[2].startswith("as usual"), *quoted)
    return rows


@pytest.fixture
def run(capfdbinary, request):
    """Run a command in this process, or in one of its own where standard input or permissions matter."""

    def run_one(specimen: Specimen, *arguments: object) -> Done:
        given = [str(argument) for argument in arguments]
        if specimen.stdin or specimen.bound:
            keywords = request.getfixturevalue("unprivileged") if specimen.bound else {}
            done = subprocess.run([COMMAND, *given], input=specimen.stdin, capture_output=True, check=False, **keywords)
            return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        return run_captured(capfdbinary, *given)

    return run_one


@pytest.fixture(scope="module")
def plain_table(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("plain")
    with pytest.raises(SystemExit) as end:
        main(["predict", str(*write(folder / "input", PLAIN)), "-o", str(folder / "out")])
    assert not end.value.code
    return (folder / "out" / "records.tsv").read_text()


def test_the_document_and_the_zoo_have_the_same_rows() -> None:
    assert sorted(documented()) == sorted(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_a_row_of_the_document(run, plain_table, tmp_path, name):
    row, specimen, output = documented()[name], ZOO[name], tmp_path / "out"
    paths = specimen.make(tmp_path)
    predicted = run(specimen, "predict", *paths, "-o", output)
    checked = run(specimen, "check", *specimen.make(tmp_path))
    assert (predicted.code, checked.code) == (row.code, row.code), predicted.err + checked.out
    assert (predicted.out, checked.err) == ("", "")
    table = output / "records.tsv"
    text = table.read_text(encoding="utf-8", errors="surrogateescape") if table.exists() else ""
    assert all(fragment in predicted.err + text for fragment in row.predict)
    assert all(fragment in checked.out for fragment in row.check)
    errors = [line.removeprefix("error: ") for line in checked.out.splitlines() if line.startswith("error: ")]
    if specimen.rows is None:
        assert row.code in (65, 66)
        assert predicted.err == f"virnucpro: error: {errors[0]}\n"
        assert all(error.startswith(f"{paths[0]}: ") for error in errors)
        assert len(errors) == max(1, len(row.check))
        assert len(predicted.err) < 1000
        assert not text
        assert not (output / "viral.fasta").exists()
    else:
        assert row.code == 0
        head, *found = [line.split("\t") for line in text.split("\n")[:-1]]
        status = head.index("status")
        assert [f"{cells[0]} {cells[status]}" for cells in found] == specimen.rows
        assert {cells[status] for cells in found} - {"ok"} <= set(row.predict)
        if head[-1] == "file":  # of several files
            text = re.sub(r"\t[^\t\n]*\n", "\n", text)
        assert (text == plain_table) == row.usual
        assert errors == []
        assert len(re.findall("^warning: ", checked.out, re.MULTILINE)) == len(row.check)


@pytest.mark.parametrize("name", [name for name in ZOO if not ZOO[name].stdin and not ZOO[name].bound])
@pytest.mark.parametrize("paired", [False, True], ids=["single", "interleaved"])
def test_blocks_say_what_records_say(tmp_path, name, paired):
    paths = ZOO[name].make(tmp_path)[: 1 if paired else None]
    expected = object_units(paths, paired)
    assert block_units(ZOO[name].make(tmp_path)[: len(paths)], paired) == expected


def test_check_reports_all_files_and_ends_with_the_code_of_the_first_fault(run, tmp_path):
    good, bad = two(PLAIN, fasta(b"a", b"AC!GT") + fasta(b"b", b"MKL"))(tmp_path)
    for paths, code in (((good, bad, tmp_path / "none"), 65), ((good, tmp_path / "none", bad), 66), ((good,), 0)):
        specimen = Specimen(lambda folder: [])
        full, short = run(specimen, "check", *paths), run(specimen, "-q", "check", *paths)
        errors = [line for line in full.out.splitlines() if line.startswith("error: ")]
        assert (full.code, short.code) == (code, code)
        assert short.out.splitlines() == errors
        assert len(errors) == 3 * (bad in paths)
        assert [line.partition(": ")[0] for line in full.out.splitlines() if "; records: " in line] == list(
            map(str, paths)
        )


def test_check_takes_the_length_that_predict_takes(run, tmp_path):
    [path] = write(tmp_path / "input", PLAIN)
    done = run(Specimen(lambda folder: []), "check", path, "--min-length", 121)
    assert "line 3: record 'b' will have no score, too_short: 120 nt, needs 121" in done.out


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path):
    path = os.fsencode(tmp_path) + b"/na\xefve\xc3\xa9"
    with open(path, "wb") as file:
        file.write(b">\xef\xc3\xa9\n!\n")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run([COMMAND, "check", path], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (65, b"")
    assert b"na\\xefve\\xe9: line 1: record '\\udcef" in done.stdout
