"""The figures' data against the tables, hits' sequences, columns of other versions, and the size of the page."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from support.report_pages import HOSTILE, Reader, page
from support.run_directories import fragment, random_records, write_run

from virnucpro.errors import InputError
from virnucpro.report import charts, hit_sequences
from virnucpro.report.counts import CONTIG, GRID_SCORES
from virnucpro.report.figures import MAX_FILES, expected_fdr, figure_data
from virnucpro.report.load import TOP_HITS, Share, read_run
from virnucpro.report.multiqc import calls as multiqc
from virnucpro.report.page import PAGE_SIZE, render

ROOT = Path(__file__).parents[2]
LIMIT = 1_500_000  # bytes of a page


def ranked(number: int) -> tuple[list[tuple[str, int, float]], list[float]]:
    """Return records in descending order of their scores, and the share of others to expect up to each."""
    scores = np.linspace(0.9999, 0.0001, number)
    fdr = np.cumsum(1 - scores) / np.arange(1, number + 1)
    return [(f"read_{i}", 300, float(score)) for i, score in enumerate(scores)], fdr.tolist()


def test_bases_are_counted_by_prediction(tmp_path):
    run = read_run(write_run(tmp_path / "run", [("a", 300, 0.9), ("b", 500, 0.8), ("c", 700, 0.1), ("d", 40, None)]))
    assert dict(run.counts.bases) == {"virus": 800, "other": 700, "NA": 40}
    text = Reader(render(run)).text
    assert "50.0% of records · 800 nt, 51.9% of bases" in text
    assert "25.0% of records · 40 nt, 2.6% of bases" in text


def test_the_curve_says_how_many_records_have_at_most_a_rate(tmp_path):
    records, fdr = ranked(4000)
    run = read_run(write_run(tmp_path / "run", records[::-1], fdr=fdr[::-1]))
    found = expected_fdr(run)
    shown = np.round(fdr, 4)
    for number, rate in found["points"]:
        assert number == (shown <= rate).sum()
    assert found["chosen"] == [2000, pytest.approx(shown[1999])]
    assert found["upper"]
    assert 100 <= len(found["points"]) <= 150
    assert found["points"][-1][0] == 4000


def test_the_curve_ends_where_the_hits_are_still_seen(tmp_path):
    records, fdr = ranked(4000)
    lower = [(name, nt, score / 2.01) for name, nt, score in records[100:]]
    run = read_run(write_run(tmp_path / "run", records[:100] + lower, fdr=fdr))
    found = expected_fdr(run)
    assert found["chosen"][0] == 100
    assert 400 <= found["points"][-1][0] < 420


def test_one_hit_is_spoken_of_in_the_singular(tmp_path):
    directory = write_run(tmp_path / "run", [("a", 300, 0.9)], fdr=0.03)
    made = Reader(page(directory))
    text = " ".join(made.text.split())
    assert "The viral call may be false: its false discovery rate (FDR) is 3.00%, estimated from all scores" in text
    assert "300–499 nt: 1 record, 1 virus" in text
    assert "fdr" not in figure_data(read_run(directory))  # one point is no curve


def test_the_rate_of_the_sample_is_that_of_its_posteriors(tmp_path):
    records = [("a", 300, 0.9), ("b", 300, 0.8), ("c", 300, 0.2), ("d", 40, None)]
    columns = {"sample_score": ["0.9500", "0.7500", "0.0100", "NA"]}
    run = read_run(write_run(tmp_path / "run", records, fdr=[0.05, 0.2, 0.4, 0], columns=columns))
    assert run.fdr == pytest.approx(0.15)
    assert expected_fdr(run) == {"points": [[1, 0.05], [2, 0.2], [3, 0.4]], "chosen": [2, 0.15], "upper": False}
    assert "Expect about 1 of the 2 viral calls to be false: a share of 15.00%" in " ".join(
        Reader(render(run)).text.split()
    )


def test_every_contig_is_in_the_grid(tmp_path):
    records = random_records(3000)
    run = read_run(write_run(tmp_path / "run", records))
    found = figure_data(run)["contigs"]
    expected: dict[tuple[int, int], int] = {}
    for _, nt, score in records:
        if nt >= CONTIG and score is not None:
            column = max(i for i, bound in enumerate(found["lengths"]) if bound <= nt)
            place = column, min(int(round(score, 4) * GRID_SCORES), GRID_SCORES - 1)
            expected[place] = expected.get(place, 0) + 1
    assert {(column, row): other + virus for column, row, other, virus in found["cells"]} == expected
    assert found["lengths"][0] == CONTIG
    assert found["lengths"][-2] <= 30_000 < found["lengths"][-1]


@pytest.mark.parametrize("nt", [1000, 10**9, 3 * 10**9])
def test_the_grid_holds_any_length(tmp_path, nt):
    directory = write_run(tmp_path / "run", [("a", 300, 0.9)])
    for name in ("records.tsv", "chunks.tsv"):
        text = (directory / name).read_text()
        (directory / name).write_text(text.replace("\t300\t", f"\t{nt}\t"))
    found = figure_data(read_run(directory))["contigs"]
    assert [cell[2:] for cell in found["cells"]] == [[0, 1]]
    assert found["lengths"][-1] > nt
    assert "<svg" in charts.draw("contigs", found)


def test_files_are_counted_if_there_are_several(tmp_path):
    records = [("a", 300, 0.9), ("b", 300, 0.2), ("c", 40, None), ("d", 300, 0.1)]
    run = read_run(write_run(tmp_path / "run", records, columns={"file": ["x.fq", "y.fq", "x.fq", "x.fq"]}))
    assert figure_data(run)["files"] == [["x.fq", 1, 1, 1], ["y.fq", 1, 0, 0]]
    assert "x.fq: 3 records, 33.3% virus" in Reader(render(run)).text
    one = read_run(write_run(tmp_path / "one", records, columns={"file": ["x.fq"] * 4}))
    assert "files" not in figure_data(one)


def test_many_files_are_one_bar_after_the_largest(tmp_path):
    number = MAX_FILES + 7
    records = [(f"{i}_{j}", 300, 0.9) for i in range(number) for j in range(1 + (i >= 7))]
    files = [f"file_{name.split('_')[0]}" for name, _, _ in records]
    found = figure_data(read_run(write_run(tmp_path / "run", records, columns={"file": files})))["files"]
    assert [row[0] for row in found] == [f"file_{i}" for i in range(7, number)] + ["7 more files"]
    assert sum(sum(row[1:]) for row in found) == len(records)


def test_the_composition_is_shown_if_there_is_one(tmp_path):
    run = read_run(write_run(tmp_path / "run", [("a", 300, 0.9), ("b", 300, 0.1)]))
    assert 'id="figure-composition"' not in render(run)
    run.composition = [Share("virus", 0.2, 0.1, 0.3), Share("bacteria", 0.8, 0.7, 0.9)]
    made = Reader(render(run))
    assert "figure-composition" in {given.get("id") for _, given in made.tags}
    assert "estimated composition: virus 20.0%, bacteria 80.0%" in {given.get("aria-label") for _, given in made.tags}
    assert figure_data(run)["composition"] == [["virus", 0.2, 0.1, 0.3], ["bacteria", 0.8, 0.7, 0.9]]


@pytest.mark.parametrize("limit", [0.5, 0.123456789, 1e-07])
def test_the_minimum_score_is_shown_with_all_its_digits(tmp_path, limit):
    directory = write_run(tmp_path / "run", [("a", 300, 0.9), ("b", 300, 0.2)])
    manifest = json.loads((directory / "run.json").read_text())
    manifest["options"]["min_score"] = limit
    (directory / "run.json").write_text(json.dumps(manifest))
    run = read_run(directory)
    assert figure_data(run)["calls"]["threshold"] == limit
    text = Reader(render(run)).text
    assert f"A record with a virus score of {limit!r} or more is called virus." in text
    assert f"none: the minimum score is {limit!r}" in text


def test_a_preset_shows_the_scores_on_both_sides_of_each_limit(tmp_path):
    records = [("a", 200, 0.91), ("b", 200, 0.62), ("c", 200, 0.31), ("d", 2000, 0.2), ("e", 2000, 0.41)]
    run = read_run(write_run(tmp_path / "run", records, fdr=0.1))
    short, long = figure_data(run)["calls"]["classes"]
    assert (short["lowest"], long["lowest"], figure_data(run)["calls"]["threshold"]) == (0.62, None, None)
    rows = re.sub(r"\s+", " ", Reader(render(run)).text)
    assert "150–299 nt 3 2 66.7% 0.6200 0.3100" in rows
    assert "1,000–4,999 nt 2 0 0.0% none 0.4100" in rows


def test_viral_calls_are_counted_by_confidence(tmp_path):
    records = [("a", 300, 0.9), ("b", 300, 0.8), ("c", 300, 0.7), ("d", 300, 0.2), ("e", 40, None)]
    columns = {"confidence": ["high", "medium", "high", "NA", "NA"]}
    run = read_run(write_run(tmp_path / "run", records, fdr=[0.01, 0.1, 0.02, 0.5, 0.9], columns=columns))
    assert run.counts.confidence == {"high": 2, "medium": 1}
    text = re.sub(r"\s+", " ", Reader(render(run)).text)
    assert "2 high (FDR at most 0.05), 1 medium (FDR at most 0.2), 0 low (FDR above 0.2)" in text
    (counts,) = multiqc(run)["data"].values()
    assert counts == {
        "virus, high confidence": 2, "virus, medium confidence": 1, "virus, low confidence": 0, "other": 1,
        "too_short": 1,
    }  # fmt: skip
    without = read_run(write_run(tmp_path / "without", records))
    assert "high (FDR" not in Reader(render(without)).text
    (counts,) = multiqc(without)["data"].values()
    assert counts == {"virus": 3, "other": 1, "too_short": 1}


def test_columns_of_other_versions(tmp_path):
    records = [("a", 300, 0.9), ("b", 300, 0.2)]
    columns = {"sample_score": ["0.8800", "0.1000"], "host_class": ["plant", "plant"], "novel": ["<b>", "x"]}
    made = Reader(page(write_run(tmp_path / "new", records, fdr=0.1, columns=columns)))
    heads = [given["data-column"] for tag, given in made.tags if tag == "th" and "data-column" in given]
    assert heads == ["seq_name", "length", "virus_score", "sample_score", "fdr", "host_class"]
    assert "0.8800" in made.text
    old = Reader(page(write_run(tmp_path / "old", records)))
    heads = [given["data-column"] for tag, given in old.tags if tag == "th" and "data-column" in given]
    assert heads == ["seq_name", "length", "virus_score"]


def fasta_of(directory: Path) -> dict[str, str | None]:
    """Return the sequence of each hit of the page."""
    made = Reader(page(directory))
    rows = [given for tag, given in made.tags if tag == "tr"]
    return {str(given["data-fasta"]).split()[0][1:]: given["data-fasta"] for given in rows if "data-fasta" in given}


def test_hits_have_their_sequences(tmp_path):
    records = [("a", 300, 0.9), ("b", 400, 0.2), ("c", 40, None), ("d", 610, 0.7), ("e", 90, 0.8)]
    found = fasta_of(write_run(tmp_path / "run", records, sequences=True))
    assert found == {name: f">{name} of a test\n{fragment(nt)}" for name, nt in (("a", 300), ("e", 90), ("d", 610))}


def test_both_mates_of_a_pair_have_their_sequences(tmp_path):
    records = [("a", 400, 0.2), ("b", 300, 0.9)]
    found = fasta_of(write_run(tmp_path / "run", records, paired=True, sequences=True))
    assert found == {"b/1": f">b/1 of a test\n{fragment(150)}>b/2 of a test\n{fragment(150)}"}


def test_long_and_many_sequences_are_left_out(tmp_path):
    most = hit_sequences.MAX_SEQUENCE
    sizes = [most + 1, *[most] * (hit_sequences.MAX_SEQUENCES // most + 1), 300]
    records = [(f"r{i}", nt, 0.9 - i / 1000) for i, nt in enumerate(sizes)]
    found = fasta_of(write_run(tmp_path / "run", records, sequences=True))
    assert list(found) == [f"r{i}" for i in range(1, len(sizes) - 2)] + [f"r{len(sizes) - 1}"]
    assert sum(len(text or "") for text in found.values()) <= 1.01 * hit_sequences.MAX_SEQUENCES


def test_without_the_fasta_files_there_are_no_sequences(tmp_path):
    assert fasta_of(write_run(tmp_path / "run", [("a", 300, 0.9)])) == {}


def test_sequences_of_another_run_are_refused(tmp_path):
    directory = write_run(tmp_path / "run", [("a", 300, 0.9), ("b", 300, 0.8)], sequences=True)
    (directory / "viral.fasta").write_text(">a\nACGT\n>c x\nACGT\n")
    with pytest.raises(InputError, match=r"has 'c' as record 2 where records\.tsv has the hit 'b'"):
        page(directory)
    (directory / "viral.fasta").write_text(">a\nACGT\n")
    with pytest.raises(InputError, match="has '' as record 2"):
        page(directory)


def test_hostile_descriptions_files_and_classes_are_text(tmp_path):
    names = [name for name in HOSTILE if " " not in name]
    records = [(f"r{i}", 300, 0.9) for i in range(len(names))]
    directory = write_run(tmp_path / "run", records, columns={"file": names, "host_class": names})
    plain = write_run(
        tmp_path / "plain", records, columns={"file": [*"abcdefghi"][: len(names)], "host_class": ["x"] * len(names)}
    )
    text = "".join(f">r{i} {name}\nACGT\n" for i, name in enumerate(names))
    (directory / "viral.fasta").write_text(text, encoding="utf-8", errors="surrogateescape")
    (plain / "viral.fasta").write_text("".join(f">r{i} d\nACGT\n" for i in range(len(names))))
    made = page(directory)
    assert [tag for tag, _ in Reader(made).tags] == [tag for tag, _ in Reader(page(plain)).tags]
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', made)
    assert data
    assert not set("<>&") & set(data[1])
    assert json.loads(data[1])["files"][0][0] == "<script>alert(1)</script>"


def noisy_windows(directory: Path) -> Path:
    """Give each window a random score, so that no two neighbours are alike."""
    chance = random.Random(3)
    head, *rows = (directory / "chunks.tsv").read_text().splitlines()
    cells = [row.split("\t") for row in rows]
    lines = ["\t".join([*row[:6], f"{chance.random():.4f}", *row[7:]]) for row in cells]
    (directory / "chunks.tsv").write_text("\n".join([head, *lines]) + "\n")
    return directory


def test_the_page_of_many_records_stays_small(tmp_path):
    directory = write_run(tmp_path / "run", random_records(100_000), fdr=0.03, sequences=True)
    made = page(directory)
    assert len(made.encode()) < LIMIT
    assert made.count("<tr data-fasta=") + made.count('<tr><th scope="row"><bdi>read_') >= TOP_HITS


def test_the_page_of_long_contigs_has_all_hits(tmp_path):
    contigs = [(f"NODE_{i}_length_{nt}_cov_12.3456", nt, 0.9) for i, nt in enumerate([60_000] * 470 + [8000] * 30)]
    made = page(noisy_windows(write_run(tmp_path / "run", contigs, fdr=0.03, sequences=True)))
    assert len(made.encode()) < LIMIT
    assert made[: made.index('id="long"')].count('class="track"') == TOP_HITS


def test_the_page_has_fewer_hits_where_they_are_large(tmp_path):
    names = [("&" * 400 + str(i), 55_000, 0.9) for i in range(TOP_HITS)]
    made = page(noisy_windows(write_run(tmp_path / "run", names, fdr=0.03)))
    assert LIMIT / 2 < len(made.encode()) < LIMIT
    assert f"The {TOP_HITS // 2} hits with the highest scores, of {TOP_HITS}" in made


def test_a_long_header_leaves_room_for_other_sequences(tmp_path):
    directory = write_run(tmp_path / "run", [("a", 300, 0.9), ("b", 300, 0.8)])
    (directory / "viral.fasta").write_text(f">a {'<' * hit_sequences.MAX_SEQUENCES}\nACGT\n>b\nACGT\n")
    assert fasta_of(directory) == {"b": ">b\nACGT\n"}


def test_the_first_hits_are_shown_without_scripts(tmp_path):
    made = page(write_run(tmp_path / "run", [(f"r{i}", 300, 0.9) for i in range(60)]))
    bodies = re.findall(r"<tbody(.*?)>(.*?)</tbody>", made[made.index('id="hits"') :], re.DOTALL)
    assert [(bool("hidden" in given), rows.count("<tr")) for given, rows in bodies[:2]] == [
        (False, PAGE_SIZE),
        (True, 60 - PAGE_SIZE),
    ]
    assert f"Without scripts, only the first {PAGE_SIZE} are shown" in made


def test_every_figure_has_a_static_drawing(tmp_path):
    records, fdr = ranked(200)
    records += [("contig", 3000, 0.9), ("last", 40, None)]
    files = ["a", "b"] * 101
    run = read_run(write_run(tmp_path / "run", records, fdr=[*fdr, 0.1, 0.1], columns={"file": files}))
    run.composition = [Share("virus", 0.5, 0.4, 0.6)]
    made = render(run)
    for name in ("calls", "fdr", "contigs", "files", "composition"):
        figure = re.search(f'<figure id="figure-{name}".*?</figure>', made, re.DOTALL)
        assert figure
        assert figure[0].count("<svg") == 1
        assert len(re.findall(r"<(?:rect|path|circle) [^>]*(?:fill|stroke)=\"#", figure[0])) >= 2
        assert not re.search("nan|inf", re.sub("<figcaption.*</figcaption>", "", figure[0], flags=re.DOTALL))


def test_a_bar_is_as_high_as_its_records_are_many():
    data = {"bins": 2, "threshold": 0.5, "classes": [{"name": "x", "other": [40, 10], "virus": [0, 10], "lowest": 0.5}]}
    drawn = charts.draw("calls", data)
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)" class="(\w+)"', drawn)
    assert bars == [("0.5", "14", "112", "other"), ("180.5", "98", "28", "other"), ("180.5", "70", "28", "virus")]
    assert "M180 14L180 126" in drawn  # the limit


def test_the_plotting_library_is_the_one_of_the_lock():
    text = (ROOT / "virnucpro/report/plot.js").read_text(encoding="utf-8")
    lock = json.loads((ROOT / "tools/plot/package-lock.json").read_text())["packages"]
    notice = text[: text.index("*/")]
    named = re.findall(r"^(?:@?[\w/-]+ \d[\w.]*(?:, |$))+", notice, re.MULTILINE)
    packages = dict(one.rsplit(" ", 1) for line in named for one in line.split(", "))
    assert {"@observablehq/plot", "d3-scale", "d3-shape"} <= packages.keys()
    assert packages == {name: lock[f"node_modules/{name}"]["version"] for name in packages}
    assert len(re.findall("Permission to use, copy, modify", notice)) >= 2
    for forbidden in ("eval(", "new Function", "XMLHttpRequest", "fetch(", "</script", "import("):
        assert forbidden not in text
