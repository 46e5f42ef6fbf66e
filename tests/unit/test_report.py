"""The report's numbers against the tables, hostile names, and what it says of broken runs. No browser here."""

import json
import re
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup
from support.report_pages import HOSTILE, Reader, page
from support.run_directories import random_records, write_run

from virnucpro.errors import InputError, MissingInputError
from virnucpro.report.counts import SCORE_BINS
from virnucpro.report.entries import BINS, iter_entries, second_mate
from virnucpro.report.html import Table, environment
from virnucpro.report.load import LONG_RECORDS, TOP_HITS, read_run
from virnucpro.report.multiqc import calls
from virnucpro.report.origin import plain_command
from virnucpro.report.write import write_report


def test_counts_and_histogram_are_those_of_the_table(tmp_path):
    records = random_records(3000)
    run = read_run(write_run(tmp_path / "run", records))
    viral = [row for row in records if row[2] is not None and round(row[2], 4) >= 0.5]
    assert run.records == 3000
    assert run.count("virus") == len(viral)
    assert run.count("NA") == sum(row[2] is None for row in records)
    assert sum(run.outcomes.values()) == 3000
    assert run.reasons["too_short", "… nt, needs 75"] == sum(row[1] == 40 for row in records)
    assert run.counts.histogram.sum() == run.count("virus") + run.count("other")
    assert run.counts.histogram[..., 1].sum() == len(viral)
    assert run.counts.histogram[1].sum() == sum(150 <= row[1] < 300 for row in records)
    top = [row for row in records if row[1] == 100 and row[2] is not None and round(row[2], 4) >= 0.95]
    assert run.counts.histogram[0, SCORE_BINS - 1].sum() == len(top)


def test_hits_are_the_best_and_in_order(tmp_path):
    records = random_records(3000)
    run = read_run(write_run(tmp_path / "run", records))
    scored = [(round(s, 4), n, -i) for i, (_, n, s) in enumerate(records) if s is not None and round(s, 4) >= 0.5]
    expected = [f"read_{-i}" for _, _, i in sorted(scored, reverse=True)[:TOP_HITS]]
    assert [entry.name for entry in run.hits] == expected
    longest = sorted(((n, -i) for i, (_, n, s) in enumerate(records) if n == 30_000), reverse=True)[:LONG_RECORDS]
    assert [-entry.index for entry in run.long] == [i for _, i in longest]


def test_tracks_are_drawn_from_the_rows_of_the_record_itself(tmp_path):
    """Three records of one id: only the place of their rows tells them apart."""
    records = [("same", 500, 0.9), ("same", 40, None), ("same", 1500, 0.7), ("same", 2500, 0.2)]
    run = read_run(write_run(tmp_path / "run", records))
    first, second = run.hits
    assert (first.index, second.index) == (0, 2)
    np.testing.assert_allclose(first.track, 0.9, atol=1e-4)
    np.testing.assert_allclose(second.track, 0.7, atol=1e-4)
    (long,) = run.long
    assert (long.index, long.viral_chunks) == (3, 0)
    np.testing.assert_allclose(long.track, 0.2, atol=1e-4)


