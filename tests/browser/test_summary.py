"""The page of several runs in a browser: on a screen, a phone, paper, and in the dark."""

import json
from pathlib import Path

import pytest
from support.run_directories import random_records, write_run

from virnucpro.report.summary import page, read_samples

NAMES = ("soil", "lake water", "a_patient_with_a_name_of_many_characters_2026-11-28_replicate_2", "none")
HOSTS = {f"class {i}": 1 / 12 for i in range(12)}


@pytest.fixture(scope="module")
def summary(tmp_path_factory) -> Path:
    folder, paths = tmp_path_factory.mktemp("summary"), []
    for number, name in enumerate(NAMES):
        records = random_records(400, seed=number) if name != "none" else []
        path = write_run(folder / f"run_{number}", records, fdr=0.02, sample=name)
        manifest = json.loads((path / "run.json").read_text())
        manifest["composition"] = {"hosts": HOSTS, "interval": [0.1, 0.1 + number / 10], "source": "sample"}
        (path / "run.json").write_text(json.dumps(manifest | {"prevalence": 0.1 + number / 20}))
        paths.append(path)
    (folder / "all.html").write_text(page(read_samples(paths)), encoding="utf-8")
    return folder / "all.html"


def lightness(page, of: str) -> float:
    """Return the mean of red, green and blue of the ground of an element."""
    colour = page.locator(of).evaluate("node => getComputedStyle(node).backgroundColor")
    return sum(map(float, colour[colour.index("(") + 1 : -1].split(",")[:3])) / 3


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
def test_all_samples_fit(show, summary, width):
    shown = show(summary, width=width)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    rows = shown.locator("#samples tbody tr")
    assert rows.count() == len(NAMES)
    for row, name in zip(rows.all(), NAMES, strict=True):
        assert name[:60] in row.locator("th bdi").inner_text()
        assert row.locator("th bdi").is_visible()
    if width <= 704:  # cards: nothing in them is cut, and each value has its name
        box = shown.locator("#samples").bounding_box()
        for cell in shown.locator("#samples tbody td").all():
            inner = cell.bounding_box()
            assert inner["x"] >= box["x"]
            assert inner["x"] + inner["width"] <= box["x"] + box["width"]
            assert cell.evaluate("node => getComputedStyle(node, '::before').content").strip('" ') != "none"
    else:
        assert shown.locator("#samples thead th").first.is_visible()


def test_bars_are_as_long_as_their_shares(show, summary):
    shown = show(summary)
    measure = "parts => parts.map(part => part.getBoundingClientRect().width)"
    for number, row in enumerate(shown.locator("#samples tbody tr").all()):
        for column in ("results", "estimated composition"):
            bar = row.locator(f"td[data-label='{column}'] svg")
            whole, parts = bar.bounding_box()["width"], bar.locator("rect").evaluate_all(measure)
            if column == "results" and NAMES[number] == "none":
                assert parts == []
                continue
            assert abs(sum(parts) - whole) < 1
            if column == "estimated composition":
                assert abs(parts[0] / whole - (0.1 + number / 20)) < 0.01
    colours = (
        shown.locator("#samples tbody tr")
        .first.locator(".bars")
        .nth(2)
        .locator("rect")
        .evaluate_all("parts => parts.map(part => getComputedStyle(part).fill)")
    )
    assert len(set(colours)) == len(colours) == 12  # virus, ten classes, and the other classes


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_ground_follows_the_system(show, summary, scheme):
    shown = show(summary, color_scheme=scheme)
    assert (lightness(shown, "body") > 128) == (scheme == "light")


def test_paper_is_white_and_has_all_columns(show, summary):
    shown = show(summary, width=720, color_scheme="dark")
    shown.emulate_media(media="print")
    assert lightness(shown, "section >> nth=0") == 255
    assert shown.evaluate("document.documentElement.scrollWidth") <= 720
    assert shown.locator("#samples thead th").last.is_visible()
    assert shown.pdf().count(b"/Type /Page\n") <= 2
