"""Values as markup: text is escaped, and characters that cannot be shown become codes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

# Characters that HTML does not allow, or that change the direction of the text around them.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that do not stand for a byte
_NUMBER = re.compile(r"\d+(\.\d+)?%?")
_LONGEST_NAME = 80  # characters of a name that the page shows
_MAX_NAME = 250  # characters of a name that the page has


def readable(value: object) -> str:
    r"""Return a value as text that can be shown: bytes and characters that cannot be shown become codes.

    >>> readable("na\udcefve\x1b")
    'na\\xefve\\x1b'
    """
    known = _NO_BYTE.sub(_code, str(value)).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _INVISIBLE.sub(_code, known)


def _code(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page: caption, names of the columns, and rows, each named by its first cell."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]

    @property
    def numeric(self) -> list[bool]:
        """Which columns have numbers and are aligned right."""
        return [i > 0 and any(_NUMBER.fullmatch(str(row[i])) for row in self.rows) for i in range(len(self.head))]


def shortened(name: str) -> str:
    """Return a name as text that can be shown, without the end of a long one."""
    shown = readable(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}…"


def record_name(name: str) -> Markup:
    """Return a record's id as markup: shortened, and isolated so that it cannot change the direction of the line."""
    whole = readable(name)
    if len(whole) <= _LONGEST_NAME:
        return Markup("<bdi>{}</bdi>").format(whole)
    title = whole if len(whole) <= _MAX_NAME else f"{whole[:_MAX_NAME]}…"
    return Markup('<bdi title="{}">{}</bdi>').format(title, shortened(name))


def policy_hash(content: str) -> str:
    """Return the hash by which the security policy of a page allows this style or script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def environment() -> Environment:
    """Return a Jinja environment that makes values readable and escapes them, and raises for undefined names."""
    made = Environment(
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else readable(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"commas": _commas, "percent": _percent, "record_name": record_name}
    return made


def _commas(value: Any) -> Any:
    return f"{value:,}" if isinstance(value, int) else value


def _percent(share: float, digits: int) -> str:
    return f"{share:.{digits}%}"
