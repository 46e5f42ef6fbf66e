"""Verdicts of every known tool, from tables in the columns that each writes, and the figures of agreement."""

import gzip
import re

import pytest

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.evaluate.agreement import compare, read_tables, summary

OURS = (
    "seq_name\tlength\tprediction\tvirus_score\tstatus\n"
    "a\t9\tvirus\t0.9000\tok\n"
    "b\t9\tother\t0.1\tok\n"
    "c\t9\tNA\tNA\tempty\n"
)
GENOMAD = "seq_name\tchromosome_score\tplasmid_score\tvirus_score\na\t0.1\t0.2\t0.7\nb\t0.5\t0.1\t0.4\n"
SUMMARY = "seq_name\tlength\tvirus_score\tn_hallmarks\ttaxonomy\na|provirus_1_9\t9\t0.9\t1\tViruses\n"
JAEGER = "contig_id\tprediction\tentropy\twindow_summary\na some text\tphage\t0.1\t1V\nb\tbacteria\t0.1\t1n\n"
DEEP = (
    "Sequence Name\tEukaryote\tEukaryoteVirus\tPlasmid\tProkaryote\tProkaryoteVirus\n"
    "a\t0.1\t0.2\t0\t0\t0.7\nb\t1\t0\t0\t0\t0\nc\t0\t0\t0\t0\t0\n"
)
VIRSORTER = (
    "seqname\tdsDNAphage\tmax_score\tmax_score_group\tlength\thallmark\n"
    "a||full\t0.9\t0.9\tdsDNAphage\t9\t1\n"
    "b||0_partial\t1\t1\tx\t9\t0\n"
)
KRAKEN = (
    "C\ta\t10760\t150\t10760:5\nU\tb\t0\t150\t0:5\nC\tc\tEscherichia coli (taxid 562)\t150\t562:5\nC\td\t10239\t9\t1\n"
)
REPORT = (
    " 10.00\t1\t1\tU\t0\tunclassified\n 90.00\t9\t0\tR\t1\troot\n 50.00\t5\t0\tD\t10239\t  Viruses\n"
    " 50.00\t5\t5\tS\t10760\t    Escherichia phage T7\n 40.00\t4\t4\tD\t2\t  Bacteria\n"
    " 40.00\t4\t4\tS\t562\t    Escherichia coli\n"
)


# With --report-minimizer-data, and with the numbers of minimizers after the third column.
LONG_REPORT = "".join(
    "\t".join((*cells[:3], "70", "7", *cells[3:])) + "\n"
    for cells in (line.split("\t") for line in REPORT.splitlines())
)
TABLES = {
    "virnucpro": OURS, "geNomad": GENOMAD, "geNomad summary": SUMMARY, "Jaeger": JAEGER, "DeepMicroClass": DEEP,
    "VirSorter2": VIRSORTER, "Kraken2": KRAKEN,
}  # fmt: skip


def written(folder, text, name="table.tsv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    return path


def read_verdicts(path, report=None):
    return read_tables([path], report)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OURS, ("virnucpro", {"a": True, "b": False, "c": None}, False)),
        (
            OURS.replace("other\t0.1\tok", "other\tNA\tscreened"),
            ("virnucpro", {"a": True, "b": False, "c": None}, False),
        ),
        (GENOMAD, ("geNomad", {"a": True, "b": False}, False)),
        (SUMMARY, ("geNomad", {"a": True}, True)),
        (JAEGER, ("Jaeger", {"a": True, "b": False}, False)),
        (DEEP, ("DeepMicroClass", {"a": True, "b": False, "c": None}, False)),
        (VIRSORTER, ("VirSorter2", {"a": True, "b": True}, True)),
        (KRAKEN, ("Kraken2", {"a": True, "b": False, "c": False, "d": True}, False)),
    ],
    ids=[
        "virnucpro",
        "virnucpro, screened",
        "geNomad",
        "geNomad summary",
        "Jaeger",
        "DeepMicroClass",
        "VirSorter2",
        "Kraken2",
    ],
)
def test_the_verdicts_of_every_tool(tmp_path, text, expected):
    assert read_verdicts(written(tmp_path, text), written(tmp_path, REPORT, "report")) == expected