def test_a_track_has_the_scores_of_the_windows(tmp_path):
    directory = write_run(tmp_path / "run", [("before", 1000, 0.9), ("mixed", 2000, 0.9)])
    with_cells(directory, 6, ["0.9000", "0.9000", "0.1000", "NA", "1.0000", "0.3000"])
    mixed = next(entry for entry in read_run(directory).hits if entry.name == "mixed")
    expected = np.repeat([0.1, np.nan, 1, 0.3], BINS // 4)
    np.testing.assert_allclose(mixed.track, expected)
    drawn = Reader(page(directory)).tags
    scores = [given["data-scores"] for tag, given in drawn if given.get("class") == "track"]
    assert "10" * 25 + "--" * 25 + "99" * 25 + "30" * 25 in scores
    assert any(given.get("aria-label") == "score along the record: 0.10 to 1.00" for _, given in drawn)


def test_a_long_record_that_is_a_hit_is_drawn_in_both_places(tmp_path):
    """The longest and the best records overlap: of 580 hits all 20 long ones are among the 500 best."""
    contigs = [(f"contig_{i}", 500 * (4 + i), 0.7 + i / 100) for i in range(LONG_RECORDS)]
    reads = [(f"read_{i}", 400, 0.6) for i in range(560)]
    directory = write_run(tmp_path / "run", contigs + reads)
    run = read_run(directory)
    assert [entry.name for entry in run.long] == [name for name, _, _ in reversed(contigs)]
    hits = {entry.name: entry for entry in run.hits}
    assert len(hits) == TOP_HITS
    for entry, (name, _, score) in zip(run.long, reversed(contigs), strict=True):
        assert hits[name] is entry
        np.testing.assert_allclose(entry.track, score, atol=1e-4)
        assert entry.viral_chunks == int(entry.row["n_chunks"])
    made = Reader(page(directory))
    drawings = [given["aria-label"] for tag, given in made.tags if tag == "svg" and given["class"] == "strip"]
    assert len(drawings) == 2 * LONG_RECORDS  # the reads have one window each
    assert drawings[0] == "score along the record: 0.89 to 0.89"


def with_cells(directory: Path, column: int, cells: list[str]) -> Path:
    """Set a column of chunks.tsv."""
    head, *rows = (directory / "chunks.tsv").read_text().splitlines()
    fields = [row.split("\t") for row in rows]
    for row, cell in zip(fields, cells, strict=True):
        row[column] = cell
    (directory / "chunks.tsv").write_text("\n".join([head, *map("\t".join, fields)]) + "\n")
    return directory


def with_spans(directory: Path, spans: list[tuple[int, int]]) -> Path:
    """Set start and end of the chunks of a run."""
    for column in (0, 1):
        with_cells(directory, 2 + column, [str(span[column]) for span in spans])
    return directory


@pytest.mark.parametrize(
    ("spans", "drawn"),
    [
        ([(0, 500), (0, 500)], [(0, 1000)]),
        ([(0, 500), (200, 500)], [(0, 500), (700, 1000)]),
        ([(100, 500), (0, 500)], [(100, 1000)]),
        ([(0, 300), (0, 500)], [(0, 300), (500, 1000)]),
        ([(0, 300), (100, 400)], [(0, 300), (600, 900)]),
        ([(0, 0), (0, 1000)], [(0, 1000)]),
        ([(0, 1000), (0, 0)], [(0, 1000)]),
    ],
    ids=["whole", "head of 2", "head of 1", "tail of 1", "tail of 1 and both ends of 2", "no 1", "no 2"],
)
def test_the_second_mate_of_a_pair_follows_the_first(tmp_path, spans, drawn):
    directory = with_spans(write_run(tmp_path / "run", [("pair", 1000, 0.8)], paired=True), spans)
    inside = np.zeros(BINS, np.bool_)
    for start, end in drawn:
        inside[start * BINS // 1000 : end * BINS // 1000] = True
    np.testing.assert_allclose(read_run(directory).hits[0].track, np.where(inside, 0.8, np.nan), atol=1e-4)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([(0, 150)], [(0, 150)]),
        ([(0, 150)], [(50, 150)]),
        ([(20, 150)], [(0, 150)]),
        ([(0, 70)], [(75, 150)]),
        ([(0, 0)], [(0, 150)]),
        ([(0, 100), (160, 250)], [(170, 250)]),
        ([(0, 100), (160, 250)], [(10, 100), (160, 250)]),
        ([(10, 250)], [(30, 100), (160, 250)]),
        ([(0, 500), (400, 900)], [(450, 900)]),
        ([(0, 500), (400, 900)], [(0, 500), (400, 900)]),
    ],
)
def test_the_reads_of_a_pair_are_distinguished_by_their_chunks(first, second):
    assert second_mate([*first, *second]) == len(first)


def test_pieces_of_a_record_are_drawn_where_they_stand(tmp_path):
    directory = with_spans(write_run(tmp_path / "run", [("cut", 1000, 0.8)]), [(100, 300), (500, 1000)])
    inside = np.zeros(BINS, np.bool_)
    inside[10:30] = inside[50:100] = True
    np.testing.assert_allclose(read_run(directory).hits[0].track, np.where(inside, 0.8, np.nan), atol=1e-4)


def test_names_are_text_whatever_they_are(tmp_path):
    plain = Reader(page(write_run(tmp_path / "plain", [("a", 300, 0.9), ("b", 3000, 0.9)] * len(HOSTILE))))
    names = [(name, length, 0.9) for name in HOSTILE for length in (300, 3000)]
    made = page(write_run(tmp_path / "hostile", names))
    hostile = Reader(made)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert {name for _, given in hostile.tags for name in given} == {
        name for _, given in plain.tags for name in given
    } | {"title"}
    assert "<script>alert(1)</script>" in hostile.text
    assert "{{ 7*7 }}{% raw %}" in hostile.text
    assert r"\u202egnp.exe" in hostile.text
    assert r"na\xefve\xff" in hostile.text
    assert r"nul\x00esc\x1b[31m" in hostile.text
    assert "x" * 81 not in hostile.text
    assert not re.search("[\x00-\x08\x1b\u202e]", made)


