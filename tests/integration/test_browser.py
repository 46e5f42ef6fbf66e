"""The report in a real browser: Chromium, driven by Playwright; both are optional."""

import shutil
from pathlib import Path

import pytest
from support.run_directories import random_records, write_run

from virnucpro.report.load import TOP_HITS
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
    return made(tmp_path_factory.mktemp("large") / "run", random_records(100_000), fdr=0.031)


def names(page) -> list[str]:
    """Return the names of the rows that can be seen, from top to bottom."""
    return page.locator("#hits tbody tr:visible th").all_inner_texts()


def column(page, number: int) -> list[float]:
    cells = page.locator(f"#hits tbody tr:visible td:nth-child({number})").all_inner_texts()
    return [float(cell.replace(",", "")) for cell in cells]


def test_no_record(show, tmp_path):
    page = show(made(tmp_path / "run", []))
    assert page.get_by_role("heading", level=1).inner_text() == "Viral sequences in reads.fq.gz"
    assert page.get_by_text("there is nothing to call").is_visible()
    assert page.locator("#filter").count() == 0


def test_one_record(show, tmp_path):
    page = show(made(tmp_path / "run", [("only", 300, 0.9)]))
    assert names(page) == ["only"]
    assert page.get_by_text("1 of 1 rows shown").is_visible()
    assert page.get_by_role("img", name="best virus score of frames: F1 0.90, R2 0.10").is_visible()


def test_a_hundred_thousand_records_are_sorted_by_any_column(show, large):
    page = show(large)
    assert page.get_by_text(f"{TOP_HITS} of {TOP_HITS} rows shown").is_visible()
    for label, number in (("length, nt", 2), ("virus score", 3)):
        for order, backwards in (("descending", True), ("ascending", False)):
            page.locator("#hits").get_by_role("button", name=label).click()
            assert page.locator("#hits th[aria-sort]").get_attribute("aria-sort") == order
            values = column(page, number)
            assert len(values) == TOP_HITS
            assert values == sorted(values, reverse=backwards)
    page.locator("#hits").get_by_role("button", name="record").press("Enter")
    assert names(page) == sorted(names(page))


def test_a_hundred_thousand_records_are_filtered(show, large):
    page = show(large)
    everything = names(page)
    page.get_by_label("Name contains").fill("READ_1")
    wanted = [name for name in everything if "read_1" in name]
    assert 0 < len(wanted) < TOP_HITS
    assert names(page) == wanted
    assert page.get_by_text(f"{len(wanted)} of {TOP_HITS} rows shown").is_visible()
    page.get_by_label("Minimum length, nt").fill("400")
    lengths = column(page, 2)
    assert 0 < len(lengths) < len(wanted)
    assert min(lengths) >= 400
    page.get_by_role("button", name="Show all").click()
    page.get_by_text(f"{TOP_HITS} of {TOP_HITS} rows shown").wait_for()
    middle = sorted(column(page, 3))[TOP_HITS // 2]
    page.get_by_label("Minimum score").fill(str(middle))
    assert min(column(page, 3)) >= middle
    page.get_by_label("Name contains").fill("no such record")
    assert names(page) == []
    assert page.get_by_text(f"0 of {TOP_HITS} rows shown").is_visible()


# The share of each picture's area that has the colour of a score; the colours are those of the page's own scale.
PIXELS = """async (pictures) => {
  const colours = [0, 1, 2, 3, 4].map(n => getComputedStyle(document.querySelector(`i.s${n}`)).backgroundColor);
  const counts = [];
  for (const picture of pictures) {
    const canvas = document.createElement("canvas");
    const box = picture.getBoundingClientRect();
    [canvas.width, canvas.height] = [Math.round(box.width), Math.round(box.height)];
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.scale(box.width / picture.viewBox.baseVal.width, box.height / picture.viewBox.baseVal.height);
    for (const path of picture.querySelectorAll("path")) {
      const fill = getComputedStyle(path).fill;
      if (!colours.includes(fill)) continue;
      context.fillStyle = fill;
      context.fill(new Path2D(path.getAttribute("d")));
    }
    const alpha = context.getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 === 3);
    counts.push(alpha.filter(value => value > 0).length / alpha.length);
  }
  return counts;
}"""


def test_every_picture_of_long_records_has_marks(show, tmp_path):
    """Records of up to 200 windows, the longest of which are among the best hits, too."""
    contigs = [(f"contig_{i}", 500 * (4 + 7 * i), 0.6 + i / 100) for i in range(29)]
    page = show(made(tmp_path / "run", contigs + [(f"read_{i}", 300, 0.55) for i in range(40)]))
    for kind, number, share in (("frames", 69, 0.12), ("strip", 20, 0.99)):
        pictures = page.locator(f"svg.{kind}")
        assert pictures.count() == number
        drawn = pictures.evaluate_all(PIXELS)
        assert min(drawn) > share, (kind, drawn)
    best = page.locator("#hits tbody tr").first
    assert best.locator("th").inner_text() == "contig_28"
    levels = {kind for kind in best.locator("svg path").evaluate_all("all => all.map(p => p.className.baseVal)")}
    assert {"s4", "s0"} <= levels


def test_hostile_names_are_shown_and_do_nothing(show, tmp_path):
    hostile = ["<script>alert(1)</script>", '"><img/src=x/onerror=alert(1)>', "</table><h1>x", "a'b&lt;${alert(1)}"]
    page = show(made(tmp_path / "run", [(name, 3000, 0.9) for name in hostile]))
    assert names(page) == hostile
    page.get_by_label("Name contains").fill("<script>")
    assert names(page) == hostile[:1]


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
  for (const node of document.querySelectorAll("p, th, td, li, b, h1, h2, h3, a, caption, label, code, output")) {
    if (!node.textContent.trim() || !node.checkVisibility()) continue;
    const [a, b] = [luminance(getComputedStyle(node).color), luminance(ground(node))];
    found.push((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return Math.min(...found);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(show, tmp_path, scheme):
    """WCAG 2.1 AA asks for 4.5."""
    page = show(made(tmp_path / "run", random_records(40), fdr=0.02), color_scheme=scheme)
    assert page.evaluate(CONTRAST) >= 4.5


def test_keyboard_reaches_the_filter_and_the_heads_in_order(show, tmp_path):
    page = show(made(tmp_path / "run", random_records(40)))
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.name || document.activeElement.textContent.trim().slice(0, 20)")
        )
    assert seen[0] == "Skip to the summary"
    order = ["name_part", "minimum_length", "minimum_score", "Show all", "record"]
    assert [name for name in seen if name in order] == order


def test_a_phone_and_paper(show, tmp_path):
    page = show(made(tmp_path / "run", random_records(40)))
    page.set_viewport_size({"width": 380, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.emulate_media(media="print")
    assert not page.locator("#filter").is_visible()
    assert page.pdf().startswith(b"%PDF-")


def test_it_can_be_read_without_scripts(show, tmp_path):
    page = show(made(tmp_path / "run", random_records(40)), java_script_enabled=False)
    assert len(names(page)) > 5
    assert not page.locator("#filter").is_visible()
