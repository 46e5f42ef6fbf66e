"""A report on a phone, on paper, in the dark, by keyboard, in a closed frame, without scripts."""

import re

import pytest
from support.report_pages import made
from support.run_directories import random_records
from support.shown_pages import names, rows

from virnucpro.report.page import PAGE_SIZE

FIGURES = ("calls", "fdr", "contigs", "composition", "files")


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