@pytest.mark.parametrize(
    ("name", "shown", "sample"),
    [
        ("na\udcefve.fq", r"na\xefve.fq", "na_ve"),
        ("half\ud800.fq", r"half\ud800.fq", "half_"),
        ("\x1b[31m\u202e.fq", r"\x1b[31m\u202e.fq", "_[31m_"),
    ],
    ids=["no UTF-8", "half of a character", "escapes"],
)
def test_an_input_of_any_name_has_a_report(tmp_path, name, shown, sample):
    directory = write_run(tmp_path / "run", [("a", 300, 0.9)], sample=None)
    manifest = json.loads((directory / "run.json").read_text())
    manifest["inputs"][0]["path"] = f"/data/{name}"
    (directory / "run.json").write_text(json.dumps(manifest))
    text = Reader(page(directory)).text
    assert f"Viral sequences in {sample}\n" in text
    assert f"report · {shown}\n" in text
    data = json.loads((directory / "virnucpro_mqc.json").read_text(encoding="utf-8"))["data"]
    assert data == {sample: {"virus": 1, "other": 0}}


def test_markup_is_escaped_unless_it_is_markup():
    made = environment().from_string('<a href="{{ text }}">{{ text }}{{ markup }}{{ 0 }}</a>')
    assert made.render(text="<'\"\x1b", markup=Markup("<b>&amp;</b>")) == (
        r'<a href="&lt;&#39;&#34;\x1b">&lt;&#39;&#34;\x1b<b>&amp;</b>0</a>'
    )
    with pytest.raises(UndefinedError, match="'texts' is undefined"):
        environment().from_string("{{ texts }}").render(text="")


