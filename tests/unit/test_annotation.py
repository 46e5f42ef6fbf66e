"""Annotation: genes of GFF3 and GenBank files, faulty lines, ids and lengths that must be those of the input."""

import bz2
import gzip
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.seq.annotation import annotation_of, read_annotation
from virnucpro.seq.feature import Feature

GFF = """##gff-version 3.1.26
#!processor somebody
##sequence-region chr%3B1 1 900

chr%3B1\tRefSeq\tregion\t1\t900\t.\t+\t.\tID=chr;Is_circular=true
chr%3B1\tRefSeq\tgene\t190\t255\t.\t+\t.\tID=gene-1;Name=thrL;gene=thrL
chr%3B1\tRefSeq\tCDS\t190\t255\t.\t+\t0\tID=cds-1;Name=NP_1.1;gene=thrL;product=thr operon%2C leader
chr%3B1\tRefSeq\ttRNA\t20\t95\t.\t-\t.\tID=rna-2;locus_tag=b0002;product=tRNA-Arg
chr%3B1\tRefSeq\texon\t20\t95\t.\t-\t.\tID=exon-2
other\tProdigal\tCDS\t5\t90\t1.5\t?\t0\tID=2_1;partial=00;function=tail
genes_only\tx\tgene\t1\t9\t.\t.\t.\t.
##FASTA
>chr;1
ACGT
"""
GENBANK = """LOCUS       NC_1                 900 bp    DNA     circular PHG 01-JAN-2026
DEFINITION  A phage.
ACCESSION   NC_1 REGION: 1..900
VERSION     NC_1.2
FEATURES             Location/Qualifiers
     source          1..900
                     /note="a quote "" and /product="
     gene            complement(<20..95)
                     /gene="int"
     CDS             complement(<20..95)
                     /gene="int"
                     /product="integrase of
                     /a family "" with
                     slashes"
                     /product="second"
                     /codon_start=1
     CDS             join(880..900,
                     1..12,J00194.1:100..202)
                     /locus_tag="N_2"
     misc_feature    not a place
ORIGIN
        1 acgt
//

LOCUS       two                  30 bp    DNA     linear   UNK
FEATURES             Location/Qualifiers
     gene            7
//
"""


def written(tmp_path, text, name="genes.txt", form=bytes):
    path = tmp_path / name
    path.write_bytes(form(text if isinstance(text, bytes) else text.encode()))
    return path


@pytest.mark.parametrize("form", [bytes, gzip.compress, bz2.compress], ids=["plain", "gz", "bz2"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_gff3(tmp_path, form, ends):
    found = read_annotation(os.fspath(written(tmp_path, GFF.replace("\n", ends), form=form)))
    assert found.ids == ["chr;1", "other", "genes_only"]
    chromosome = found.find("chr;1")
    assert chromosome.circular
    assert chromosome.features == [
        Feature(19, 95, -1, "tRNA", "b0002", "tRNA-Arg"),
        Feature(189, 255, 1, "CDS", "thrL", "thr operon, leader"),
    ]
    assert found.find("other").features == [Feature(4, 90, 0, "CDS", "2_1", "", "tail")]
    assert found.find("genes_only").features == [Feature(0, 9, 0, "gene")]
    assert found.find("absent") is None


@pytest.mark.parametrize("form", [bytes, gzip.compress], ids=["plain", "gz"])
def test_genbank(tmp_path, form):
    found = read_annotation(os.fspath(written(tmp_path, GENBANK, form=form)))
    assert found.ids == ["NC_1.2", "two"]
    phage = found.find("NC_1.2")
    assert phage is found.find("NC_1")
    assert (phage.circular, phage.length) == (True, 900)
    assert phage.features == [
        Feature(0, 12, 1, "CDS", "N_2"),
        Feature(19, 95, -1, "CDS", "int", 'integrase of /a family " with slashes'),
        Feature(879, 900, 1, "CDS", "N_2"),
    ]
    assert not found.find("two").circular
    assert found.find("two").features == [Feature(6, 7, 1, "gene")]


HEAD = "##gff-version 3\n"
CDS = "a\tx\tCDS\t1\t9\t.\t+\t0\tID=1\n"
RECORD = "LOCUS       a 30 bp DNA linear\nFEATURES             Location/Qualifiers\n     CDS             {}\n//\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "a\tx\tCDS\t1\t9\t.\t+\t0\n", "line 2: a feature has 9 columns with tabs between them, found 8"),
        (HEAD + CDS + "a x CDS 1 9 . + 0 ID=1\n", "line 3: a feature has 9 columns with tabs between them, found 1"),
        (HEAD + CDS.replace("\t9", "\t0"), "line 2: start and end"),
        (HEAD + CDS.replace("\t1", "\t0"), "found '0', '9'"),
        (HEAD + CDS.replace("\t1", "\t10"), "found '10', '9'"), (HEAD + CDS.replace("\t9", "\t9.0"), "'9.0'"),
        (HEAD + CDS.replace("\t9", "\t" + "9" * 400), "start and end"), (HEAD + CDS.replace("\t9", "\t-9"), "'-9'"),
        (HEAD + CDS.replace("+", "plus"), "line 2: the strand (column 7) must be +, -, . or ?, found 'plus'"),
        (HEAD + CDS.replace("a\t", "\t"), "sequence id (column 1) is missing"),
        ("##gff-version 2\n" + CDS, "line 1: expected ##gff-version 3, found '##gff-version 2'"),
        (HEAD + "#" * (1 << 20) + "\n", "line 2: a line of 1,048,576 bytes or more"),
        (CDS, "neither GFF3 nor GenBank but"), (">a\nACGT\n", "a file that begins with '>a"), ("", "but empty"),
        ("a\t1\t9\n", "BED"), ("\x1b[31m<script>", "'\\x1b[31m<script>'"),
        (RECORD.format("5..9")[:-3], "the record a has no end (//)"),
        (RECORD.format("9..5"), "line 3: '9..5' is not a location of a CDS"),
        (RECORD.format("join(1..2"), "'join(1..2' is not a location"), (RECORD.format("1..2)"), "not a location"),
        (RECORD.format("<script>"), "'<script>' is not a location"), (RECORD.format(""), "'' is not a location"),
        (RECORD.format("0..5"), "not a location"), (RECORD.format("1..2") + "x\n", "line 5: expected a LOCUS line"),
        ("LOCUS       a DNA linear\n//\n", "line 1: expected a LOCUS line with name and length"),
        (gzip.compress(GFF.encode())[:-9], "damaged or truncated gz data"),
    ],
    ids=range(27),
)  # fmt: skip
def test_faults_are_named(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        read_annotation(os.fspath(path))
    assert str(error.value).startswith(str(path))


def test_a_long_qualifier_and_many_ids_stay_short(tmp_path):
    line = '                     /product="' + "x" * 900_000 + '"\n'
    path = written(tmp_path, RECORD.format("1..9").replace("//", line + "//"))
    (gene,) = read_annotation(os.fspath(path)).find("a").features
    assert gene.product == "x" * 200


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "in.fa").write_text(">a\nACGT\n")
    with pytest.raises(MissingInputError, match="check the path of --annotation"):
        annotation_of(tmp_path / "absent.gff", [os.fspath(tmp_path / "in.fa")])
    with pytest.raises(InputError, match="Is a directory"):
        read_annotation(os.fspath(tmp_path))


