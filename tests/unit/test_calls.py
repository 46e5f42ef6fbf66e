"""Tables of calls of every tool, with the headers that the tools write."""

import gzip
import math
import re

import pytest

from virnucpro.errors import InputError, MissingInputError
from virnucpro.evaluate.tool_calls import read_calls


def written(folder, *rows: str):
    path = folder / "calls.tsv"
    path.write_text("".join("\t".join(row.split()) + "\n" for row in rows), encoding="utf-8")
    return path


def test_ours(tmp_path):
    header = "seq_name length n_chunks n_frames prediction virus_score best_frame status reason"
    path = written(tmp_path, header, "a 500 1 3 virus 0.9 a_1F0 ok NA", "b 40 0 0 NA NA NA too_short short")
    calls = read_calls(path)
    assert (calls.tool, calls.complete) == ("virnucpro", True)
    assert calls.scores == {"a": 0.9, "b": None}
    assert calls.lengths == {"a": 500, "b": 40}


def test_our_names_are_exact(tmp_path):
    path = tmp_path / "calls.tsv"
    path.write_text("seq_name\tvirus_score\na b|provirus_1_2\t0.5\n")
    assert read_calls(path).scores == {"a b|provirus_1_2": 0.5}


def test_genomad_classification(tmp_path):
    calls = read_calls(written(tmp_path, "seq_name chromosome_score plasmid_score virus_score", "a 0.2 0.1 0.7"))
    assert (calls.tool, calls.scores, calls.lengths) == ("geNomad", {"a": 0.7}, {})
    assert calls.complete


def test_genomad_summary_lists_viruses_only_and_a_provirus_speaks_for_its_sequence(tmp_path):
    header = (
        "seq_name length topology coordinates n_genes genetic_code virus_score fdr n_hallmarks "
        "marker_enrichment taxonomy"
    )
    rows = (
        f"{name} 9 linear NA 1 11 {score} NA 0 1.0 Viruses"
        for name, score in (("a|provirus_1_9", 0.71), ("a|provirus_20_29", 0.93), ("b", 0.8))
    )
    calls = read_calls(written(tmp_path, header, *rows))
    assert (calls.tool, calls.complete) == ("geNomad summary", False)
    assert calls.scores == {"a": 0.93, "b": 0.8}


JAEGER = (
    "contig_id length prediction entropy {energy} reliability_score host_contam prophage_contam G+C N% {classes} "
    "window_summary terminal_repeats repeat_length"
)


def test_jaeger_logits_become_shares(tmp_path):
    classes = " ".join(f"#_{c}_windows {c}_score {c}_var" for c in ("bacteria", "phage", "eukarya", "archaea"))
    header = JAEGER.format(energy="", classes=classes)
    row = "a 500 phage 0.3 0.9 False False 0.4 0.0 0 -3.0 0 1 2.5 0 0 0.5 0 0 -800 0 1V LTR 3"
    calls = read_calls(written(tmp_path, header, row))
    share = math.exp(2.5) / (math.exp(2.5) + math.exp(-3.0) + math.exp(0.5))
    assert (calls.tool, calls.complete) == ("Jaeger", False)
    assert calls.scores == {"a": pytest.approx(share)}
    assert calls.lengths == {"a": 500}


def test_jaeger_probabilities_are_shares(tmp_path):
    header = JAEGER.format(energy="energy", classes="bacteria_score phage_score virus_score")
    calls = read_calls(written(tmp_path, header, "a 500 phage 0.3 2.0 0.9 False False 0.4 0.0 0.2 0.5 0.3 1V LTR 3"))
    assert calls.scores == {"a": pytest.approx(0.8)}


def test_jaeger_without_a_viral_class(tmp_path):
    header = JAEGER.format(energy="energy", classes="score var")
    path = written(tmp_path, header, "a 500 phage 0.3 2.0 0.9 False False 0.4 0.0 0.2 0.5 1V LTR 3")
    with pytest.raises(InputError, match="no column phage_score or virus_score"):
        read_calls(path)


