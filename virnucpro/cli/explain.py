"""virnucpro explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli.print_tables import print_line


def explain(
    run: Annotated[Path, typer.Argument(help="Output directory of a finished `predict`.", show_default=False)],
    record: Annotated[str, typer.Argument(help="Id of a record.", show_default=False)],
) -> None:
    """Explain the call of a record.

    Prints the filters passed and failed, the windows and the frames with their scores.

    Example: virnucpro explain calls contig_17
    """
    from virnucpro.report.explain import explain as lines_on

    for line in lines_on(run, record):
        print_line(line, bytes_to_files=True)  # so that ids of other character sets can be searched for