def test_ids_and_lengths_must_be_those_of_the_input(tmp_path):
    inputs = [os.fspath(written(tmp_path, ">chr1 text\n" + "A" * 300 + "\n>chr2\nACGT\n", "in.fa"))]

    def of(text):
        return annotation_of(written(tmp_path, HEAD + text), inputs)

    many = "".join(CDS.replace("a\t", f"seq{i}\t", 1) for i in range(9))
    with pytest.raises(InputError) as error:
        of(many)
    assert "none of its sequence ids is an id of the input; it has seq0, seq1, seq2, seq3, seq4, ...;" in str(
        error.value
    )
    assert "the input has chr1, chr2; use the same ids in both files" in str(error.value)
    assert of(many + CDS.replace("a\t", "chr1\t", 1)).find("chr1").features
    late = CDS.replace("a\t", "chr1\t", 1).replace("\t9", "\t301")
    with pytest.raises(InputError, match="annotation of chr1 reaches to 301 nt, but this record has 300 nt"):
        of(late)
    circular = "chr1\tx\tregion\t1\t300\t.\t+\t.\tIs_circular=true\n"
    assert of(circular + late).find("chr1").circular  # a gene across the origin
    with pytest.raises(InputError, match="annotation of chr1 reaches to 30 nt"):
        annotation_of(written(tmp_path, RECORD.format("1..9").replace(" a ", " chr1 ")), inputs)
    (tmp_path / "in.fa").write_text("")
    assert of(CDS).ids == ["a"]  # an empty input has no ids that could differ


def test_a_pipe_cannot_be_read_twice(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("-", os.fspath(tmp_path / "pipe")):
        with pytest.raises(ConfigError, match="is a pipe: write it to a file") as error:
            annotation_of(written(tmp_path, GFF), [name])
        assert error.value.fields == ("annotation",)


LETTERS = st.sampled_from(["", "\t", "\n", "%", '"', "(", "/", "//\n", "9"]) | st.text(max_size=8)
EDITS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), LETTERS), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.sampled_from([GFF, GENBANK]), edits=EDITS, tail=st.binary(max_size=9))
def test_a_damaged_file_is_read_or_refused(tmp_path, text, edits, tail):
    """Whatever is in the file: genes with places that make sense, or an error of ours."""
    for place, length, letters in edits:
        text = text[:place] + letters + text[place + length :]
    path = written(tmp_path, text.encode("utf-8", "surrogatepass") + tail)
    try:
        found = read_annotation(os.fspath(path))
    except InputError:
        return
    for name in found.ids:
        for gene in found.find(name).features:
            assert 0 <= gene.start < gene.end
            assert gene.strand in (-1, 0, 1)
            assert max(map(len, (gene.name, gene.product, gene.role))) <= 200
