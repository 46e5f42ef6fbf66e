"""The report and the drawings of a scan: their facts, what is drawn where, hostile text, size. No browser here."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from support.scans import make_genes, make_page, make_track

from virnucpro.report.html import policy_hash
from virnucpro.report.origin import plain_command
from virnucpro.report.scan_drawings import overview, panel
from virnucpro.report.scan_figures import draw_figure, write_svg
from virnucpro.report.scan_page import MAX_REGIONS, Shown, Totals
from virnucpro.report.tracks import record_view
from virnucpro.run.scan import Numbering
from virnucpro.seq.feature import AnnotatedSequence, Feature

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>", '"><img/src=x/onerror=alert(1)>', "</style></svg><b>", "a'&amp;`${7*7}",
    "\u202egnp.exe", "nul\x00esc\x1b[31m", "na\udcefve\udcff", "{{7*7}}{%raw%}", "\ufffe\uffff", "x" * 5000, "",
]  # fmt: skip
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "p", "h1", "h2", "h3", "nav", "main", "section",
    "ul", "li", "b", "strong", "figure", "figcaption", "span", "bdi", "div", "table", "caption", "thead", "tbody", "tr",
    "th", "td", "i", "article", "dl", "dt", "dd", "code", "svg", "desc", "path", "rect", "text",
}  # fmt: skip


class Reader(HTMLParser):
    """Collects the elements, and the text outside of drawings and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._skipped = 0
        self.feed(page)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._skipped += tag in ("svg", "style")

    def handle_endtag(self, tag):
        self._skipped -= tag in ("svg", "style")

    def handle_data(self, data):
        self.words += [] if self._skipped else [data]


def one_view(track, genes=None, topology="auto"):
    return record_view(track, list(Numbering().regions(track)), genes, topology)


def test_facts_of_the_page():
    tracks = [
        make_track("chr", 60_000, [(10_000, 20_000), (40_000, 55_000)]),
        make_track("none", 5000, index=1),
        make_track("virus", 8000, [(0, 8000)], index=2),
    ]
    read = Reader(make_page(tracks))
    assert "3 regions of virus in 2 of 3 records." in read.text
    regions = [region for track in tracks for region in track.regions]
    bases = sum(region.end - region.start for region in regions)
    assert f"{bases:,} nt in regions ({bases / 73_000:.1%} of all)" in read.text
    assert "1 region with a whole record" in read.text
    assert [given["id"] for tag, given in read.tags if tag == "article"] == ["region_1", "region_2", "region_3"]
    for number, region in enumerate(regions, 1):
        row = f"region_{number} {'virus' if number == 3 else 'chr'} {region.start + 1:,} {region.end:,}"
        assert row in read.text
    assert f"chr|provirus_{regions[0].start + 1}_{regions[0].end}" in read.text
    assert "8,000 (the whole record)" in read.text
    assert "none" not in [given.get("id") for _, given in read.tags]
    assert "virnucpro scan genome.fa" in read.text
    assert "/data" not in read.text


@pytest.mark.parametrize(
    ("tracks", "words"),
    [
        ([], "The input has no record: there is nothing to scan."),
        ([make_track("a", 4000)], "No region of virus was found in 1 record (4,000 nt)."),
        ([make_track("a", 0), make_track("b", 9)], "No region of virus was found in 2 records (9 nt)."),
    ],
    ids=["empty", "nothing", "tiny"],
)
def test_pages_without_regions(tracks, words):
    read = Reader(make_page(tracks))
    assert words in read.text
    assert not [tag for tag, given in read.tags if tag == "svg" or given.get("id") == "overview"]


def test_the_policy_allows_the_style_and_nothing_else():
    page = make_page([make_track("a", 9000, [(2000, 6000)])])
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    assert policy == f"default-src 'none'; style-src '{policy_hash(style)}'"
    assert "style=" not in page
    assert "<script" not in page
    links = [given["href"] for tag, given in Reader(page).tags if tag == "a"]
    assert [link for link in links if not link.startswith("#")] == ["https://doi.org/10.1093/bib/bbaf224"]
    ids = [given["id"] for _, given in Reader(page).tags if "id" in given]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    for tag, given in Reader(page).tags:
        if tag == "svg":
            assert set(given["aria-labelledby"].split()) <= set(ids)


