"""The README opens with a picture, the two commands of make and a table of tasks; what it links to exists."""

import re

import pytest
from docs.pages import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT)))


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a page's headings, as the site and code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_it_opens_with_picture_commands_and_tasks() -> None:
    places = [TEXT.index(words) for words in ("![", "make demo ", "make test ", "| I want to ... |", "## Install")]
    assert places == sorted(places)
    assert TEXT[: places[0]].count("\n") < 8


@pytest.mark.parametrize("link", [link for link in LINKS if not link.startswith("https:")])
def test_links_lead_somewhere(link: str) -> None:
    name, _, anchor = link.partition("#")
    path = ROOT / name
    assert path.is_file(), link
    if anchor:
        found = {one.replace("--", "-") for one in anchors(path.read_text(encoding="utf-8"))}
        assert anchor in found, (link, sorted(found))


def test_every_page_for_users_is_in_the_table_or_below() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    named = set(re.findall(r"docs/([\w-]+\.md)", TEXT))
    assert pages - named <= {"architecture.md", "method.md", "models.md", "model-card.md", "releasing.md"}


def test_the_two_commands_are_those_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in ("demo", "test"))
