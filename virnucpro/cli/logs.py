"""How messages look on stderr: lines for people, or with --json-log an object a line for programs."""

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
    """What a run says with the program's name, warnings with their level."""

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        begin = (
            "virnucpro" if record.levelno == NOTICE else "virnucpro: error" if event == "error" else record.levelname
        )
        return f"{begin}: {super().format(record)}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return a message as one line; one that has parts gives each its own line on a terminal."""
        parts = getattr(record, "parts", None)
        if parts and sys.stderr.isatty():
            return "\n  ".join(map(printable, parts))
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, event, message, and what more the event has."""

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
    """Writes to what is stderr at the moment, which a progress bar replaces while it is drawn."""

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
    """Say why the program ends, by another message than the error's own if one is given."""
    fields = {"exit_code": error.exit_code, "kind": type(error).__name__}
    logging.getLogger("virnucpro").error("%s", message or error, extra={"event": "error", "fields": fields})
