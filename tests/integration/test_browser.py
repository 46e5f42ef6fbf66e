"""The report in a real browser: Chromium, driven by Playwright; both are optional."""

import base64
import csv
import io
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.run_directories import fragment, random_records, write_run

from virnucpro.report.load import TOP_HITS, Share, read_run
from virnucpro.report.page import PAGE_SIZE, render
from virnucpro.report.write import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra dev) and chromium")
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium, e.g. apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def show(browser):
    """Open a page by its path; at the end, no page may have complained or asked for another file."""
    said, asked = [], []
    contexts = []

    def opened(path: Path, **keywords):
        context = browser.new_context(viewport={"width": 1200, "height": 900}, **keywords)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        asked.remove(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert asked == []


def made(directory: Path, *arguments, **keywords) -> Path:
    write_report(write_run(directory, *arguments, **keywords))
    return directory / "report.html"


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    records = random_records(100_000)
    return made(tmp_path_factory.mktemp("large") / "run", records, fdr=rates(records), sequences=True)


def everything(directory: Path, files: int, classes: int) -> Path:
    """Return the page of a run of several files with everything that a page can show."""
    records = [(f"NODE_{name}_length_{nt}_cov_12.345678", nt, score) for name, nt, score in random_records(900)]
    records += [(f"NODE_long_{i}_length_9000_cov_12.345678", 9000 + i, i / 25) for i in range(25)]
    columns = {
        "sample_score": ["NA" if score is None else f"{score:.4f}" for _, _, score in records],
        "host_class": ["NA" if score is None else ("plant", "bacteria")[nt % 2] for _, nt, score in records],
        "file": [f"sample_{i % files}_L001_R1.fastq.gz" for i in range(len(records))],
    }
    write_run(directory, records, fdr=rates(records), columns=columns, sequences=True)
    run = read_run(directory)
    names = ["virus", *(f"class {i}" for i in range(1, classes))]
    run.composition = [Share(name, (i + 1) / 50, i / 50, (i + 3) / 50) for i, name in enumerate(names)]
    (directory / "report.html").write_text(render(run), encoding="utf-8")
    return directory / "report.html"


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    return everything(tmp_path_factory.mktemp("full") / "run", 3, 3)


@pytest.fixture(scope="module")
def fuller(tmp_path_factory) -> Path:
    return everything(tmp_path_factory.mktemp("fuller") / "run", 40, 10)


FIGURES = ("calls", "fdr", "contigs", "composition", "files")


def rates(records) -> list[float]:
    """Return a rate for each record, higher where its score is lower."""
    return [1 - (score or 0) for _, _, score in records]


def rows(page):
    return page.locator("#hits tbody tr:visible")


def names(page) -> list[str]:
    """Return the names of the rows that can be seen, from top to bottom."""
    return page.locator("#hits tbody tr:visible th bdi").all_inner_texts()


def column(page, number: int) -> list[float]:
    cells = page.locator(f"#hits tbody tr:visible td:nth-child({number})").all_text_contents()
    return [float(cell.replace(",", "")) for cell in cells]


def pages(page) -> list[list[str]]:
    """Return the names on all pages of the table, from the first."""
    found = [names(page)]
    while page.get_by_role("button", name="Next page").is_enabled():
        page.get_by_role("button", name="Next page").click()
        found.append(names(page))
    return found


def saved(page, button) -> bytes:
    with page.expect_download() as download:
        button.click()
    return download.value.path().read_bytes()


def test_no_record(show, tmp_path):
    page = show(made(tmp_path / "run", []))
    assert page.get_by_role("heading", level=1).inner_text() == "Viral sequences in reads.fq.gz"
    assert page.get_by_text("there is nothing to call").is_visible()
    assert page.locator("#filter").count() == page.locator("figure").count() == 0


def test_one_record(show, tmp_path):
    page = show(made(tmp_path / "run", [("only", 300, 0.9)], sequences=True))
    assert names(page) == ["only"]
    assert page.get_by_text("1 to 1 of 1 hits").is_visible()
    assert page.locator("#pager").is_hidden()
    assert page.locator(".track").count() == 0
    assert page.locator("#figure-calls .live svg").is_visible()
    assert page.get_by_role("button", name="Copy the sequence as FASTA").is_visible()


def test_one_record_without_a_score(show, tmp_path):
    page = show(made(tmp_path / "run", [("short", 40, None)]))
    assert page.locator("figure").count() == 0
    assert page.get_by_text("40 nt, 100.0% of bases").is_visible()


def test_a_hundred_thousand_records_are_shown_in_pages(show, large):
    page = show(large)
    assert page.get_by_text(f"1 to {PAGE_SIZE} of {TOP_HITS} hits").is_visible()
    found = pages(page)
    assert [len(one) for one in found] == [PAGE_SIZE] * (TOP_HITS // PAGE_SIZE)
    assert len({name for one in found for name in one}) == TOP_HITS
    assert page.get_by_text(f"{TOP_HITS - PAGE_SIZE + 1} to {TOP_HITS} of {TOP_HITS} hits").is_visible()
    assert page.get_by_role("button", name="Last page").is_disabled()
    page.get_by_role("button", name="First page").click()
    assert names(page) == found[0]


def test_a_hundred_thousand_records_are_sorted_by_any_column(show, large):
    page = show(large)
    for label, number in (("length, nt", 2), ("virus score", 3), ("FDR", 4)):
        for order, backwards in (("descending", True), ("ascending", False)):
            page.locator("#hits").get_by_role("button", name=label).click()
            assert page.locator("#hits th[aria-sort]").get_attribute("aria-sort") == order
            values = column(page, number)
            page.get_by_role("button", name="Last page").click()
            values += column(page, number)
            assert len(values) == 2 * PAGE_SIZE
            assert values == sorted(values, reverse=backwards)
    page.locator("#hits").get_by_role("button", name="record").press("Enter")
    found = [name for one in pages(page) for name in one]
    assert found == sorted(found)


def test_a_hundred_thousand_records_are_filtered(show, large):
    page = show(large)
    everything = [name for one in pages(page) for name in one]
    page.get_by_label("Search").fill("READ_1")
    wanted = [name for name in everything if "read_1" in name]
    assert PAGE_SIZE < len(wanted) < TOP_HITS
    assert page.get_by_text(f"1 to {PAGE_SIZE} of {len(wanted)} of {TOP_HITS} hits").is_visible()
    assert [name for one in pages(page) for name in one] == wanted
    page.get_by_label("Minimum length, nt").fill("700")
    assert page.get_by_text("1 to ").is_visible()
    lengths = column(page, 2)
    assert min(lengths) >= 700
    page.get_by_role("button", name="Show all").click()
    page.get_by_text(f"of {TOP_HITS} hits").wait_for()
    page.locator("#hits").get_by_role("button", name="FDR").click()
    page.get_by_role("button", name="Last page").click()
    limit = max(column(page, 4))
    page.get_by_label("Maximum FDR").fill(f"{limit}")
    assert max(column(page, 4)) <= limit
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Minimum score").fill("0.99995")
    assert min(column(page, 3)) == 1
    page.get_by_label("Search").fill("no such record")
    assert names(page) == []
    assert page.get_by_text(f"no hit of {TOP_HITS} fits").is_visible()


def test_search_finds_host_classes_and_files(show, full):
    page = show(full)
    page.get_by_label("Search").fill("sample_2")
    files = rows(page).locator("td:nth-child(7)").all_inner_texts()
    assert len(files) == PAGE_SIZE
    assert set(files) == {"sample_2_L001_R1.fastq.gz"}
    page.get_by_label("Search").fill("plant")
    assert set(rows(page).locator("td:nth-child(6)").all_inner_texts()) == {"plant"}


def test_what_is_filtered_is_saved_as_csv(show, tmp_path):
    records = [("=1+1", 300, 0.99), ('a,"b"', 1234, 0.9), ("+x", 300, 0.8), ("@y", 300, 0.7), ("plain", 300, 0.6)]
    records += [(f"more_{i}", 200, 0.9) for i in range(60)]
    page = show(made(tmp_path / "run", records, fdr=0.25))
    page.get_by_label("Minimum length, nt").fill("250")
    text = saved(page, page.get_by_role("button", name="Save as CSV")).decode()
    table = list(csv.reader(io.StringIO(text)))
    assert table[0] == ["seq_name", "length", "virus_score", "fdr"]
    assert table[1:] == [
        ["'=1+1", "300", "0.9900", "0.2500"],
        ['a,"b"', "1234", "0.9000", "0.2500"],
        ["'+x", "300", "0.8000", "0.2500"],
        ["'@y", "300", "0.7000", "0.2500"],
        ["plain", "300", "0.6000", "0.2500"],
    ]
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("of 65 hits").wait_for()
    assert len(saved(page, page.get_by_role("button", name="Save as CSV")).splitlines()) == 66


def test_names_and_sequences_are_copied(show, tmp_path):
    long = "n" * 200
    directory = tmp_path / "run"
    page = show(
        made(directory, [(long, 130, 0.9), ("b", 130, 0.8)], sequences=True),
        permissions=["clipboard-read", "clipboard-write"],
    )
    row = rows(page).first
    row.get_by_role("button", name="Copy the name").click()
    row.get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == long
    rows(page).nth(1).get_by_role("button", name="Copy the sequence as FASTA").click()
    rows(page).nth(1).get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f">b of a test\n{fragment(130)}"


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


def test_hostile_names_are_shown_and_do_nothing(show, tmp_path):
    hostile = ["<script>alert(1)</script>", '"><img/src=x/onerror=alert(1)>', "</table><h1>x", "a'b&lt;${alert(1)}"]
    page = show(made(tmp_path / "run", [(name, 3000, 0.9) for name in hostile]))
    assert names(page) == hostile
    page.get_by_label("Search").fill("<script>")
    assert names(page) == hostile[:1]
    page.get_by_role("button", name="Show all").click()
    page.locator("#figure-contigs .live svg").scroll_into_view_if_needed()
    box = page.locator("#figure-contigs .live svg").bounding_box()
    tips = set()
    for part in range(20):
        page.mouse.move(box["x"] + box["width"] * part / 20, box["y"] + 50)
        tips.update(page.locator("#figure-contigs [aria-label=tip] text").all_text_contents())
    assert any(name in tip for tip in tips for name in hostile)
    assert page.locator("h1").count() == 1


def test_a_script_that_got_in_would_not_run(show, tmp_path):
    """The policy of the page is what stops it: a page without it is the other half of the test."""
    path = made(tmp_path / "run", [("a", 300, 0.9)])
    text = path.read_text()
    added = text.replace("</body>", "<script>document.title = 'changed'</script></body>")
    (tmp_path / "open.html").write_text(added.replace("Content-Security-Policy", "Nothing"))
    assert show(tmp_path / "open.html").title() == "changed"
    context_errors = []
    (tmp_path / "closed.html").write_text(added)
    browser_page = show(tmp_path / "open.html").context.new_page()
    browser_page.on("console", lambda message: context_errors.append(message.text))
    browser_page.goto((tmp_path / "closed.html").as_uri())
    assert browser_page.title() == "virnucpro: reads.fq.gz"
    assert any("Content Security Policy" in error for error in context_errors)


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const luminance = (colour) => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const part = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "white";
  };
  const found = [];
  for (const node of document.querySelectorAll("p,th,td,li,b,h1,h2,h3,a,caption,label,code,output,button,span")) {
    if (!node.textContent.trim() || !node.checkVisibility() || node.disabled) continue;
    const [a, b] = [luminance(getComputedStyle(node).color), luminance(ground(node))];
    found.push((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return Math.min(...found);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(show, full, scheme):
    """WCAG 2.1 AA asks for 4.5."""
    page = show(full, color_scheme=scheme)
    assert page.evaluate(CONTRAST) >= 4.5


def test_the_dark_page_is_dark_with_light_figures(show, full):
    light, dark = (show(full, color_scheme=scheme) for scheme in ("light", "dark"))
    for part, rule in (
        ("body", "backgroundColor"),
        (".live .fill-virus", "fill"),
        (".strip path", "fill"),
        (".live text", "fill"),
    ):
        colours = [
            page.locator(part).first.evaluate(f"node => getComputedStyle(node).{rule}") for page in (light, dark)
        ]
        assert colours[0] != colours[1], part


def test_keyboard_reaches_the_filter_and_the_heads_in_order(show, tmp_path):
    page = show(made(tmp_path / "run", random_records(40)))
    seen = []
    for _ in range(26):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.name || document.activeElement.textContent.trim().slice(0, 20)")
        )
    assert seen[0] == "Skip to the summary"
    order = ["SVG", "words", "minimum_length", "minimum_score", "Show all", "Save as CSV", "record"]
    assert [name for name in seen if name in order][-6:] == order[1:]
    assert "SVG" in seen


@pytest.mark.parametrize("which", ["full", "large"])
def test_a_phone(show, request, which):
    page = show(request.getfixturevalue(which))
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    for box in rows(page).locator("th, td").evaluate_all("all => all.map(one => one.getBoundingClientRect().right)"):
        assert box <= 400
    assert rows(page).first.locator("td").first.evaluate("cell => getComputedStyle(cell, '::before').content") != "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["full", "fuller", "large"])
def test_paper(show, request, which, scheme):
    """Dark pages are printed on white, too; Chromium writes a page object for each sheet."""
    page = show(request.getfixturevalue(which), color_scheme=scheme)
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 4
    page.emulate_media(media="print", color_scheme=scheme)
    assert page.locator("body").evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(255, 255, 255)"
    for part in ("#filter", ".tools", ".copy", "nav", "#pager"):
        assert not page.locator(part).first.is_visible(), part
    assert page.locator("#figure-calls svg.static").is_visible()
    assert not page.locator("#figure-calls .live").is_visible()


@pytest.mark.parametrize("scripts", ["no scripts", "scripts"])
def test_in_a_frame_that_allows_nothing_else(browser, full, tmp_path, scripts):
    """Galaxy and others show pages in sandboxed frames, which have no origin."""
    allowed = "allow-scripts" if scripts == "scripts" else ""
    (tmp_path / "outer.html").write_text(
        f'<iframe sandbox="{allowed}" src="{full.as_uri()}" width="1200" height="900"></iframe>'
    )
    context = browser.new_context()
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "outer.html").as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("#figure-calls svg").first.wait_for(state="attached")
    if scripts == "scripts":
        frame.get_by_text("page 1 of").wait_for()
        assert frame.locator("#figure-fdr .live svg").is_visible()
        frame.get_by_role("button", name="Copy the name").first.click()
        frame.locator("tbody").get_by_text(re.compile("copied|not allowed here")).first.wait_for()
        assert said == []
    else:
        assert frame.locator("#figure-fdr svg.static").is_visible()
        assert frame.locator("#hits tbody tr:visible").count() == PAGE_SIZE
        assert frame.get_by_text(f"Without scripts, only the first {PAGE_SIZE} are shown").is_visible()
        assert all("script" in line for line in said), said  # the frame says that it blocks them
    context.close()


def test_it_can_be_read_without_scripts(show, full):
    page = show(full, java_script_enabled=False)
    assert len(names(page)) == PAGE_SIZE
    assert not page.locator("#filter").is_visible()
    for name in FIGURES:
        assert page.locator(f"#figure-{name} svg.static").bounding_box()["height"] > 60
    assert page.locator("#long svg.strip").first.is_visible()
