"""Drawings of a scan: what is where in overviews, panels and figures; roles of genes; GC. No browser here."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from support.scans import make_genes, make_track

from virnucpro.report.gene_track import gc_track, gene_track
from virnucpro.report.genes import describe, role_of, short_name
from virnucpro.report.scan_drawings import LEFT, RIGHT, _apart, overview, panel
from virnucpro.report.scan_figures import MAX_PANELS, write_svg
from virnucpro.report.svg import Rows, steps_of, ticks
from virnucpro.report.tracks import gc_along, gc_share, is_circular, record_view
from virnucpro.run.scan import Numbering
from virnucpro.seq.feature import AnnotatedSequence, Feature
from virnucpro.types import Record

SVG = "{http://www.w3.org/2000/svg}"
SVG = "{http://www.w3.org/2000/svg}"


def one_view(track, genes=None, topology="auto"):
    return record_view(track, list(Numbering().regions(track)), genes, topology)


def parsed(drawing):
    return ElementTree.fromstring(drawing.markup())


def texts(root):
    return [part.text for part in root.iter(f"{SVG}text")]


def of_class(root, css):
    return [part for part in root.iter() if css in part.get("class", "").split()]


def test_an_overview_has_regions_where_they_are():
    track = make_track("chr", 100_000, [(20_000, 30_000), (30_500, 31_500), (99_000, 100_000)])
    view = one_view(track)
    root = parsed(overview(view, "o"))
    bars = of_class(root, "region")
    unit = (RIGHT - LEFT) / 100_000
    for bar, region in zip(bars, track.regions, strict=True):
        assert float(bar.get("x")) == pytest.approx(LEFT + region.start * unit, abs=0.1)
        assert float(bar.get("width")) == pytest.approx(max((region.end - region.start) * unit, 3), abs=0.1)
    assert [word for word in texts(root) if word.startswith("region")] == ["region_1", "region_2", "region_3"]
    assert [link.get("href") for link in root.iter(f"{SVG}a")] == ["#region_1", "#region_2", "#region_3"]
    assert not list(parsed(overview(view, "o", linked=False)).iter(f"{SVG}a"))
    title, description = root[0].text, root[1].text
    assert title == "chr: overview"
    assert f"region_1 {track.regions[0].start + 1:,}–{track.regions[0].end:,}" in description
    assert "linear drawing of 100,000 nt" in description


def test_a_narrow_peak_is_seen_in_an_overview():
    """One window of 8000 is viral: a mean over 300 points would hide it."""
    track = make_track("chr", 2_000_000, [(1_000_000, 1_000_250)])
    (line,) = of_class(parsed(overview(one_view(track), "o")), "area")
    numbers = re.findall(r"-?\d*\.?\d+", line.get("d").partition("l")[2].partition("V")[0])
    y = np.cumsum(np.array(numbers[1::2], float))
    assert y.min() < -0.85 * 60


def test_a_circle_has_arcs_and_names():
    track = make_track("pX", 50_000, [(0, 12_500), (25_000, 30_000)], description="plasmid pX, complete sequence")
    view = one_view(track)
    assert view.circular
    root = parsed(overview(view, "o"))
    arcs = of_class(root, "arc")
    assert len(arcs) == 2
    numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", arcs[0].get("d"))]
    (ax, ay), (bx, by) = numbers[:2], numbers[-2:]
    assert ax == 240
    assert ay < 158  # begins at the top
    quarter = track.regions[0].end / 50_000 * 2 * math.pi
    assert (bx - 240, 158 - by) == pytest.approx((131 * math.sin(quarter), 131 * math.cos(quarter)), abs=0.2)
    assert {"region_1", "region_2", "pX", "50,000 nt"} <= set(texts(root))
    assert "circular drawing" in root[1].text
    whole = parsed(overview(one_view(make_track("pY", 9000, [(0, 9000)]), topology="circular"), "o"))
    assert len(of_class(whole, "arc")) == 1
    many = make_track("pZ", 400_000, [(4000 * i, 4000 * i + 2000) for i in range(1, 90)])
    names = [word for word in texts(parsed(overview(one_view(many, topology="circular"), "o"))) if "region" in word]
    assert len(set(names)) == len(names) > 20


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("circular=true", True), ("length=5 depth=1.0x circular=true", True), ("[topology=circular] [x=y]", True),
        ("suggestCircular=yes", True), ("Escherichia coli plasmid pO157, complete sequence", True),
        ("circular=N", False),
        ("", False), ("circular=false", False), ("plasmid-like protein genes", False), ("topology=linear", False),
        ("complete genome", False), ("noncircular=trueish", False),
    ],
)  # fmt: skip
def test_headers_that_say_circular(description, expected):
    assert is_circular(Record("a", b"A", description=description)) is expected
    assert is_circular(Record("a", b"A", description=description), AnnotatedSequence(circular=True))
    track = make_track("a", 3000, [(0, 1000)], description=description)
    assert [one_view(track, topology=given).circular for given in ("circular", "linear")] == [True, False]


def test_a_panel_shows_genes_or_gc():
    track = make_track("chr", 60_000, [(20_000, 40_000)])
    genes = make_genes(60_000)
    view = one_view(track, genes)
    one = view.regions[0]
    assert (one.lines.start, one.lines.end) == (
        one.found.start - one.found.length // 4,
        one.found.end + one.found.length // 4,
    )
    inside = [gene for gene in genes.features if gene.end > one.lines.start and gene.start < one.lines.end]
    assert list(one.genes) == inside
    root = parsed(panel(one, view, "p"))
    titles = [part[0].text for part in root.iter(f"{SVG}path") if len(part)]
    assert titles == [describe(gene) for gene in inside]
    assert "integrase" in texts(root)
    assert not of_class(root, "gc")
    assert f"{len(inside)} genes of the annotation" in root[1].text
    small = parsed(panel(one, view, "p", full=False))
    assert not [part for part in small.iter(f"{SVG}path") if len(part)]
    assert "integrase" not in texts(small)
    assert of_class(small, "g0")
    without = one_view(track)
    root = parsed(panel(without.regions[0], without, "p"))
    assert len(of_class(root, "gc")) == len(of_class(root, "mean")) == 1
    assert "GC along the record" in root[1].text
    empty = one_view(track, AnnotatedSequence())
    assert "the annotation has no gene here" in texts(parsed(panel(empty.regions[0], empty, "p")))


def test_arrows_point_where_genes_are_read():
    genes = [
        Feature(100, 200, 1, "CDS"),
        Feature(300, 400, -1, "CDS"),
        Feature(500, 600, 0, "CDS"),
        Feature(900, 5000, 1, "CDS"),
    ]
    parts, _ = gene_track(genes, (0, 1000), (0, 1000), 0, True)
    arrows = [ElementTree.fromstring(part) for part in parts if "g6" in part]
    assert [arrow.get("d") for arrow in arrows] == [
        "M100 1h94l6 6l-6 6h-94z", "M300 23l6 -6h94v12h-94z", "M500 9h100l0 6l-0 6h-100z", "M900 1h94l6 6l-6 6h-94z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "product", "role", "expected"),
    [
        ("CDS", "Tyrosine recombinase XerC", "", "integration"), ("CDS", "IS3 family transposase", "", "integration"),
        ("CDS", "phage terminase, large subunit", "", "particle and packaging"), ("CDS", "endolysin", "", "lysis"),
        ("CDS", "hypothetical protein", "head and packaging", "particle and packaging"),
        ("CDS", "holin", "tail", "lysis"),
        ("CDS", "DNA primase", "", "replication and regulation"), ("CDS", "enolase", "", "other product"),
        ("CDS", "hypothetical protein", "", "no known product"), ("CDS", "", "", "no known product"),
        ("tRNA", "tRNA-Arg", "", "RNA"), ("CDS", "DUF1234 domain-containing protein", "", "no known product"),
        ("CDS", "methionyl-tRNA forming enzyme", "", "other product"),
        ("CDS", "ahead of overheads", "", "other product"),
    ],
)  # fmt: skip
def test_roles_of_genes(kind, product, role, expected):
    gene = Feature(0, 9, -1, kind, "abcD", product, role)
    assert role_of(gene).name == expected
    assert describe(gene) == f"abcD · {product or kind} · 1–9 (-)"


def test_short_names():
    assert short_name(Feature(0, 9, 1, "CDS", "T_1", "putative phage portal protein")) == "phage portal protein"
    assert short_name(Feature(0, 9, 1, "CDS", "T_1", "enolase")) == "T_1"
    assert short_name(Feature(0, 9, 1, "CDS", "", "enolase")) == "enolase"
    assert short_name(Feature(0, 9, 1, "CDS", "", "terminase large subunit of a phage")) == "terminase large subun…"


def test_gc():
    assert gc_share(b"GGCCSATNNN") == pytest.approx(5 / 7)
    assert math.isnan(gc_share(b"NNN"))
    found = gc_along(b"G" * 50 + b"A" * 30 + b"N" * 20, 5)
    np.testing.assert_allclose(found, [1, 1, 0.5, 0, np.nan])
    for values, mean in ((found, 0.6), (np.full(3, np.nan), math.nan), (np.zeros(3), 0.0), (np.ones(2), 1.0)):
        parts, height = gc_track(values, mean, (0, 100), 0)
        numbers = [float(n) for part in parts for n in re.findall(r'd="M[\d.]+ (-?[\d.]+)', part)]
        assert all(0 <= number <= height for number in numbers)
        assert "nan" not in "".join(parts)


def test_a_line_without_scores_has_gaps():
    assert steps_of([(0, 5), (1, math.nan), (2, 5), (3, 5), (4, 5), (5, 4.6)]) == "M0 5l0 0M2 5l2 0 1-.4"
    assert steps_of([(0, 5), (10, 2.5)], base=9) == "M0 5l10-2.5V9H0z"
    assert steps_of([]) == ""


def test_places_of_ticks_and_labels():
    for span in ((0, 1), (0, 900), (7, 48_502), (2_399_000, 2_431_500), (0, 250_000_000)):
        places, _, unit = ticks(*span)
        assert 1 <= len(places) <= 9
        assert span[0] <= places[0] <= places[-1] <= span[1]
        assert unit in (1000, 1_000_000)
    rows = Rows(2, 0, 100)
    assert [rows.place(50, 40), rows.place(50, 40), rows.place(50, 40), rows.place(0, 20)] == [
        (0, 50), (1, 50), None, (0, 10),
    ]  # fmt: skip
    assert _apart([10, 11, 300, 301], 16, 12, 310) == [12, 28, 294, 310]


def test_a_figure_has_the_longest_regions(tmp_path):
    track = make_track("chr", 400_000, [(20_000 * i, 20_000 * i + 1000 * i) for i in range(1, 19)])
    write_svg(tmp_path / "f.svg", one_view(track))
    root = ElementTree.parse(tmp_path / "f.svg").getroot()
    panels = [word.split(" ")[0] for word in texts(root) if re.match(r"region_\d+ · ", word)]
    assert panels == [f"region_{i}" for i in range(19 - MAX_PANELS, 19)]
    assert root[0].text == "chr: 18 regions of virus"
    heights = [float(part.get("y")) + float(part.get("height")) for part in root.iter(f"{SVG}svg") if part.get("y")]
    assert max(heights) <= float(root.get("viewBox").split()[3])
