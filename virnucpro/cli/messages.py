"""The options -q, -v and --json-log, which may stand before a command or after it."""

from __future__ import annotations

import logging
from copy import copy
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from virnucpro.cli import logs

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Also print details, such as the chosen backends.")]
JsonLog = Annotated[
    bool, typer.Option("--json-log", help="Print messages, progress and summary on stderr as one JSON object per line.")
]

_options = typer.Typer(add_completion=False)


@_options.command()
def set_up(quiet: Quiet = False, verbose: Verbose = False, json_log: JsonLog = False) -> None:
    """Print messages on stderr as these options say; --quiet is stronger than --verbose."""
    logs.set_up(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING, json_log)


_PARAMETERS = typer.main.get_command(_options).params
_NAMES = [parameter.name for parameter in _PARAMETERS]


class Command(TyperCommand):
    """A command that also takes the options of messages; its help shows them in a section of their own."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.params = [*self.params, *map(copy, _PARAMETERS)]

    def invoke(self, ctx: Any) -> Any:
        """Set up messages by the options before and after the command, then run it."""
        before = ctx.find_root().params
        set_up(*(bool(ctx.params.pop(name)) or bool(before.get(name)) for name in _NAMES))
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of the help: arguments, options, messages."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], "Messages": []}
        for parameter in self.get_params(ctx):
            title = f"{parameter.param_type_name.title()}s" if parameter.name not in _NAMES else "Messages"
            if record := parameter.get_help_record(ctx):
                sections[title].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
