"""Report pages as their elements and text, and hostile names for them."""

from html.parser import HTMLParser
from pathlib import Path

from support.run_directories import write_run
from virnucpro.report.write import write_report

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img/src=x/onerror=alert(1)>',
    "</style><b>",
    "a'&amp;`${7*7}",
    "\u202egnp.exe",
    "nul\x00esc\x1b[31m",
    "na\udcefve\udcff",
    "{{ 7*7 }}{% raw %}",
    "x" * 5000,
]


class Reader(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = "".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def page(directory: Path) -> str:
    write_report(directory)
    return (directory / "report.html").read_text(encoding="utf-8")


def made(directory: Path, *arguments, **keywords) -> Path:
    """Write a run and its report; return the path of the page."""
    write_report(write_run(directory, *arguments, **keywords))
    return directory / "report.html"


def rates(records) -> list[float]:
    """Return a rate for each record, higher where its score is lower."""
    return [1 - (score or 0) for _, _, score in records]
