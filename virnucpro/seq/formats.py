"""Recognise files of other formats that are given instead of FASTA or FASTQ, and say how to convert them."""

from __future__ import annotations

import re

HEAD_BYTES = 512  # enough bytes to recognise a file; the mark of a tar archive is at 257

_SRA_TOOLS = "`fasterq-dump FILE` (SRA Toolkit)"
_SAMTOOLS = "`samtools fastq FILE > reads.fq`"
_SEQRET = "`seqret FILE reads.fa` (EMBOSS) or `any2fasta FILE > reads.fa`"
_VARIANTS = "`bcftools consensus -f genome.fa FILE > sample.fa`, or give the reads"
_GENOME = "it has no sequences of its own: give the FASTA of the genome"
_REGIONS = f"{_GENOME}, or cut the regions out with `bedtools getfasta -fi genome.fa -bed FILE`"
_ALIGNED = "`seqret FILE aligned.fa` (EMBOSS)"
_TABLE = "if it has a column of sequences, `seqkit tab2fx FILE > reads.fa` makes FASTA of ids and sequences"

_CELL = rb"[^\x00-\x1f]+"
# The beginning of a file as a regular expression, in which CELL is a cell of a table; its format; how to convert it to
# FASTA or FASTQ. The first match counts.
_SIGNATURES = [
    # Sequences and alignments, binary
    (rb"BAM\x01", "BAM (alignments)", _SAMTOOLS),
    (rb"CRAM[\x01-\x04]", "CRAM (alignments)", "`samtools fastq --reference genome.fa FILE > reads.fq`"),
    (rb"BCF[\x02\x04]", "BCF (variants)", _VARIANTS),
    (rb"\x89HDF\r\n\x1a\n", "HDF5 (such as FAST5)", "`pod5 convert fast5 FILE`, then `dorado basecaller --emit-fastq`"),
    (rb"\x8bPOD\r\n\x1a\n", "POD5 (raw signals)", "`dorado basecaller --emit-fastq MODEL FILE > reads.fq`"),
    (rb"NCBI\.sra", "an SRA archive", _SRA_TOOLS),
    (rb"\.sff", "SFF (454 reads)", "`sff2fastq FILE > reads.fq` or `seqret sff::FILE fastq::reads.fq` (EMBOSS)"),
    (rb"(\x00{128})?ABIF", "an ABI trace", "`seqret abi::FILE fastq::reads.fq` (EMBOSS)"),
    (rb"\x1a\x41\x27\x43|\x43\x27\x41\x1a", "2bit", "`twoBitToFa FILE genome.fa`"),
    # Archives, and compressions that are not read
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive (or a spreadsheet)", "`unzip FILE`; give what is in it"),
    (rb".{257}ustar", "a tar archive", "`tar -xf FILE`; give what is in it"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "`7z x FILE`; give what is in it"),
    (rb"Rar!\x1a\x07", "a RAR archive", "`unrar x FILE`; give what is in it"),
    (rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18", "compressed with lz4", "`lz4 -d FILE`"),
    (rb"\x1f[\x9d\xa0]", "compressed with Unix compress (.Z)", "`gzip -d FILE`"),
    (rb"LZIP\x01", "compressed with lzip", "`lzip -d FILE`"),
    (rb"\x5d\x00\x00.{2}[\x00-\x7f\xff]", "compressed with LZMA (.lzma)", "`xz -d FILE`"),
    (rb"\x1f\x8b|BZh[1-9]|\xfd7zXZ\x00|\x28\xb5\x2f\xfd", "compressed twice", "decompress it once"),
    # Annotation, variants, tables of places
    (rb"LOCUS {2,}", "GenBank", _SEQRET),
    (rb"ID {3}", "EMBL or Swiss-Prot", _SEQRET),
    (rb"##gff-version", "GFF (annotation)", _GENOME),
    (rb"(#!?(gtf|genome-build|genome-version)|CELL\tCELL\tCELL\t\d+\t\d+\tCELL\t[-+.?]\t[.012]\t)",
     "GFF or GTF (annotation)", _GENOME),
    (rb"##fileformat=VCF", "VCF (variants)", _VARIANTS),
    (rb"CELL\t\d+\t\d+\t\d+\t[-+]\tCELL\t\d+\t\d+\t\d+\t", "PAF (alignments)", "give the reads that were aligned"),
    (rb"(browser |track |CELL\t\d+\t\d+(\t|\r?\n))", "BED (regions)", _REGIONS),
    # Alignments and trees, text
    (rb"@(HD\tVN:|SQ\t(SN|LN|AN):|RG\t(ID|[A-Z]{2}):|PG\tID:|CO\t)", "SAM (alignments)", _SAMTOOLS),
    (rb"CELL\t\d+\tCELL\t\d+\t\d+\t(\*|(\d+[MIDNSHPX=])+)\t", "SAM without a header (alignments)",
     "`samtools view -bt genome.fa.fai FILE | samtools fastq - > reads.fq`, or give the reads that were aligned"),
    (rb"(H\tVN:Z:|S\tCELL\t[A-Za-z*])", "GFA (an assembly graph)",
     "`awk '/^S/ {print \">\" $2 \"\\n\" $3}' FILE > contigs.fa`"),
    (rb"##maf", "MAF (alignments)", "`msaview` or the FASTA that was aligned"),
    (rb"#NEXUS|#nexus", "Nexus", f"{_ALIGNED}; a tree has no sequences"),
    (rb"# STOCKHOLM", "a Stockholm alignment", _ALIGNED),
    (rb"(CLUSTAL|MUSCLE|PROBCONS)\b", "a Clustal alignment", _ALIGNED),
    (rb"\s*\d+[ \t]+\d+[ \tA-Z]*\r?\n", "a PHYLIP alignment", _ALIGNED),
    (rb"\([^;{}\n]*[,)]", "a Newick tree", "it has no sequences: give the FASTA that the tree was made of"),
    (rb"(#[^\n]*\n)+>[^\n]*\n-?\d+ ", "qualities of FASTA (.qual)", "give the FASTA that it belongs to"),
    (rb"(#[^\n]*\n)+>[^\n]*\n[ACGT][0-3.]+\r?\n", "CSFASTA (colours of SOLiD)",
     "map them with a colour-space mapper and give its reads"),
    (rb"(#[^\n]*\n)+>", "FASTA with comments before it", "`grep -v '^#' FILE > reads.fa`"),
    (rb"(;[^\n]*\n)+>", "FASTA with comments before it", "`grep -v '^;' FILE > reads.fa`"),
    # Documents
    (rb"(?i)(<\?xml[^>]*>\s*)?<(!doctype html|html|head)\b", "an HTML page, perhaps an error message of a server",
     "download the file again and look at what comes"),
    (rb"<\?xml", "XML", "download the sequences as FASTA"),
    (rb"\{\\rtf", "RTF, a text processor's file", "save the sequences as plain text"),
    (rb"[\[{]\s*([\"\[{\]}]|-?\d)", "JSON", "take the sequences out of it, or download them as FASTA"),
    (rb"%PDF-", "PDF", "download or save the sequences as plain text"),
    (rb"\xff\xfe|\xfe\xff", "UTF-16 text", "`iconv -f UTF-16 -t UTF-8 FILE > reads.fa`"),
    (rb"version https://git-lfs", "a pointer of Git LFS in place of the file", "`git lfs pull`"),
    (rb"PAR1", "Parquet", "write its column of sequences as FASTA"),
    (rb"[^\x00-\x1f]*\t[^\x00-\x08\x0a-\x1f]*(\r?\n|$)", "a table with tabs between the columns (TSV)", _TABLE),
    (rb"[^,\x00-\x1f]+,[^,\x00-\x1f]+,[^\x00-\x1f]*(\r?\n|$)", "a table with commas between the columns (CSV)", _TABLE),
]  # fmt: skip
_KNOWN = [
    (re.compile(pattern.replace(b"CELL", _CELL), re.DOTALL), name, remedy) for pattern, name, remedy in _SIGNATURES
]
_QUALITIES = "these are qualities (a .qual file): give the FASTA that it belongs to"
_COLOURS = "these are colours (CSFASTA of SOLiD), no bases: map them with a colour-space mapper and give its reads"


def recognise(head: bytes) -> tuple[str, str] | None:
    """Return the format of a file with these first bytes and how to convert it; None if it is unknown.

    >>> recognise(b"CLUSTAL W (1.83) multiple sequence alignment")
    ('a Clustal alignment', '`seqret FILE aligned.fa` (EMBOSS)')
    """
    return next(((name, remedy) for pattern, name, remedy in _KNOWN if pattern.match(head)), None)


def no_sequence(text: bytes) -> str:
    """Return what the text of an entry with a foreign character is, and what to do; "" if it is unknown.

    >>> no_sequence(b"40 40 38 2")
    'these are qualities (a .qual file): give the FASTA that it belongs to'
    """
    if text[:1].isdigit() and not text.translate(None, b"0123456789 -"):
        return _QUALITIES
    if text[:1] in b"ACGTacgt" and not text[1:].translate(None, b"0123."):
        return _COLOURS
    return ""
