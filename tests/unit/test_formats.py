"""Formats given in place of FASTA and FASTQ: each is named, with what to do, and sound input is none of them."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from virnucpro.errors import InputError
from virnucpro.seq import read_records
from virnucpro.seq.formats import HEAD_BYTES, no_sequence, recognise


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("reads.fa"))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("reads.fa", ">a\nACGT\n")
    return buffer.getvalue()


# How a file begins, its format as the message names it, and a word of what to do.
FORMATS = [
    (b"@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:chr1\tLN:5\n", "SAM (alignments)", "samtools fastq"),
    (b"@SQ\tSN:chr1\tLN:248956422\n", "SAM (alignments)", "samtools fastq"),
    (b"@RG\tID:1\tSM:x\n", "SAM (alignments)", "samtools fastq"),
    (b"@PG\tID:bwa\n@CO\tx\n", "SAM (alignments)", "samtools fastq"),
    (b"r1\t99\tref\t7\t30\t8M2I4M1D3M\t=\t37\t39\tTTAG\t*\n", "SAM without a header (alignments)", "samtools"),
    (b"r1\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\n", "SAM without a header (alignments)", "samtools"),
    (b"BAM\x01\x00\x00", "BAM (alignments)", "samtools fastq"),
    (b"CRAM\x03\x01", "CRAM (alignments)", "samtools fastq"),
    (b"q\t100\t0\t90\t+\tt\t1000\t1\t91\t80\t90\t60\n", "PAF (alignments)", "reads"),
    (b"BCF\x02\x02", "BCF (variants)", "bcftools"),
    (b"##fileformat=VCFv4.3\n", "VCF (variants)", "bcftools"),
    (b"\x89HDF\r\n\x1a\n\x00", "HDF5 (such as FAST5)", "dorado"),
    (b"\x8bPOD\r\n\x1a\n", "POD5 (raw signals)", "dorado"),
    (b"NCBI.sra\x88\x19", "an SRA archive", "fasterq-dump"),
    (b".sff\x00\x00\x00\x01", "SFF (454 reads)", "sff2fastq"),
    (b"ABIF\x00\x65", "an ABI trace", "seqret"),
    (b"\x43\x27\x41\x1a\x00", "2bit", "twoBitToFa"),
    (zipped(), "a zip archive (or a spreadsheet)", "unzip"),
    (tarred(), "a tar archive", "tar -xf"),
    (b"7z\xbc\xaf\x27\x1c\x00", "a 7z archive", "7z x"),
    (b"Rar!\x1a\x07\x01", "a RAR archive", "unrar"),
    (b"\x04\x22\x4d\x18\x64", "compressed with lz4", "lz4 -d"),
    (b"\x1f\x9d\x90", "compressed with Unix compress (.Z)", "gzip -d"),
    (b"LZIP\x01\x0c", "compressed with lzip", "lzip -d"),
    (b"\x5d\x00\x00\x80\x00\xff\xff", "compressed with LZMA (.lzma)", "xz -d"),
    (b"LOCUS       SCU49845     5028 bp\n", "GenBank", "any2fasta"),
    (b"ID   X56734; SV 1; linear;\n", "EMBL or Swiss-Prot", "seqret"),
    (b"##gff-version 3\n", "GFF (annotation)", "genome"),
    (b"#!genome-build GRCh38\n", "GFF or GTF (annotation)", "genome"),
    (b"chr1\tRefSeq\tgene\t1\t200\t.\t+\t.\tID=1\n", "GFF or GTF (annotation)", "genome"),
    (b'1\thavana\texon\t11\t12\t.\t+\t0\tgene_id "x";\n', "GFF or GTF (annotation)", "genome"),
    (b"chr1\t100\t200\tx\n", "BED (regions)", "bedtools getfasta"),
    (b"track name=x\n", "BED (regions)", "bedtools getfasta"),
    (b"q1\ts1\t99.0\t100\n", "a table with tabs between the columns (TSV)", "seqkit tab2fx"),
    (b"id,sequence,length\na,ACGT,4\n", "a table with commas between the columns (CSV)", "seqkit tab2fx"),
    (b"((a:0.1,b:0.2):0.3,c);\n", "a Newick tree", "FASTA"),
    (b"#NEXUS\nbegin data;\n", "Nexus", "seqret"),
    (b"CLUSTAL O(1.2.4) multiple sequence alignment\n", "a Clustal alignment", "seqret"),
    (b"# STOCKHOLM 1.0\n", "a Stockholm alignment", "seqret"),
    (b"5 42\nTurkey    AAGCTNGGGC\n", "a PHYLIP alignment", "seqret"),
    (b"H\tVN:Z:1.0\n", "GFA (an assembly graph)", "awk"),
    (b"S\t1\tACGT\n", "GFA (an assembly graph)", "awk"),
    (b"# Title: run\n>1_24_31_F3\nT2130.01\n", "CSFASTA (colours of SOLiD)", "mapper"),
    (b"# Title: run\n>1_24_31_F3\n20 31 -1\n", "qualities of FASTA (.qual)", "FASTA"),
    (b"# made by x\n>a\nACGT\n", "FASTA with comments before it", "grep"),
    (b"<!doctype html>\n", "an HTML page, perhaps an error message of a server", "download"),
    (b"<HTML><body>", "an HTML page, perhaps an error message of a server", "download"),
    (b'<?xml version="1.0"?>\n<BlastOutput>', "XML", "FASTA"),
    (b'{\n  "id": 1}', "JSON", "FASTA"),
    (b'[{"id": 1}]', "JSON", "FASTA"),
    (b"%PDF-1.7\n", "PDF", "text"),
    (b"{\\rtf1\\ansi", "RTF, a text processor's file", "text"),
    (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS in place of the file", "git lfs pull"),
    (b"\x1f\x8b\x08\x00", "compressed twice", "decompress"),
]


@pytest.mark.parametrize(("head", "name", "remedy"), FORMATS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
def test_a_format_is_named_with_what_to_do(tmp_path: Path, compress, head: bytes, name: str, remedy: str) -> None:
    found, advice = recognise(head[:HEAD_BYTES])
    assert (found, remedy in advice) == (name, True)
    if compress is bytes and name == "compressed twice":
        return  # once, then
    path = tmp_path / "input"
    path.write_bytes(compress(head + b"\n" * 3))
    with pytest.raises(InputError) as caught:
        list(read_records(path))
    assert str(caught.value) == f"{path}: line 1: neither FASTA nor FASTQ but {name}: {advice}"
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    "head",
    [
        b">a\nACGT\n",
        b"@a\nACGT\n+\nIIII\n",
        b"ACGT\n",
        b"some words\n",
        b"\x7fELF\x02",
        b"\x00\x01",
        b"# words\n",
        b"@HD\n",
        b"P",
        b"x",
    ],
)
def test_what_is_none_of_them(head: bytes) -> None:
    assert recognise(head) is None


def test_reads_with_the_names_of_sam_headers_are_reads(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"@HD\tVN:1.6\nACGT\n+\nIIII\n@SQ\tSN:x\nAC\n+\nII\n")
    assert [record.id for record in read_records(path)] == ["HD", "SQ"]


def test_a_fault_in_a_later_record_is_no_other_format(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"@a\nAC\n+\nII\n@HD\tVN:1.6\n@SQ\tSN:x\nr\t4\n")
    with pytest.raises(InputError, match="line 5: record 'HD': expected '\\+' on its third line"):
        list(read_records(path))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"40 40 38 2", ".qual"),
        (b"4040 -1 2", ".qual"),
        (b"T0123.1", "CSFASTA"),
        (b"g0", "CSFASTA"),
        *((text, "") for text in (b"AC1GT", b"ACGT!", b"1 acgt", b"9" * 100_000 + b"!", b"A" + b"0" * 100_000 + b"!")),
    ],
)
def test_sequences_that_are_none(text: bytes, word: str) -> None:
    assert word in no_sequence(text)
    assert bool(no_sequence(text)) == bool(word)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b">a\n40 40\n38 2\n",
            "line 1: record 'a': '4' at position 1 of its sequence; these are qualities (a .qual file)",
        ),
        (b">1_2_F3\nT01.3\n", "line 1: record '1_2_F3': '0' at position 2 of its sequence; these are colours (CSFASTA"),
        (
            b"@1_2_F3\nT01.3\n+\nIIIII\n",
            "line 1: record '1_2_F3': '0' at position 2 of its sequence; these are colours",
        ),
    ],
)
def test_entries_that_are_no_sequences(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "input"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        list(read_records(path))
    assert words in str(caught.value)
