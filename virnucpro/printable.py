"""Make text from files, arguments and servers safe to print on a terminal, in a log or in an error message."""

from __future__ import annotations

import logging
from typing import Any

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BYTES = range(0xDC80, 0xDD00)  # the surrogates by which `surrogateescape` represents bytes that are not UTF-8
_HIGH_LETTERS = range(0xDCA0, 0xDD00)  # those of them that are not control characters in any character set


def printable(text: str, keep_bytes: bool = False) -> str:
    r"""Return text with escapes for all characters that could control a terminal or be invisible.

    Escapes replace control characters (ESC, newline, tab, C1, DEL), direction marks, invisible characters, and bytes
    that are not UTF-8. Applying it twice changes nothing more. With `keep_bytes`, bytes from 0xA0 that are not UTF-8
    stay, so that letters of older character sets are printed byte for byte.

    >>> printable("a\x1b[31mb\n\u202ec é")
    'a\\x1b[31mb\\n\\u202ec é'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or (keep_bytes and ord(char) in _HIGH_LETTERS) else _escape(char) for char in text
    )


def printable_json(text: str) -> str:
    r"""Return JSON in ASCII without DEL, the one control character that JSON does not escape.

    >>> printable_json('"\x7f"')
    '"\\u007f"'
    """
    return text.replace("\x7f", "\\u007f")


class PrintableFormatter(logging.Formatter):
    """Makes log records printable on one line each; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # a name of logging
        """Return the record as one printable line."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback with printable lines."""
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


def _escape(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