def test_agreement_and_who_calls_alone(tmp_path):
    mine = {"a": True, "b": True, "c": False, "d": False, "e": None}
    other = {"a": True, "c": True, "d": False}
    tools, calls = compare([("x", mine, False), ("x", other, False), ("lists", {"b": True}, True)])
    assert tools == ["x", "x#2", "lists"]
    assert calls["b"] == [True, None, True]
    assert calls["e"] == [None, None, False]
    lines = [line.split("\t") for line in summary(tools, calls)]
    assert lines[1:4] == [["x", "4", "2", "0"], ["x#2", "3", "2", "1"], ["lists", "5", "1", "0"]]
    # Of a, c, d: both 1, only the second 1, neither 1; agreement 2/3, by chance (1*2 + 2*1)/9.
    assert lines[6] == ["x", "x#2", "1", "0", "1", "1", "0.6667", "0.4000"]
    assert lines[8] == ["x#2", "lists", "0", "2", "0", "1", "0.3333", "0.0000"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--kraken-report"):
        read_verdicts(written(tmp_path, KRAKEN))
    with pytest.raises(InputError, match=r"is of no known tool: its columns are a, b"):
        read_verdicts(written(tmp_path, "a\tb\n1\t2\n"))
    with pytest.raises(InputError, match="the row of 'a' is not what geNomad writes"):
        read_verdicts(written(tmp_path, GENOMAD.replace("0.7", "x")))
    with pytest.raises(MissingInputError, match=r"[Nn]o such file"):
        read_verdicts(tmp_path / "nothing")


def joined(folder, *texts):
    """Return the calls of several tables."""
    paths = [written(folder, text, f"{number}.tsv") for number, text in enumerate(texts)]
    return compare(read_tables(paths, written(folder, REPORT, "report")))[1]


def ours(*names):
    return "seq_name\tprediction\tvirus_score\tstatus\n" + "".join(f"{name}\tvirus\t0.9\tok\n" for name in names)


PARTS = ("ctg_1||full", "ctg_1||0_partial", "ctg_2|provirus_1_700", "plain")


@pytest.mark.parametrize("tool", [tool for tool in TABLES if tool != "virnucpro"])
def test_ids_that_look_like_parts_join_on_both_sides_alike(tmp_path, tool):
    """Every tool was given the same sequences, whose ids come from VirSorter2 and geNomad."""
    if tool == "Kraken2":
        text = "".join(f"C\t{name}\t10760\t150\t10760:5\n" for name in PARTS)
    else:
        lines = TABLES[tool].splitlines(keepends=True)
        cells = lines[1].split("\t")[1:]
        text = lines[0] + "".join("\t".join((name, *cells)) for name in PARTS)
    calls = joined(tmp_path, ours(*PARTS), text)
    assert calls == {name: [True, True] for name in PARTS}
    calls = joined(tmp_path, text, ours(*PARTS))
    assert calls == {name: [True, True] for name in PARTS}


def test_a_suffix_that_the_tool_added_is_left_out_where_the_whole_id_has_no_partner(tmp_path):
    summary_of = SUMMARY.splitlines()[0] + "\n" + "".join(
        f"{name}\t9\t0.9\t1\tViruses\n" for name in ("a|provirus_1_9", "b||full|provirus_5_90", "c")
    )  # fmt: skip
    mine = ours("a", "b||full", "c", "d||full")
    assert joined(tmp_path, mine, summary_of) == {
        "a": [True, True], "b||full": [True, True], "c": [True, True], "d||full": [True, False],
    }  # fmt: skip
    head = VIRSORTER.splitlines()[0] + "\n"
    parts = head + "".join(f"{name}\t0.9\t0.9\tx\t9\t1\n" for name in ("a||full", "b||full||0_partial", "e||lt2gene"))
    assert joined(tmp_path, mine, parts) == {
        "a": [True, True], "b||full": [True, True], "c": [True, False], "d||full": [True, False],
        "e": [None, True],
    }  # fmt: skip
    # Two tools that both add to the ids of the same sequences.
    both = joined(tmp_path, parts, summary_of)
    assert both["a"] == both["b||full"] == [True, True]
    # Jaeger adds nothing.
    assert joined(tmp_path, ours("a"), JAEGER.replace("a some", "a||full some"))["a||full"] == [None, True]


def test_several_parts_of_a_sequence_are_one(tmp_path):
    head = GENOMAD.splitlines()[0] + "\n"
    parts = "a|provirus_1_9\t0.9\t0\t0.1\na|provirus_20_90\t0.1\t0\t0.9\n"
    assert joined(tmp_path, ours("a"), head + parts) == {"a": [True, True]}


def test_an_id_ends_at_the_first_blank_and_at_no_other_character(tmp_path):
    name = "a\u00a0b\u2003c\x1cd\udcff"
    text = JAEGER.replace("a some text", f"{name} some text")
    assert joined(tmp_path, ours(name), text)[name] == [True, True]


@pytest.mark.parametrize("tool", TABLES)
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode() if not text.startswith("C\t") else text.encode(),
        lambda text: gzip.compress(text.encode()),
        lambda text: text.rstrip("\n").encode(),
    ],
    ids=["CRLF", "byte order mark", "gzip", "no end of the last line"],
)
def test_other_spellings_of_a_table_are_read(tmp_path, tool, change):
    report = written(tmp_path, change(REPORT), "report")
    expected = read_verdicts(written(tmp_path, TABLES[tool]), written(tmp_path, REPORT, "plain"))
    assert read_verdicts(written(tmp_path, change(TABLES[tool])), report) == expected


