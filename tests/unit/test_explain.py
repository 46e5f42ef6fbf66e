"""What `explain` says, and what it says of ids that are not there or not unique."""

import json

import pytest
from support.run_directories import write_run

from virnucpro.errors import InputError
from virnucpro.report.explain import explain


def test_a_call_is_explained_with_its_windows_and_frames(tmp_path):
    directory = write_run(tmp_path / "run", [("other", 300, 0.1), ("a", 800, 0.9)], fdr=0.02)
    lines = "\n".join(explain(directory, "a"))
    assert "a: record 2 of the run, 800 nt" in lines
    assert "passed: it is long enough" in lines
    assert "repetitive" not in lines  # this run knows no such filter
    assert "called virus: its score 0.9000 reaches the preset balanced at this length\n" in lines
    assert "  false discovery rate 0.0200, of this record and all with a better score\n" in lines
    assert max(map(len, lines.splitlines())) <= 80
    assert "window 501-800: virus, score 0.9000" in lines
    assert lines.count("    frame ") == 4
    assert lines.count("<- best of the record") == 1
    assert "frame F1:  166 aa, virus score 0.9000, weight 0.5000  <- best" in lines


def test_a_limit_of_fdr_and_the_confidence_are_explained(tmp_path):
    columns = {"confidence": ["medium", "NA"]}
    directory = write_run(tmp_path / "run", [("a", 300, 0.9), ("b", 300, 0.2)], fdr=[0.1, 0.3], columns=columns)
    manifest = json.loads((directory / "run.json").read_text())
    manifest["options"] |= {"preset": None, "max_fdr": 0.2}
    (directory / "run.json").write_text(json.dumps(manifest))
    lines = list(explain(directory, "a"))
    assert "  called virus: its false discovery rate 0.1000 is at most 0.2" in lines
    assert "  confidence medium: FDR at most 0.2" in lines
    lines = list(explain(directory, "b"))
    assert "  called other: its false discovery rate 0.3000 is above 0.2" in lines
    assert not [line for line in lines if "confidence" in line]


def test_a_record_without_a_call_says_which_filter_it_failed(tmp_path):
    lines = list(explain(write_run(tmp_path / "run", [("short", 40, None)]), "short"))
    assert lines == [
        "short: record 1 of the run, 40 nt",
        "  passed: it has a sequence",
        "  failed: too_short: 40 nt, needs 75",
        "  not called",
    ]


def test_of_a_pair_the_read_is_named(tmp_path):
    lines = list(explain(write_run(tmp_path / "run", [("a", 1000, 0.9)], paired=True), "a"))
    assert lines[0] == "a: pair 1 of the run, 1,000 nt"
    windows = [line for line in lines if "window" in line]
    assert windows == [f"  read {mate}, window 1-500: virus, score 0.9000" for mate in (1, 2)]
    assert sum(line.endswith("<- best of the pair") for line in lines) == 1


@pytest.mark.parametrize("spans", [((0, 500), (200, 500)), ((100, 500), (0, 500)), ((100, 400), (200, 500))])
def test_reads_whose_ends_were_trimmed_are_named(tmp_path, spans):
    directory = write_run(tmp_path / "run", [("a", 1000, 0.9)], paired=True)
    head, *rows = (directory / "chunks.tsv").read_text().splitlines()
    rows = [row.replace("\t0\t500\t", f"\t{start}\t{end}\t") for row, (start, end) in zip(rows, spans, strict=True)]
    (directory / "chunks.tsv").write_text("\n".join([head, *rows]) + "\n")
    windows = [line for line in explain(directory, "a") if "window" in line]
    assert windows == [
        f"  read {read}, window {start + 1}-{end}: virus, score 0.9000" for read, (start, end) in enumerate(spans, 1)
    ]


def test_every_record_of_an_id_is_explained(tmp_path):
    directory = write_run(tmp_path / "run", [("twin", 300, 0.9), ("x", 600, 0.4), ("twin", 600, 0.2)])
    lines = list(explain(directory, "twin"))
    assert [line for line in lines if line.startswith("twin")] == [
        "twin: record 1 of the run, 300 nt",
        "twin: record 3 of the run, 600 nt",
    ]
    assert "  called other: its score 0.2000 is below the minimum score of a virus, 0.5" in lines
    assert "    frame F1:   33 aa, virus score 0.2000, weight 0.5000" in lines


def test_an_id_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no record 'b'; an id ends at the first blank"):
        list(explain(write_run(tmp_path / "run", [("a", 300, 0.9)]), "b"))
