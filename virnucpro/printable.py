"""Text of files, arguments and servers made safe to show to people: on a terminal, in a log, in an error message."""

from __future__ import annotations

import logging
from typing import Any

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BYTES = range(0xDC80, 0xDD00)  # what `surrogateescape` makes of bytes that are not UTF-8
_HIGH_LETTERS = range(0xDCA0, 0xDD00)  # of these, the ones that no character set uses for control


def printable(text: str, keep_bytes: bool = False) -> str:
    r"""Return text in which every character that could act on a terminal, or hide, is written as an escape.

    Escaped are control characters (ESC, newline, tab, C1, DEL), marks of direction, invisible characters, and bytes
    that are not UTF-8. Applying it twice changes nothing more. With `keep_bytes`, bytes from 0xA0 on that are not
    UTF-8 stay as they are, so that letters of older character sets come out byte for byte.

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
    """Makes log records printable; only the lines of a traceback stay lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # a name of logging
        """Return the record as one printable line."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback whose lines are printable."""
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
