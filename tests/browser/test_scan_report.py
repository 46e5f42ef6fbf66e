"""The report and the figures of a scan in a real browser: Chromium, driven by Playwright; both are optional."""

from pathlib import Path

import pytest
from support.scans import make_genes, make_page, make_track

from virnucpro.report.scan_figures import write_svg
from virnucpro.report.tracks import record_view
from virnucpro.run.scan import Numbering

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img/src=x/onerror=alert(1)>',
    "</svg></style><h1>x",
    "\u05e9\u05dc\u05d5\u05dd",
]


@pytest.fixture
def show(show, tmp_path):
    """Open a page by its text or its path, see `conftest.show`."""

    def opened(given: str | Path, width: int = 1280, **keywords):
        path = given
        if isinstance(given, str):
            path = tmp_path / f"page_{len(list(tmp_path.iterdir()))}.html"
            path.write_text(given, encoding="utf-8")
        return show(path, width, **keywords)

    return opened


@pytest.fixture(scope="module")
def usual() -> str:
    """A chromosome with genes, a plasmid without and a contig that is a virus."""
    tracks = [
        make_track("chr", 300_000, [(20_000, 30_000), (32_000, 40_000), (45_000, 60_000), (200_000, 240_000)]),
        make_track("pX", 40_000, [(5000, 20_000)], 1, "plasmid pX"),
        make_track("contig_3", 9000, [(0, 9000)], 2),
    ]
    genes = make_genes(300_000)
    return make_page(tracks, lambda track: genes if track.seq_name == "chr" else None, annotation="genes.gff3")


# Texts of a drawing that overlap, as pairs; texts of one place, such as names of genes and of axes, must not.
OVERLAPS = """(pictures) => pictures.flatMap((picture) => {
  const all = [...picture.querySelectorAll("text")].map((node) => [node.textContent, node.getBoundingClientRect()]);
  const found = [];
  for (const [i, [a, one]] of all.entries())
    for (const [b, other] of all.slice(i + 1)) {
      const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (width > 1 && height > Math.min(one.height, other.height) / 2) found.push(`${a} | ${b}`);
    }
  return found;
})"""
OUTSIDE = """(pictures) => pictures.flatMap((picture) => {
  const box = picture.getBoundingClientRect();
  return [...picture.querySelectorAll("text")].map((node) => [node.textContent, node.getBoundingClientRect()])
    .filter(([_, b]) => b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1
      || b.bottom > box.bottom + 1)
    .map(([text]) => text);
})"""


def test_drawings_are_whole_and_their_texts_apart(show, usual):
    page = show(usual)
    drawings = page.locator("svg")
    assert drawings.count() == 3 + 6
    assert drawings.evaluate_all(OVERLAPS) == []
    assert drawings.evaluate_all(OUTSIDE) == []
    assert page.get_by_role("img", name="region_2 in chr").is_visible()
    assert page.get_by_role("img", name="pX: overview").is_visible()


def test_names_lead_to_panels(show, usual):
    page = show(usual)
    page.locator("svg a", has_text="region_3").click()
    assert page.url.endswith("#region_3")
    page.locator("table a", has_text="region_5").press("Enter")
    assert page.url.endswith("#region_5")
    assert page.locator("#region_5").evaluate("(node) => node.getBoundingClientRect().top") < 900


def test_the_keyboard_reaches_links_and_tables_and_not_the_drawings(show, usual):
    page = show(usual)
    seen = []
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("[document.activeElement.tagName, document.activeElement.closest('svg') !== null]"))
    assert seen[0] == ["A", False]
    assert not any(inside for _, inside in seen)


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const luminance = (colour) => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const part = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const card = luminance(getComputedStyle(document.querySelector("section")).backgroundColor);
  const ratio = (colour) => (Math.max(luminance(colour), card) + 0.05) / (Math.min(luminance(colour), card) + 0.05);
  const least = (nodes, property) => Math.min(...[...nodes].map((node) => ratio(getComputedStyle(node)[property])));
  return {
    text: least(document.querySelectorAll("section :is(p, th, td, li, b, h2, h3, dt, dd, a, caption, code)"), "color"),
    labels: least(document.querySelectorAll("svg text"), "fill"),
    lines: least(document.querySelectorAll("svg :is(.smooth, .gc)"), "stroke"),
    marks: least(document.querySelectorAll("svg :is(.region, .g0, .g1, .g2, .g3, .g4, .g5)"), "fill"),
  };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(show, usual, scheme):
    """WCAG 2.1 AA asks for 4.5 of text and for 3 of what must be seen in a drawing."""
    found = show(usual, color_scheme=scheme).evaluate(CONTRAST)
    assert min(found["text"], found["labels"]) >= 4.5, found
    assert min(found["lines"], found["marks"]) >= 3, found


def test_a_phone(show, usual):
    page = show(usual, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.get_by_text("scroll sideways").is_visible()
    size = "(node) => parseFloat(getComputedStyle(node).fontSize) * node.getCTM().a"
    assert page.locator("svg.line text.tick").first.evaluate(size) > 8
    assert page.locator("svg.circle text.tick").first.evaluate(size) > 7


def test_paper_is_light_and_has_the_whole_drawing(show, usual):
    page = show(usual, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('svg text')).fill") != "rgb(231, 234, 236)"
    assert not page.locator("nav").is_visible()
    assert not page.get_by_text("scroll sideways").is_visible()
    page.set_viewport_size({"width": 700, "height": 900})
    assert page.locator("svg.line").first.evaluate("(node) => node.getBoundingClientRect().right") <= 700
    assert page.pdf(format="A4").startswith(b"%PDF-")


def test_hostile_names_are_shown_and_do_nothing(show, tmp_path):
    tracks = [make_track(name, 9000, [(2000, 6000)], i, "plasmid" * (i % 2)) for i, name in enumerate(HOSTILE)]
    page = show(make_page(tracks, inputs=(HOSTILE[0],), annotation=HOSTILE[1]))
    assert page.locator("h1").inner_text() == f"Viral regions in {HOSTILE[0].rpartition('/')[2]}"
    assert page.locator("figcaption h3").all_inner_texts() == HOSTILE
    assert page.locator("script, img").count() == 0
    for i, track in enumerate(tracks):
        write_svg(tmp_path / f"{i}.svg", record_view(track, list(Numbering().regions(track))))
        drawn = show(tmp_path / f"{i}.svg")
        assert drawn.evaluate("document.querySelectorAll('script, img, foreignObject').length") == 0
        assert drawn.evaluate("document.documentElement.querySelector('title').textContent").startswith(HOSTILE[i])


def test_hundreds_of_regions(show):
    tracks = [make_track(f"c{i}", 40_000, [(5000, 15_000), (20_000, 30_000)], i) for i in range(110)]
    page = show(make_page(tracks))
    assert page.locator("article svg").count() == 200
    assert page.locator("table tbody tr").count() == 200