def lines_of(text):
    return text.splitlines(keepends=True)


def last_line(text, line):
    return "".join(lines_of(text)[:-1]) + line


# What befalls a file, and the words that name it; LINE is the number of the last line.
DAMAGE = {
    "blank line": (lambda t: last_line(t, "\n" + lines_of(t)[-1]), r"line LINE is blank"),
    "blank line at the end": (lambda t: t + "\n", r"line NEXT is blank"),
    "line of blanks": (lambda t: t + "  \t \r\n", r"line NEXT is blank"),
    "cut": (lambda t: t.rstrip("\n").rpartition("\t")[0], r"line LINE.* has \d columns?"),
    "cut in the id": (lambda t: last_line(t, lines_of(t)[-1][:1]), r"line LINE.* has 1 column[,;]"),
    "a cell more": (lambda t: t.rstrip("\n") + "\tx\n", r"line LINE.* has \d+ columns"),
    "an id twice": (lambda t: t + lines_of(t)[-1], r"more than one row for '.*', on lines LINE and NEXT"),
    "NUL": (lambda t: t.rstrip("\n") + "\0\n", r"line LINE: this is not text"),
    "UTF-16": (lambda t: t.encode("utf-16"), r"line 1: this is not text"),
    "CR": (lambda t: t.replace("\n", "\r"), r"line 1: a CR within the line; convert"),
    "half of a gzip": (lambda t: gzip.compress(t.encode())[:-9], "cannot be read as a table"),
    "a damaged gzip": (lambda t: gzip.compress(t.encode())[:12] + b"\xff" * 40, "cannot be read as a table"),
    "FASTA": (lambda t: ">a\nACGT\n", "line 1: this is FASTA; expected a table"),
    "empty": (lambda t: "", "is empty: its columns are none; known by their columns are"),
    "any text": (
        lambda t: "See the notes.\n\nAll\tis\twell.\n",
        "is of no known tool: its columns are See the notes.;",
    ),
    "other columns": (lambda t: "a\tb\x1b[31m\n1\t2\n", r"is of no known tool: its columns are a, b\\x1b\[31m;"),
}


def refused(folder, text, words, report=REPORT):
    """Check that a table is refused in one line."""
    path = written(folder, text)
    with pytest.raises(InputError) as caught:
        read_verdicts(path, written(folder, report, "report"))
    message = str(caught.value)
    assert caught.value.exit_code == 65
    assert re.search(words, message), message
    assert message.isprintable(), "one line, without control characters"
    assert str(path) in message


