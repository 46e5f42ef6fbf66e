"""Cut the example files out of two genomes that Debian packages ship.

    apt-get download bowtie2-examples bowtie-examples
    for package in *.deb; do dpkg -x "$package" unpacked; done
    python examples/make_examples.py unpacked

The cuts are evenly spaced and nothing is filtered. The same packages give the same text; compressed bytes may differ
between zlib releases.
"""

from __future__ import annotations

import argparse
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

RECORD_LENGTHS = (500, 700, 900, 1100, 1300, 1500)  # nt, used in turn
N_RECORDS = 12  # per genome
READ_LENGTH = 150  # nt
N_READS = 20  # per genome
COMPLEMENT = str.maketrans("ACGTRYKMSWBDHVN", "TGCAYRMKSWVHDBN")


@dataclass(frozen=True)
class Genome:
    """A genome, where a package keeps it, and the names of what is cut from it."""

    name: str
    accession: str
    organism: str
    path: str


LAMBDA = Genome(
    name="lambda",
    accession="NC_001416.1",
    organism="Enterobacteria phage lambda",
    path="usr/share/doc/bowtie2/examples/reference/lambda_virus.fa.gz",
)
ECOLI = Genome(
    name="ecoli",
    accession="NC_008253.1",
    organism="Escherichia coli 536",
    path="usr/share/doc/bowtie/examples/genomes/NC_008253.fna.gz",
)


def read_genome(genome: Genome, unpacked: Path) -> str:
    """Return the genome's sequence, upper-case, after checking that the file holds the accession alone."""
    with gzip.open(unpacked / genome.path, "rt", encoding="ascii") as handle:
        header, *lines = handle.read().splitlines()
    if genome.accession not in header or any(line.startswith(">") for line in lines):
        raise SystemExit(f"{genome.path}: expected {genome.accession} alone, found {header!r}")
    return "".join(lines).upper()


def starts(genome_length: int, count: int) -> list[int]:
    """Return `count` evenly spaced 0-based starts, each in the middle of its share of the genome."""
    share = genome_length // count
    return [share * index + share // 2 for index in range(count)]


def format_records(genome: Genome, sequence: str) -> str:
    """Return N_RECORDS records as FASTA, 70 nt a line, named by their 1-based inclusive interval."""
    out = []
    for index, start in enumerate(starts(len(sequence), N_RECORDS)):
        cut = sequence[start : start + RECORD_LENGTHS[index % len(RECORD_LENGTHS)]]
        interval = f"{start + 1}-{start + len(cut)}"
        out.append(f">{genome.name}_{interval} {genome.accession}:{interval} {genome.organism}")
        out.extend(cut[i : i + 70] for i in range(0, len(cut), 70))
    return "\n".join(out) + "\n"


def format_reads(genome: Genome, sequence: str) -> str:
    """Return N_READS reads as FASTQ, plus and minus strand in turn, every quality `I` (no quality was measured)."""
    out = []
    for index, start in enumerate(starts(len(sequence), N_READS)):
        read = sequence[start : start + READ_LENGTH]
        strand = "+" if index % 2 == 0 else "-"
        if strand == "-":
            read = read.translate(COMPLEMENT)[::-1]
        interval = f"{start + 1}-{start + READ_LENGTH}"
        out.append(f"@{genome.name}_{interval}:{strand} {genome.accession}:{interval} strand={strand}")
        out.extend((read, "+", "I" * len(read)))
    return "\n".join(out) + "\n"


def gzip_bytes(text: str) -> bytes:
    """Compress without a name or a time stamp, so that the bytes depend on the text alone."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as handle:
        handle.write(text.encode("ascii"))
    return buffer.getvalue()


def main() -> None:
    """Write lambda.fa, ecoli.fa.gz and reads.fastq.gz beside this script."""
    parser = argparse.ArgumentParser(description="Cut the example files out of the unpacked Debian packages.")
    parser.add_argument("unpacked", type=Path, help="folder into which both packages were unpacked with dpkg -x")
    unpacked = parser.parse_args().unpacked

    here = Path(__file__).resolve().parent
    phage, bacterium = read_genome(LAMBDA, unpacked), read_genome(ECOLI, unpacked)
    (here / "lambda.fa").write_text(format_records(LAMBDA, phage), encoding="ascii")
    (here / "ecoli.fa.gz").write_bytes(gzip_bytes(format_records(ECOLI, bacterium)))
    reads = format_reads(LAMBDA, phage) + format_reads(ECOLI, bacterium)
    (here / "reads.fastq.gz").write_bytes(gzip_bytes(reads))


if __name__ == "__main__":
    main()