@pytest.mark.parametrize("topology", ["linear", "circular"])
def test_hostile_text_is_text(tmp_path, topology):
    tracks = [
        make_track(name, 9000, [(2000, 6000)], index=i, description=HOSTILE[-1 - i]) for i, name in enumerate(HOSTILE)
    ]
    genes = AnnotatedSequence([
        Feature(2000 + 400 * i, 2300 + 400 * i, 1, text, text, f"integrase {text}", text)
        for i, text in enumerate(HOSTILE)
    ])  # fmt: skip
    page = make_page(tracks, lambda track: genes, topology, annotation=f"/data/{HOSTILE[0]}.gff", inputs=(HOSTILE[1],))
    page.encode()
    read = Reader(page)
    assert {tag for tag, _ in read.tags} <= ALLOWED
    assert not [name for _, given in read.tags for name in given if name.startswith("on") or name in ("src", "style")]
    for shown in (HOSTILE[0], HOSTILE[3], HOSTILE[7], r"nul\x00esc\x1b[31m", r"na\xefve\xff", r"\u202egnp.exe"):
        assert shown in read.text
    assert len(page) < 400_000  # the name of 5000 letters is not repeated
    for i, track in enumerate(tracks):
        view = one_view(track, genes, topology)
        for drawing in (overview(view, "o"), panel(view.regions[0], view, "p")):
            ElementTree.fromstring(drawing.markup())
        write_svg(tmp_path / f"{i}.svg", view)
        root = ElementTree.parse(tmp_path / f"{i}.svg").getroot()
        assert {part.tag.removeprefix(SVG) for part in root.iter()} <= {
            "svg", "style", "title", "desc", "path", "rect", "text"
        }  # fmt: skip
    draw_figure(tmp_path / "figure.png", one_view(tracks[0], genes, topology))


@pytest.mark.parametrize("annotated", [True, False])
def test_hundreds_of_regions_stay_below_the_limit(annotated):
    """Noise gives every point of every line a place of its own, the worst for the size."""
    tracks = [
        make_track(f"contig_{i}_of_a_large_assembly_{'x' * 60}", 110_000, [(5000, 45_000), (50_000, 100_000)], i)
        for i in range(150)
    ]
    genes = make_genes(110_000) if annotated else None
    page = make_page(tracks, lambda track: genes, annotation="g.gff" if annotated else None)
    assert len(page.encode()) < 1_500_000
    read = Reader(page)
    assert len([tag for tag, _ in read.tags if tag == "article"]) == MAX_REGIONS == 200
    assert "This page shows the 200 regions with the most viral bases expected" in read.text
    assert "regions.tsv and regions.fasta have all 300." in read.text
    drawn = [given for tag, given in read.tags if tag == "svg" and given["aria-labelledby"].startswith("region")]
    assert len(drawn) == 200
    assert "largest regions are drawn with all details" in read.text


def test_a_page_of_too_many_genes_leaves_panels_out():
    tracks = [make_track(f"c{i}", 60_000, [(5000, 55_000)], i) for i in range(150)]
    page = make_page(tracks, lambda track: make_genes(60_000, 100), annotation="g.gff")
    assert len(page.encode()) < 1_500_000
    read = Reader(page)
    drawn = [given for tag, given in read.tags if tag == "svg" and given["aria-labelledby"].startswith("region")]
    assert 50 < len(drawn) < 150
    assert read.text.count("Not drawn, to keep this page small.") == 150 - len(drawn)


def test_the_largest_regions_are_kept_in_order():
    shown = Shown(3)
    totals = Totals()
    for i, length in enumerate((3000, 9000, 2000, 12_000, 4000)):
        track = make_track(f"c{i}", 15_000, [(1000, 1000 + length)], i)
        found = list(Numbering().regions(track))
        totals = totals.plus(track, found)
        shown.add(record_view(track, found))
    assert [view.seq_name for view in shown.records()] == ["c1", "c3", "c4"]
    assert (totals.records, totals.regions, totals.with_regions, totals.bases) == (5, 5, 5, 75_000)


def test_the_command_of_a_scan():
    command = [
        "/bin/virnucpro",
        "scan",
        "/data/g.fa",
        "-o",
        "out",
        "--annotation",
        "/x/g.gff",
        "--plots=svg",
        "--restart",
    ]
    assert plain_command(command, "scan") == "virnucpro scan g.fa --annotation g.gff"
    assert plain_command(command) == "called from Python"