@pytest.mark.parametrize("tool", TABLES)
@pytest.mark.parametrize("fault", DAMAGE)
def test_a_damaged_table_is_refused_with_its_line(tmp_path, tool, fault):
    change, words = DAMAGE[fault]
    text, number = TABLES[tool], len(lines_of(TABLES[tool]))
    refused(tmp_path, change(text), words.replace("LINE", str(number)).replace("NEXT", str(number + 1)))


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e999", "-0.1", "0,7", "1_0", "\u0661", "", " 0.7", "x\x1b"])
@pytest.mark.parametrize("tool", ["virnucpro", "geNomad", "geNomad summary", "DeepMicroClass", "VirSorter2"])
def test_a_score_that_is_none_is_refused(tmp_path, tool, cell):
    column = {"DeepMicroClass": "ProkaryoteVirus", "VirSorter2": "max_score"}.get(tool, "virus_score")
    if (tool, cell) == ("VirSorter2", "nan"):
        return  # VirSorter2 writes it
    rows = [line.split("\t") for line in TABLES[tool].splitlines()]
    rows[1][rows[0].index(column)] = cell
    name = re.escape(rows[1][0])
    text = "".join("\t".join(row) + "\n" for row in rows)
    refused(tmp_path, text, rf"line 2: the row of '{name}' is not what {tool.split()[0]} writes: {column} must ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GENOMAD.replace("0.7", "1.0001"), "virus_score must lie between 0 and 1, got 1.0001"),
        (GENOMAD.replace("a\t0.1", "a\tNA"), "line 2: .*chromosome_score must be a number, got 'NA'"),
        (OURS.replace("other", "host"), "line 3: .*prediction must be virus, other or NA, got 'host'"),
        (OURS.replace("virus\t0.9000", "NA\t0.9000"), "line 2: .*expected NA in both"),
        (OURS.replace("virus\t0.9000", "virus\tNA"), "line 2: .*expected NA in both"),
        (OURS.replace("virus\t0.9000\tok", "virus\tNA\tscreened"), "line 2: .*expected NA in both"),
        (OURS.replace("other\t0.1", "other\tNA"), "line 3: .*expected NA in both"),
        (OURS.replace("\nb", "\n"), "line 3: no id in the column seq_name"),
        (OURS.replace("length", "status"), "line 1: two columns are named 'status'"),
        (SUMMARY.replace("\t1\tV", "\tx\tV"), "n_hallmarks must be a number, got 'x'"),
        (JAEGER.replace("phage\t0.1", "phage\tnan"), "line 2: .*entropy must be 0 or more|entropy must be"),
        (JAEGER.replace("bacteria", " "), "line 3: .*prediction is empty"),
        (VIRSORTER.replace("x\t9\t0", "x\t9\tnan"), "line 3: .*hallmark must be"),
    ],
    ids=range(13),
)
def test_cells_that_the_tool_does_not_write(tmp_path, text, words):
    refused(tmp_path, text, words)


def test_virsorter_has_no_score_of_a_sequence_with_few_genes(tmp_path):
    text = VIRSORTER.replace("b||0_partial\t1\t1", "b||lt2gene\tnan\tnan")
    assert read_verdicts(written(tmp_path, text))[1] == {"a": True, "b": True}


@pytest.mark.parametrize("report", [REPORT, LONG_REPORT], ids=["six columns", "eight columns"])
def test_reports_of_kraken(tmp_path, report):
    text = KRAKEN.replace("150", "150|149").replace("\nU", "\nU")
    verdicts = read_verdicts(written(tmp_path, text), written(tmp_path, report, "report"))[1]
    assert verdicts == {"a": True, "b": False, "c": False, "d": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (KRAKEN.replace("U\tb\t0", "U\tb\t562"), "line 2: U with taxid 562; expected U and 0"),
        (KRAKEN.replace("C\td\t10239", "C\td\t0"), "line 4: C with taxid 0"),
        (KRAKEN.replace("C\td\t10239", "C\td\t9606"), "line 4: taxid 9606 is not in .*report; give the report of the"),
        (KRAKEN.replace("C\td\t10239", "C\td\tVirus"), "line 4: expected C or U, a taxid and a length .*'Virus'"),
        (KRAKEN.replace("C\td", "X\td"), "line 4: expected C or U"),
        (KRAKEN.replace("\t9\t1", "\t9.5\t1"), "line 4: expected C or U, a taxid and a length .*'9.5'"),
        (KRAKEN.replace("C\td", "C\t "), "line 4: no id in column 2"),
        (KRAKEN[:8], "line 1 has 3 columns; expected the five of Kraken2's output"),
    ],
    ids=range(8),
)
def test_outputs_that_are_not_of_kraken(tmp_path, text, words):
    refused(tmp_path, text, words)


