"""Markup that cannot forget to escape: text is escaped unless it is `Html`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

# Characters that HTML does not allow, or that change the order of what stands around them.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # halves of characters that stand for no byte either
_NUMBER = re.compile(r"\d+(\.\d+)?%?")
_LONGEST_NAME = 120


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def readable(value: object) -> str:
    r"""Return a value as text that can be shown: bytes and characters that cannot be shown become codes.

    >>> readable("na\udcefve\x1b")
    'na\\xefve\\x1b'
    """
    known = _NO_BYTE.sub(_code, str(value)).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _INVISIBLE.sub(_code, known)


def _code(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def text(value: object) -> Html:
    """Return a value as markup, see `readable`."""
    return value if isinstance(value, Html) else Html(html.escape(readable(value)))


def join(*parts: object) -> Html:
    """Return the parts, one after the other."""
    return Html("".join(map(text, parts)))


def element(tag: str, /, *children: object, **attributes: object) -> Html:
    """Return an element. Of an attribute's name, _ becomes - and a last one is left out; None leaves out the attribute.

    >>> element("td", "<a>", class_="n", data_v=1)
    '<td class="n" data-v="1">&lt;a&gt;</td>'
    """
    given = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    opening = "".join(f' {key}="{text(value)}"' for key, value in given)
    return Html(f"<{tag}{opening}>" if tag == "input" else f"<{tag}{opening}>{join(*children)}</{tag}>")


def record_name(name: str) -> Html:
    """Return a record's id, shortened if it is long and kept from changing the direction of the line."""
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    return element("bdi", shown, title=name[:1000] if shown != name else None)


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table with its caption, in a box that scrolls sideways and can be reached by keyboard.

    The first cell of a row names it; a column with numbers aligns right.
    """
    body = [list(row) for row in rows]
    numbers = [i > 0 and any(_NUMBER.fullmatch(str(row[i])) for row in body) for i in range(len(head))]
    heads = (
        element("th", name, scope="col", class_="n" if number else None)
        for name, number in zip(head, numbers, strict=True)
    )
    firsts = [True] + [False] * (len(head) - 1)
    lines = join(*(element("tr", *map(_cell, row, numbers, firsts)) for row in body))
    return wide(caption, element("tr", *heads), lines)


def wide(caption: str, head: Html, rows: Html) -> Html:
    """Return a table of rows that are markup already, see `table`."""
    made = element("table", element("caption", caption), element("thead", head), element("tbody", rows))
    return element("div", made, class_="wide", tabindex=0, role="region", aria_label=caption)


def _cell(value: object, number: bool, first: bool) -> Html:
    shown = f"{value:,}" if isinstance(value, int) else value
    return element("th" if first else "td", shown, scope="row" if first else None, class_="n" if number else None)


def section(name: str, heading: str, *content: object) -> Html:
    """Return a part of the page that links lead to by its name."""
    title = element("h2", heading, id=f"{name}-title")
    return element("section", title, *content, id=name, aria_labelledby=f"{name}-title")


def paragraph(*content: object, class_: str | None = None) -> Html:
    """Return a paragraph."""
    return element("p", *content, class_=class_)
