"""The Markdown that users read, and the blocks of code in it.

A block of sh, console or python runs in test_commands.py unless a comment stands before it: <!-- not run: REASON -->
In a block of console, lines that begin with `$ ` are commands and the others what they print.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path
    for folder in ("", "docs", "examples")
    for path in sorted((ROOT / folder).glob("*.md"))
}
RUN = ("sh", "console", "python")
SHOWN = ("text", "yaml", "toml", "json")

_BLOCK = re.compile(
    r"(?P<before><!-- not run: (?P<why>\S[^\n]*?) -->\n\s*)?"
    r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `why` it is not run, None if it is to be."""

    page: str
    line: int
    language: str
    text: str
    why: str | None


def blocks(page: str, markdown: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    return [
        Block(page, markdown.count("\n", 0, found.start()) + 1, found["language"], dedent(found["text"]), found["why"])
        for found in _BLOCK.finditer(markdown)
    ]


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page by its path in the repository."""
    return blocks(page, PAGES[page].read_text(encoding="utf-8"))