MPA = "d__Bacteria\t12\nd__Viruses\t12\nd__Viruses|s__Escherichia phage T7\t12\n"
BRACKEN = (
    "name\ttaxonomy_id\ttaxonomy_lvl\tkraken_assigned_reads\tadded_reads\tnew_est_reads\tfraction_total_reads\n"
    "Escherichia phage T7\t10760\tS\t5\t0\t5\t0.5\n"
)
UNIQ = (
    "# KrakenUniq v1.0\n%\treads\ttaxReads\tkmers\tdup\tcov\ttaxID\trank\ttaxName\n"
    "100\t5\t0\t5\t1\t0.1\t1\tno rank\troot\n"
)
REPORTS = {
    "mpa": (MPA, "line 1: this is a report of --use-mpa-style"),
    "Bracken": (BRACKEN, "line 1: this is a table of Bracken"),
    "KrakenUniq": (UNIQ, "line 1: this is a report of KrakenUniq"),
    "KrakenUniq without comments": (UNIQ.partition("\n")[2], "line 1: this is a report of KrakenUniq"),
    "the output": (KRAKEN, "line 1: this is an output of Kraken2"),
    "FASTA": (">a\nACGT\n", "line 1: this is FASTA"),
    "our table": (OURS, "line 1: 5 columns"),
    "seven columns": (re.sub("\t(?=[A-Z]\t)", "\t1\t", REPORT), "line 1: 7 columns"),
    "empty": ("", "is empty; expected a report of Kraken2"),
    "blank": (REPORT.replace("\n 90", "\n\n 90"), "line 2 is blank"),
    "blank at the end": (REPORT + "\n", "line 7 is blank"),
    "cut": (REPORT[:-25], "line 6: 5 columns, line 1 has 6|line 6: [1-5] columns"),
    "share": (REPORT.replace(" 50.00\t5\t0", "150.00\t5\t0"), "line 3: '150.00' in column 1"),
    "no number": (REPORT.replace(" 10.00", "nan"), "line 1: 'nan' in column 1"),
    "count": (REPORT.replace("\t9\t0", "\t9\t-1"), "line 2: '-1' among the counts"),
    "rank": (REPORT.replace("\tD\t2\t", "\tdomain\t2\t"), "line 5: no rank, taxid and name"),
    "taxid": (REPORT.replace("\t562\t", "\tE. coli\t"), "line 6: no rank, taxid and name"),
    "no name": (REPORT.replace("Escherichia coli", ""), "line 6: no rank, taxid and name"),
    "names without their blanks": (re.sub("\t +", "\t", REPORT), "line 3: 'Viruses' is not indented"),
    "a parent that is missing": (REPORT.replace(lines_of(REPORT)[2], ""), "indented by 4 under 0: a line above it"),
    "a taxon twice": (REPORT + lines_of(REPORT)[-1], "line 7: taxid 562"),
    "binary": (REPORT.replace("root", "ro\0t"), "line 2: this is not text"),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_reports_that_are_not_of_kraken(tmp_path, kind):
    text, words = REPORTS[kind]
    path = written(tmp_path, text, "report")
    with pytest.raises(InputError) as caught:
        read_verdicts(written(tmp_path, KRAKEN), path)
    message = str(caught.value)
    assert re.search(words, message), message
    assert message.startswith(str(path))
    assert message.isprintable()


def test_a_report_that_is_missing(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        read_verdicts(written(tmp_path, KRAKEN), tmp_path / "nothing")


def test_the_command_says_it_in_one_line(tmp_path, call):
    mine, kraken, mpa = (written(tmp_path, text, name) for text, name in ((OURS, "o"), (KRAKEN, "k"), (MPA, "mpa")))
    report = written(tmp_path, REPORT, "report")
    assert call(["compare", str(mine), str(kraken), "--kraken-report", str(report)]) == (0, "")
    code, said = call(["compare", str(mine), str(kraken), "--kraken-report", str(mpa)])
    assert (code, len(said.splitlines())) == (65, 1)
    assert said.startswith(f"virnucpro: error: {mpa}: line 1: this is a report of --use-mpa-style")
    cut = written(tmp_path, KRAKEN[:-8], "cut")
    code, said = call(["compare", str(mine), str(cut), "--kraken-report", str(report), "-o", str(tmp_path / "all.tsv")])
    assert (code, len(said.splitlines())) == (65, 1)
    assert said.startswith(f"virnucpro: error: {cut}: line 4 has ")
    assert not (tmp_path / "all.tsv").exists()
