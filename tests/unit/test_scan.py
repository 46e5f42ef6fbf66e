"""Scans: windows, files, figures, and a phage's genes found between a bacterium's."""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from support.commands import run

from virnucpro._optional import OptionalPackage
from virnucpro.errors import ConfigError
from virnucpro.pipeline.regions import Region, kmer_divergence
from virnucpro.report.scan_figures import draw_figure
from virnucpro.report.tracks import record_view
from virnucpro.run.scan import Numbering, ScanFiles, Scanner, ScanSettings, Track, window_bounds, window_starts
from virnucpro.seq import read_records
from virnucpro.types import Record

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("length", [0, 1, 499, 500, 501, 750, 1100, 10_007])
def test_windows_cover_the_record(length):
    starts = window_starts(length, 500, 250)
    bounds = window_bounds(starts, length, 500)
    assert len(bounds) == len(starts) + 1
    assert (bounds[0], bounds[-1]) == (0, length)
    assert bounds == sorted(set(bounds))
    covered = np.zeros(length, bool)
    for start in starts:
        assert start + 500 <= max(length, 500)
        covered[start : start + 500] = True
    assert covered.all()


def test_files(tmp_path):
    record = Record("a;b=c", b"ACGTT-*.XN" * 100)
    track = Track(
        record, [0, 400, 700, 1000], np.array([0.2, np.nan, 0.9]), np.array([0.1, 0.75, 0.9]),
        [Region(400, 1000, 2, 0.825)],
    )  # fmt: skip
    with ExitStack() as stack:
        files = ScanFiles(stack, tmp_path)
        (found,) = files.write(track)
        assert files.write(Track(Record("empty", b""), [0], np.array([]), np.array([]), [])) == []
    assert (found.fasta_name, found.length) == ("a_b_c|provirus_401_1000", 600)
    assert (files.n_regions, files.n_records) == (1, 2)
    text = {path.name: path.read_text().splitlines() for path in tmp_path.iterdir()}
    assert text["regions.tsv"][1:] == ["region_1\ta;b=c\t400\t1000\t600\t2\t0.8250\t0.9000\ta_b_c|provirus_401_1000"]
    assert text["regions.fasta"] == [
        ">a_b_c|provirus_401_1000 region_1 401-1000/1000", *["ACGTTNNNNN" * 6] * 10,
    ]  # fmt: skip
    assert text["regions.bed"] == ["a;b=c\t400\t1000\tregion_1\t825\t."]
    assert text["regions.gff3"] == [
        "##gff-version 3",
        "##sequence-region a%3Bb%3Dc 1 1000",
        "a%3Bb%3Dc\tvirnucpro\tprophage\t401\t1000\t0.8250\t.\t.\tID=region_1;Name=region_1;mean_virus_score=0.9000",
    ]
    spans = ["a;b=c\t0\t400\t0.1000", "a;b=c\t400\t700\t0.7500", "a;b=c\t700\t1000\t0.9000"]
    assert text["scores.bedgraph"][1:] == spans
    for tool, *arguments in (
        ("bedtools", "intersect", "-u", "-a", "scores.bedgraph", "-b", "regions.bed"),
        ("bedtools", "intersect", "-u", "-a", "regions.gff3", "-b", "regions.bed"),
        ("gt", "gff3validator", "regions.gff3"),
    ):
        if shutil.which(tool):
            found = subprocess.run([tool, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (found.returncode, found.stderr) == (0, ""), tool
            if tool == "bedtools":
                assert len(found.stdout.splitlines()) == (2 if arguments[3] == "scores.bedgraph" else 0)  # GFF3 escapes


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_figures(tmp_path, suffix, magic):
    n = 9000  # more than are drawn one by one
    scores = np.where(np.arange(n) % 7 == 0, np.nan, 0.3)
    record = Record("long", b"AC" * n * 125)
    track = Track(record, list(range(0, n * 250 + 1, 250)), scores, np.full(n, 0.2), [Region(0, 500, 2, 0.9)])
    draw_figure(tmp_path / f"figure.{suffix}", record_view(track, list(Numbering().regions(track))))
    assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(magic)


@pytest.mark.parametrize("settings", [ScanSettings(step=501), ScanSettings(step=0), ScanSettings(min_posterior=1.0)])
def test_settings_without_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        Scanner(settings)


def test_phage_genes_are_found_between_those_of_a_bacterium(tmp_path):
    host, phage = (b"".join(record.sequence for record in read_records([EXAMPLES / name])) for name in (
        "ecoli.fa.gz", "lambda.fa",
    ))  # fmt: skip
    (tmp_path / "genome.fa").write_bytes(b">genome with lambda\n" + host + phage + host + b"\n>short\nACGT\n>none\n")
    main_code = run("scan", str(tmp_path / "genome.fa"), "-o", str(tmp_path / "out"), "--plots", "svg")
    assert main_code == 0
    rows = [line.split("\t") for line in (tmp_path / "out" / "regions.tsv").read_text().splitlines()[1:]]
    called = np.zeros(2 * len(host) + len(phage), bool)
    for row in rows:
        assert row[1] == "genome"
        called[int(row[2]) : int(row[3])] = True
    inside = slice(len(host), len(host) + len(phage))
    assert called[inside].mean() > 0.8
    assert called[inside].sum() / called.sum() > 0.8
    assert [path.name for path in (tmp_path / "out").glob("*.svg")] == ["record_00001.svg"]
    again = ["scan", str(tmp_path / "genome.fa"), "-o", str(tmp_path / "out")]
    assert run(*again) == 1  # not empty
    assert run(*again, "--restart", "--remnants", "--plots", "none") == 0
    found = [line.split("\t") for line in (tmp_path / "out" / "regions.bed").read_text().splitlines()]
    more = np.zeros(len(called), bool)
    for row in found:
        more[int(row[1]) : int(row[2])] = True
    assert more[called].mean() > 0.95
    assert more.sum() > called.sum()


def test_a_piece_of_another_composition_is_strange():
    rng = np.random.default_rng(0)
    usual = rng.choice(list(b"ACGT"), 120_000).astype(np.uint8).tobytes()
    other = rng.choice(list(b"ACGT"), 10_000, p=(0.4, 0.1, 0.1, 0.4)).astype(np.uint8).tobytes()
    sequence = usual[:60_000] + other + usual[60_000:]
    middles = list(range(250, len(sequence), 250))
    found = kmer_divergence(sequence, middles)
    inside = np.array([62_000 <= middle < 68_000 for middle in middles])
    assert found[inside].min() == 8
    assert abs(np.median(found[~inside])) < 0.1
    reverse = sequence[::-1].translate(bytes.maketrans(b"ACGT", b"TGCA"))
    np.testing.assert_allclose(
        kmer_divergence(reverse, [len(sequence) - m for m in middles]), found, atol=0.2
    )  # stretches are off by 3 nt
    assert not kmer_divergence(sequence[:99_999], middles[:9]).any()  # too short to know what is usual


def test_gaps_and_u_are_not_strange():
    rng = np.random.default_rng(1)
    usual = rng.choice(list(b"ACGT"), 150_000, p=(0.2, 0.3, 0.3, 0.2)).astype(np.uint8).tobytes()
    middles = list(range(250, len(usual), 250))
    found = kmer_divergence(usual, middles)
    np.testing.assert_array_equal(kmer_divergence(usual.replace(b"T", b"U"), middles), found)
    gap = 20_000
    cut = usual[:75_000] + b"N" * gap + usual[75_000:]
    around = [middle + gap * (middle >= 75_000) for middle in middles]
    np.testing.assert_allclose(kmer_divergence(cut, around), found, atol=0.5)
    scattered = np.frombuffer(usual, np.uint8).copy()
    scattered[50_000:70_000:20] = ord("N")
    letters = kmer_divergence(scattered.tobytes(), middles)
    assert abs(np.median(letters[200:280])) < 1  # 20 % of the 4-mers there have an N
    assert letters.max() < 8
    for nothing in (b"N" * 150_000, b"AN" * 75_000, b"N" * 60_000 + usual[:60_000]):
        assert not kmer_divergence(nothing, middles[:9]).any()


def test_without_matplotlib_figures_are_simple_svg(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(OptionalPackage, "version", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    phage = b"".join(record.sequence for record in read_records([EXAMPLES / "lambda.fa"]))[:6000]
    (tmp_path / "genome.fa").write_bytes(b">a&b<c\n" + phage + b"\n")
    command = ["scan", str(tmp_path / "genome.fa"), "-o", str(tmp_path / "out")]
    assert run(*command, "--plots", "png") == 1  # asked for, so an error before the work
    assert not (tmp_path / "out").exists()
    assert "no figures" not in capsys.readouterr().err
    for plots, figures in (
        ([], ["record_00001.svg"]),
        (["--plots", "none"], []),
        (["--plots", "svg"], ["record_00001.svg"]),
    ):
        assert run(*command, "--restart", *plots) == 0
        assert [path.name for path in (tmp_path / "out").glob("record*")] == figures
        expected = "figures are simple SVG, because matplotlib is not installed: pip install 'virnucpro[report]'"
        assert (expected in capsys.readouterr().err) == bool(figures)
    root = ElementTree.parse(tmp_path / "out" / "record_00001.svg").getroot()
    assert root[0].text == "a&b<c: 1 region of virus"
    assert "region_1 · 6,000 nt" in [part.text for part in root.iter("{http://www.w3.org/2000/svg}text")]


def test_ids_of_any_bytes_are_kept_and_tables_come_before_figures(tmp_path):
    """The command as it is started from a notebook, where MPLBACKEND names what is not installed."""
    phage = b"".join(record.sequence for record in read_records([EXAMPLES / "lambda.fa"]))[:6000]
    names = [b"good", b"a$b_$c", b"$\\frac{1", b"a\x07b\x1b[31m", b"na\xefve\xff", "\u202e\u05e9\u75c5".encode()]
    (tmp_path / "in.fa").write_bytes(b"".join(b">%s text\n%s\n" % (name, phage) for name in names))
    command = [Path(sys.executable).with_name("virnucpro"), "scan", "in.fa", "-o", "out", "--plots"]
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONWARNINGS": "error"}
    done = subprocess.run([*command, "svg"], cwd=tmp_path, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.decode().splitlines()[0].startswith("virnucpro: regions: 6; records: 6;"), done.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {f"record_{n:05d}.svg" for n in range(1, 7)}
    rows = (tmp_path / "out" / "regions.tsv").read_bytes().splitlines()[1:]
    assert [row.split(b"\t")[1] for row in rows] == names


def test_a_figure_that_fails_costs_no_table(tmp_path, capsys):
    """The disk refuses the first figure: a directory has its name."""
    phage = b"".join(record.sequence for record in read_records([EXAMPLES / "lambda.fa"]))[:6000]
    (tmp_path / "in.fa").write_bytes(b"".join(b">%s\n%s\n" % (name, phage) for name in (b"a", b"b")))
    out = tmp_path / "out"
    (out / "record_00001.png" / "x").mkdir(parents=True)
    assert run("scan", str(tmp_path / "in.fa"), "-o", str(out), "--restart") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "record_00001.png was not drawn (OutputError" in warnings[0]
    assert (out / "record_00002.png").is_file()
    assert len((out / "regions.tsv").read_text().splitlines()) == 3
    assert {path.name for path in out.iterdir()} == {
        "regions.tsv", "regions.bed", "regions.gff3", "regions.fasta", "scores.bedgraph", "report.html",
        "record_00001.png", "record_00002.png",
    }  # fmt: skip


def test_a_broken_matplotlib_costs_no_table(tmp_path):
    (tmp_path / "broken" / "matplotlib").mkdir(parents=True)
    (tmp_path / "broken" / "matplotlib" / "__init__.py").write_text("raise ImportError('half installed')")
    (tmp_path / "in.fa").write_text(">a\n" + "ACGT" * 200 + "\n")
    search = os.pathsep.join((str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")))
    for plots, words in (([], "figures are simple SVG"), (["--plots", "png"], "no figures")):
        done = subprocess.run(
            [Path(sys.executable).with_name("virnucpro"), "scan", "in.fa", "-o", "out", "--restart", *plots],
            cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": search},
        )  # fmt: skip
        lines = done.stderr.splitlines()
        assert done.returncode == 0, done.stderr
        assert lines[0].startswith(f"WARNING: {words}: matplotlib cannot be imported (ImportError: half installed)")
        assert len(lines) == 2
        assert (tmp_path / "out" / "regions.tsv").is_file()
