"""Format messages on stderr: as lines for people, or with --json-log as one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TextIO

from virnucpro.errors import VirnucproError
from virnucpro.printable import PrintableFormatter, printable, printable_json

NOTICE = 35  # as in pipeline.progress, which is imported by the commands that run a model alone


class Lines(PrintableFormatter):
    """Lines that begin with the program's name; warnings also show their level."""

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        begin = (
            "virnucpro" if record.levelno == NOTICE else "virnucpro: error" if event == "error" else record.levelname
        )
        return f"{begin}: {super().format(record)}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return a message as one line, or on a terminal as one line per part."""
        parts = getattr(record, "parts", None)
        if parts and sys.stderr.isatty():
            return "\n  ".join(map(printable, parts))
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """One JSON object per line: time (UTC), level, event, message, and further fields of the event."""

    json_lines = True

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": "info" if record.levelno == NOTICE else record.levelname.lower(),
            "event": getattr(record, "event", "message"),
            "message": super().format(record),
            **getattr(record, "fields", {}),
        }
        return printable_json(json.dumps(event))


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler  # Python 3.10 has no type arguments here


class _Stderr(_StreamHandler):
    """Writes to the current sys.stderr, which a progress bar replaces while it is shown."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def set_up(level: int, json_lines: bool) -> None:
    """Send messages of a level or above to stderr."""
    handler = _Stderr()
    handler.setFormatter(JsonLines() if json_lines else Lines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def report_error(error: VirnucproError, message: str = "") -> None:
    """Report the error that ends the program, with `message` instead of its own if given."""
    fields = {"exit_code": error.exit_code, "kind": type(error).__name__}
    logging.getLogger("virnucpro").error("%s", message or error, extra={"event": "error", "fields": fields})
