"""The command scan with --annotation: genes in the report, the same regions, and errors before the work."""

from pathlib import Path

import pytest
from support.commands import run

from virnucpro.seq import read_records

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def phage():
    return b"".join(record.sequence for record in read_records([EXAMPLES / "lambda.fa"]))[:6000]


def annotated(tmp_path, phage, gff):
    (tmp_path / "in.fa").write_bytes(b">one plasmid\n%s\n>two\n%s\n" % (phage, phage))
    (tmp_path / "in.gff3").write_text("##gff-version 3\n" + gff)
    out = tmp_path / "out"
    return out, ["scan", str(tmp_path / "in.fa"), "-o", str(out), "--annotation", str(tmp_path / "in.gff3")]


GENE = "one\tx\tCDS\t301\t900\t.\t+\t0\tID=c1;gene=nu1;product=terminase <b>small</b> subunit\n"


def test_the_command_shows_genes_and_the_same_regions(tmp_path, phage):
    out, command = annotated(tmp_path, phage, GENE)
    assert run(*command, "--plots", "svg") == 0
    page = (out / "report.html").read_text()
    assert "Genes are from in.gff3." in page
    assert "nu1 · terminase &lt;b&gt;small&lt;/b&gt; subunit · 301–900 (+)" in page
    assert "6,000 nt, circular, GC" in page  # by its header
    assert 'class="gc"' in page  # of the record without annotation
    assert b"terminase" in (out / "record_00001.svg").read_bytes()
    tables = {path.name: path.read_bytes() for path in out.iterdir() if path.name.startswith(("regions", "scores"))}
    assert sorted(tables) == ["regions.bed", "regions.fasta", "regions.gff3", "regions.tsv", "scores.bedgraph"]
    assert tables["regions.fasta"].startswith(b">one region_1 1-6000/6000\n" + phage[:60] + b"\n")
    assert run(*command[:4], "--restart", "--topology", "linear", "--plots", "none") == 0
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "report.html"} == tables
    page = (out / "report.html").read_text()
    assert "nu1" not in page
    assert "circular, GC" not in page


@pytest.mark.parametrize(
    ("gff", "code", "words"),
    [
        (GENE.replace("one", "chr1"), 65, "has chr1; the input has one, two; use the same ids in both files"),
        (GENE.replace("900", "6001"), 65, "reaches to 6,001 nt, but this record has 6,000 nt"),
        (
            GENE.replace("\t+", "\tplus"),
            65,
            "in.gff3: line 2: the strand (column 7) must be +, -, . or ?, found 'plus'",
        ),
    ],
    ids=["ids", "length", "line"],
)
def test_an_annotation_that_does_not_fit_ends_the_command_before_the_work(tmp_path, phage, capsys, gff, code, words):
    out, command = annotated(tmp_path, phage, gff)
    assert run(*command) == code
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_an_annotation_is_not_replaced_and_a_pipe_is_refused(tmp_path, phage, capsys):
    out, command = annotated(tmp_path, phage, GENE)
    out.mkdir()
    (tmp_path / "in.gff3").rename(out / "regions.gff3")
    (tmp_path / "in.gff3").symlink_to(out / "regions.gff3")
    assert run(*command, "--restart") == 2
    assert "in.gff3 is an input and would be replaced" in capsys.readouterr().err
    assert GENE in (out / "regions.gff3").read_text()
    assert run("scan", "-", *command[2:], "--restart") == 2
    assert "--annotation needs input files" in capsys.readouterr().err
    assert run(*command[:5], "absent.gff") == 66


def test_a_report_that_cannot_be_written_costs_no_table(tmp_path, phage, capsys):
    """The disk refuses the report: a directory has its name."""
    out, command = annotated(tmp_path, phage, GENE)
    (out / "report.html").mkdir(parents=True)
    assert run(*command, "--restart", "--plots", "none") == 1
    assert "report.html cannot be written" in capsys.readouterr().err
    assert len((out / "regions.tsv").read_text().splitlines()) == 3