def test_the_page_asks_for_nothing_and_allows_no_script_but_its_own(tmp_path):
    made = page(write_run(tmp_path / "run", random_records(50)))
    reader = Reader(made)
    policy = next(given["content"] for tag, given in reader.tags if given.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not [tag for tag, _ in reader.tags if tag in ("link", "img", "iframe", "object", "embed")]
    assert not [name for _, given in reader.tags for name in given if name in ("src", "style") or name.startswith("on")]
    assert {given["href"] for tag, given in reader.tags if tag == "a" and not given["href"].startswith("#")} == {
        "https://doi.org/10.1093/bib/bbaf224"
    }


def test_tables_have_captions_and_heads_and_drawings_words(tmp_path):
    reader = Reader(page(write_run(tmp_path / "run", random_records(50))))
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("table") == tags.count("caption") >= 6
    assert all(given.get("scope") in ("col", "row") for tag, given in reader.tags if tag == "th")
    assert all(given["role"] == "img" and given["aria-label"] for tag, given in reader.tags if tag == "svg")
    ids = [given["id"] for _, given in reader.tags if "id" in given]
    assert len(ids) == len(set(ids))
    assert {given["href"][1:] for tag, given in reader.tags if tag == "a" and given["href"].startswith("#")} <= set(ids)
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(b - a for a, b in pairwise(levels)) <= 1


def test_expected_false_calls_are_shown_if_the_run_has_them(tmp_path):
    records = [("a", 300, 0.9)] * 40 + [("b", 300, 0.1)] * 60
    text = Reader(page(write_run(tmp_path / "with", records, fdr=0.05))).text
    assert "Expect at most about 2 of the 40 viral calls to be false" in text
    assert "12.50% of the records with a score are viral" in text
    assert "The preset balanced decides" in text
    without = Reader(page(write_run(tmp_path / "without", records))).text
    assert "the model of this run is not calibrated" in without
    assert "A record with a virus score of 0.5 or more is called virus" in without
    none = Reader(page(write_run(tmp_path / "none", records[40:], fdr=0.05))).text
    assert "may still contain viruses" in none


def test_an_empty_run_has_a_page(tmp_path):
    directory = write_run(tmp_path / "run", [])
    assert "there is nothing to call" in Reader(page(directory)).text
    assert json.loads((directory / "virnucpro_mqc.json").read_text())["data"] == {"reads": {"virus": 0, "other": 0}}


def test_a_single_record_without_a_score_has_a_page(tmp_path):
    text = Reader(page(write_run(tmp_path / "run", [("short", 40, None)]))).text
    assert "Of 1 record, 0 look viral, 0 do not, and 1 could not be called" in text
    assert "… nt, needs 75" in text


def test_memory_does_not_grow_with_the_records(tmp_path):
    peaks = []
    for number in (45_000, 135_000):
        directory = write_run(tmp_path / str(number), [("r", 150, 0.3), ("s", 600, 0.8)] * (number // 2))
        tracemalloc.start()
        read_run(directory)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks


def test_the_rows_of_the_table_come_back(tmp_path):
    records = random_records(200)
    entries = list(iter_entries(write_run(tmp_path / "run", records)))
    assert [(entry.name, entry.length) for entry in entries] == [(name, length) for name, length, _ in records]


def lose(directory: Path, name: str) -> None:
    (directory / name).unlink()


def change(directory: Path, name: str, before: str, after: str) -> None:
    path = directory / name
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))


BROKEN = {
    "no run": (lambda d: lose(d, "run.json"), MissingInputError, "holds no run"),
    "no table": (lambda d: lose(d, "chunks.tsv"), MissingInputError, "chunks.tsv cannot be read: No such file"),
    "running": (lambda d: change(d, "run.json", "complete", "running"), InputError, "--resume"),
    "not JSON": (lambda d: change(d, "run.json", "{", "["), InputError, "is not what `virnucpro predict` writes"),
    "lost row": (lambda d: change(d, "records.tsv", "b\t3", "c\t3\tx\nb\t3"), InputError, "records.tsv: line 3"),
    "one row more": (lambda d: change(d, "run.json", '"ok": 2', '"ok": 3'), InputError, "has 2 rows"),
    "no share": (lambda d: change(d, "records.tsv", "0.9000", "9.0000"), InputError, "neither NA nor a number in 0..1"),
    "no number": (
        lambda d: change(d, "records.tsv", "0.9000", "high"),
        InputError,
        "records.tsv has a virus_score that",
    ),
    "other chunks": (lambda d: change(d, "chunks.tsv", "\ta\t", "\tq\t"), InputError, "the tables are not of one run"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_run_is_refused(tmp_path, fault):
    breaks, error, message = BROKEN[fault]
    directory = write_run(tmp_path / "run", [("a", 300, 0.9), ("b", 300, 0.8)])
    breaks(directory)
    with pytest.raises(error, match=re.escape(message)):
        write_report(directory)
    assert not (directory / "report.html").exists()


def test_the_report_of_an_older_run_has_a_name(tmp_path):
    """Its run.json has none; that of the input or the directory takes its place."""
    for source, name in (("/x/s1.fastq.gz", "s1"), ("/x/reads.fa", "soil")):
        run = read_run(write_run(tmp_path / name / "soil", [], source=source, sample=None))
        assert run.manifest.sample == name
        assert list(calls(run)["data"]) == [name]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["virnucpro", "--json-log", "predict", "d/a.fa", "-o", "x"], "virnucpro predict a.fa"),
        (["v", "predict", "-", "--output=x", "--preset", "strict", "-ox"], "virnucpro predict - --preset strict"),
        (
            ["v", "predict", "a", "-o", "x", "--resume", "--device", "cuda:1", "--no-packing"],
            "virnucpro predict a --no-packing",
        ),
        ([], "called from Python"),
    ],
)
def test_the_command_without_what_changes_nothing(words, shown):
    assert plain_command(words) == shown


def test_pairs_are_called_pairs(tmp_path):
    text = Reader(page(write_run(tmp_path / "run", [("a", 3000, 0.9), ("b", 1000, 0.1)], fdr=0.1, paired=True))).text
    assert "Of 2 pairs, 1 looks viral, 1 does not" in text
    assert "Pairs by result and status" in text
    assert "Read 2 of a pair is drawn to the right of read 1" in text
    assert "or run with --preset strict" in text


def test_a_column_of_numbers_aligns_right(tmp_path):
    rows = [("1", "5.9%", "a", "none"), ("2", "10%", "b", "0.7954")]
    assert Table("t", ["name", "share", "word", "least"], rows).numeric == [False, True, False, True]
    made = Reader(page(write_run(tmp_path / "run", [("a", 300, 0.9), ("b", 3000, 0.2)]))).tags
    begin = next(
        i for i, (_, given) in enumerate(made) if given.get("aria-label") == "Records with a score, by length."
    )
    cells = [(tag, given.get("class")) for tag, given in made[begin:] if tag in ("th", "td")][:18]
    assert [tag for tag, _ in cells] == ["th"] * 6 + 2 * ["th", *["td"] * 5]
    assert [kind for _, kind in cells] == 3 * [None, *["n"] * 5]