def test_deepmicroclass_pieces_are_normalised_and_zeros_are_no_score(tmp_path):
    path = tmp_path / "calls.tsv"
    path.write_text(
        "Sequence Name\tEukaryote\tEukaryoteVirus\tPlasmid\tProkaryote\tProkaryoteVirus\tbest_choice\n"
        "a\t0.1\t0.2\t0.1\t0.5\t0.6\t5\n"
        "b of some phage|x\t0\t0\t0\t0\t0\t\n"
    )
    calls = read_calls(path)
    assert (calls.tool, calls.complete) == ("DeepMicroClass", True)
    assert calls.scores == {"a": pytest.approx(0.8 / 1.5), "b": None}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("name score", "a 1"), r"columns are name, score; known by .* virnucpro \(seq_name, virus_score\)"),
        ((), "columns are none; known by"),
        (("seq_name virus_score", "a 0.1", "a 0.2"), "more than one row for 'a'"),
        (
            ("seq_name virus_score", "a high"),
            "row of 'a' is not what virnucpro writes: virus_score must be a number, got 'high'",
        ),
        (("seq_name virus_score", "a 1.5"), "must lie between 0 and 1, got 1.5"),
        (("seq_name virus_score", "a nan"), "must lie between 0 and 1, got nan"),
        (("seq_name virus_score length", "a 0.5 long"), "length must be a whole number of bases, got 'long'"),
    ],
)
def test_tables_that_are_refused(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read_calls(written(tmp_path, *rows))


def test_a_missing_table(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        read_calls(tmp_path / "calls.tsv")


def test_parts_are_their_sequence_unless_they_are_known_themselves(tmp_path):
    header = "seq_name length virus_score n_hallmarks taxonomy"
    rows = ("a 90 0.5 1 V", "a|provirus_1_9 9 0.7 1 V", "b|provirus_1_700 700 0.8 1 V", "c||full 5 0.9 1 V")
    path = written(tmp_path, header, *rows)
    assert read_calls(path).scores == {"a": 0.7, "b": 0.8, "c||full": 0.9}
    assert read_calls(path).lengths == {"a": 90, "c||full": 5}  # not those of parts
    calls = read_calls(path, {"a", "b|provirus_1_700", "c"})
    assert calls.scores == {"a": 0.7, "b|provirus_1_700": 0.8, "c||full": 0.9}
    assert calls.lengths == {"a": 90, "b|provirus_1_700": 700, "c||full": 5}


def test_only_the_tool_that_adds_a_suffix_loses_it(tmp_path):
    header = JAEGER.format(energy="energy", classes="bacteria_score phage_score")
    path = written(tmp_path, header, "a|provirus_1_9 500 phage 0.3 2.0 0.9 False False 0.4 0.0 0.2 0.8 1V LTR 3")
    assert list(read_calls(path, {"a"}).scores) == ["a|provirus_1_9"]


OURS = "seq_name\tlength\tvirus_score\na\t9\t0.5\nb\t9\tNA\n"


@pytest.mark.parametrize(
    "content",
    [OURS.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + OURS.encode(), gzip.compress(OURS.encode())],
    ids=["CRLF", "byte order mark", "gzip"],
)
def test_other_spellings_of_a_table_are_read(tmp_path, content):
    (tmp_path / "calls").write_bytes(content)
    calls = read_calls(tmp_path / "calls")
    assert (calls.scores, calls.lengths) == ({"a": 0.5, "b": None}, {"a": 9, "b": 9})


DAMAGED = {
    "blank": (OURS.replace("\nb", "\n\nb"), "line 3 is blank"),
    "blank at the end": (OURS + "\n", "line 4 is blank"),
    "cut": (OURS[:-4], "line 3: the row of 'b' has 2 columns, the header has 3"),
    "an id twice": (OURS + "a\t9\t0.1\n", "more than one row for 'a', on lines 2 and 4"),
    "no id": (OURS.replace("\nb", "\n"), "line 3: no id in the column seq_name"),
    "no number": (OURS.replace("0.5", "0.5x"), "line 2: the row of 'a' is not what virnucpro writes: .*'0.5x'"),
    "infinite": (OURS.replace("0.5", "inf"), "line 2: .*must lie between 0 and 1, got inf"),
    "another writing of numbers": (OURS.replace("0.5", "0_5"), "line 2: the row of 'a' is not what virnucpro writes"),
    "length": (OURS.replace("b\t9", "b\t\u0669"), "line 3: length must be a whole number of bases"),
    "a length beyond all": (OURS.replace("b\t9", "b\t" + 5000 * "9"), "line 3: length must be a whole number of bases"),
    "FASTA": (">a\nACGT\n", "line 1: this is FASTA"),
    "NUL": (OURS.replace("0.5", "0.5\0"), "line 2: this is not text"),
    "empty": ("", "is empty: its columns are none"),
    "a report of Kraken2": (" 9.00\t1\t1\tU\t0\tunclassified\n", "is of no known tool"),
    "an output of Kraken2": ("C\ta\t1\t9\t1:5\n", "is of no known tool"),
    "escapes": ("\x1b[31m\tb\n", r"its columns are \\x1b\[31m, b"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_damaged_tables_are_refused_with_their_line(tmp_path, fault):
    text, words = DAMAGED[fault]
    path = tmp_path / "calls.tsv"
    path.write_bytes(text.encode())
    with pytest.raises(InputError) as caught:
        read_calls(path)
    message = str(caught.value)
    assert re.search(words, message), message
    assert message.startswith(str(path))
    assert message.isprintable()


@pytest.mark.parametrize("cell", ["nan", "inf", "-0.1", "1.1", "x", ""])
@pytest.mark.parametrize("column", ["chromosome_score", "plasmid_score", "virus_score"])
def test_each_score_of_genomad_is_a_probability(tmp_path, column, cell):
    names = ["seq_name", "chromosome_score", "plasmid_score", "virus_score"]
    cells = ["a", *(cell if name == column else "0.1" for name in names[1:])]
    (tmp_path / "calls").write_text("\t".join(names) + "\n" + "\t".join(cells) + "\n")
    with pytest.raises(InputError, match=f"line 2: the row of 'a' is not what geNomad writes: {column} must"):
        read_calls(tmp_path / "calls")


@pytest.mark.parametrize(
    ("energy", "scores", "words"),
    [
        ("", "0.1 nan", "phage_score must be finite, got nan"),
        ("", "inf 0.1", "bacteria_score must be finite, got inf"),
        ("energy", "0.1 1.5", "phage_score must lie between 0 and 1, got 1.5"),
        ("energy", "0 0", "all scores are 0"),
    ],
)
def test_scores_of_jaeger_are_checked(tmp_path, energy, scores, words):
    header = JAEGER.format(energy=energy, classes="bacteria_score phage_score")
    row = f"a 500 phage 0.3 {'2.0' if energy else ''} 0.9 False False 0.4 0.0 {scores} 1V LTR 3"
    with pytest.raises(InputError, match=f"line 2: the row of 'a' is not what Jaeger writes: {words}"):
        read_calls(written(tmp_path, header, row))


@pytest.mark.parametrize("cell", ["nan", "inf", "-0.1", "x"])
def test_scores_of_deepmicroclass_are_sums(tmp_path, cell):
    (tmp_path / "calls").write_text(
        "Sequence Name\tEukaryote\tEukaryoteVirus\tPlasmid\tProkaryote\tProkaryoteVirus\n"
        f"a\t2.5\t0\t0\t0\t7\nb\t1\t0\t{cell}\t0\t0\n"
    )
    with pytest.raises(InputError, match="line 3: the row of 'b' is not what DeepMicroClass writes: Plasmid must be"):
        read_calls(tmp_path / "calls")
