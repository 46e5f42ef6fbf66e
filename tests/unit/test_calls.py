"""Tables of calls of every tool, with the headers that the tools write."""

import math

import pytest

from virnucpro.errors import InputError, MissingInputError
from virnucpro.train.calls import read_calls


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
        (("seq_name virus_score", "a high"), "score of 'a' must be a number or NA: .*'high'"),
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
