"""The figures and tracks of a report in a browser: where marks stand, values, saved files."""

import base64
import re
from xml.etree import ElementTree

import pytest
from support.report_pages import made
from support.shown_pages import saved

FIGURES = ("calls", "fdr", "contigs", "composition", "files")


def test_every_figure_is_drawn_and_says_values(show, full):
    page = show(full)
    for name in FIGURES:
        drawing = page.locator(f"#figure-{name} .live svg")
        assert page.locator(f"#figure-{name} svg.static").is_hidden()
        box = drawing.bounding_box()
        assert box["width"] > 400
        assert drawing.locator("rect, path, circle").count() > 4
        drawing.scroll_into_view_if_needed()
        box = drawing.bounding_box()
        tips = set()
        for part in range(1, 20):
            page.mouse.move(box["x"] + box["width"] * part / 20, box["y"] + box["height"] * 0.3)
            tips.update(drawing.locator("[aria-label=tip] text").all_text_contents())
        assert any(re.search(r"\d", tip) for tip in tips), name
        assert len(tips) > 1, name


def test_marks_stand_where_their_records_are(show, tmp_path):
    """Ten records at 0.9 and one at 0.1: the bars are at these scores, and their heights are as 10 to 1."""
    page = show(made(tmp_path / "run", [("v", 300, 0.92)] * 10 + [("o", 300, 0.12)]))
    measure = "bars => bars.map(bar => bar.getBoundingClientRect()).map(box => [box.left, box.right, box.height])"
    frame = page.locator("#figure-calls .live svg").bounding_box()
    left, width = frame["x"] + 14, frame["width"] - 34  # the margins of the drawing
    for kind, low, share in (("virus", 0.9, 1.0), ("other", 0.1, 0.1)):
        (bar,) = page.locator(f"#figure-calls .live .fill-{kind} rect").evaluate_all(measure)
        assert abs(bar[0] - left - low * width) < 1.5
        assert abs(bar[1] - left - (low + 0.05) * width) < 1.5
        highest = page.locator("#figure-calls .live .fill-virus rect").evaluate_all(measure)[0][2]
        assert abs(bar[2] / highest - share) < 0.02
    (limit,) = page.locator("#figure-calls .live .stroke-ink line").evaluate_all(measure)
    assert abs(limit[0] - left - 0.5 * width) < 1.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_are_saved(show, full, scheme):
    """A saved figure has its own colours, those of paper, and needs nothing of the page."""
    page = show(full, color_scheme=scheme)
    for name in FIGURES:
        figure = page.locator(f"#figure-{name}")
        text = saved(page, figure.get_by_role("button", name="SVG")).decode()
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "style" not in {part.tag.rpartition("}")[2] for part in root.iter()}
        assert "#b5472a" in text
        image = saved(page, figure.get_by_role("button", name="PNG"))
        assert image.startswith(b"\x89PNG")
        width, height = (int.from_bytes(image[16 + 4 * i : 20 + 4 * i], "big") for i in range(2))
        assert (width, height) == (1440, 2 * int(root.get("height")))
        shown = page.evaluate(
            """async (url) => {
              const image = new Image();
              image.src = url;
              await image.decode();
              const canvas = document.createElement("canvas");
              [canvas.width, canvas.height] = [image.width, image.height];
              const context = canvas.getContext("2d");
              context.drawImage(image, 0, 0);
              const points = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
              return [points[0], new Set(points).size];
            }""",
            "data:image/png;base64," + base64.b64encode(image).decode(),
        )
        assert shown[0] == 0xFFFFFFFF  # a white ground
        assert shown[1] > 10


def test_a_figure_follows_the_width_of_the_window(show, full):
    page = show(full)
    for width in (400, 1280, 760):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        for name in FIGURES:
            place, drawn = (page.locator(f"#figure-{name} {part}").bounding_box() for part in (".live", ".live svg"))
            assert abs(place["width"] - drawn["width"]) < 2


# The share of each track's area that is filled.
PIXELS = """(pictures) => pictures.map((picture) => {
  const canvas = document.createElement("canvas"), box = picture.getBoundingClientRect();
  [canvas.width, canvas.height] = [Math.round(box.width), Math.round(box.height)];
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.scale(box.width / picture.viewBox.baseVal.width, box.height / picture.viewBox.baseVal.height);
  context.fill(new Path2D(picture.querySelector("path").getAttribute("d")));
  const alpha = context.getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 === 3);
  return alpha.filter(value => value > 127).length / alpha.length;
})"""


def test_tracks_of_long_records_are_filled_up_to_their_scores(show, tmp_path):
    """Records of up to 200 windows, the longest of which are among the best hits, too; reads have no track."""
    contigs = [(f"contig_{i}", 500 * (4 + 7 * i), 0.6 + i / 100) for i in range(24)]
    page = show(made(tmp_path / "run", contigs + [(f"read_{i}", 300, 0.55) for i in range(40)]))
    for part, number in (("#hits", 24), ("#long", 20)):
        pictures = page.locator(f"{part} svg.strip")
        assert pictures.count() == number
        for drawn, (_, _, score) in zip(pictures.evaluate_all(PIXELS), contigs[::-1], strict=False):
            assert abs(drawn - score) < 0.05
    assert page.locator("#hits tbody tr:visible:last-child .track").count() == 0


def test_a_track_says_the_score_at_the_pointer(show, tmp_path):
    page = show(made(tmp_path / "run", [("a", 10_000, 0.87)]))
    track = page.locator("#hits .track svg")
    track.scroll_into_view_if_needed()
    box = track.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.255, box["y"] + 10)
    assert page.locator("#tip").inner_text() == "2,501–2,600 nt: score 0.87"
    assert page.locator("#hits .track .ends").inner_text().split() == ["1", "10", "kb"]
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_a_touch_shows_the_score(browser, tmp_path):
    path = made(tmp_path / "run", [("a", 10_000, 0.87)])
    context = browser.new_context(viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator("#hits .track svg").tap()
    assert page.locator("#tip").inner_text().endswith("nt: score 0.87")
    context.close()
