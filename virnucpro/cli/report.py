"""virnucpro report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options


def report(
    run: Annotated[Path, typer.Argument(help="Output directory of a finished `predict`.", show_default=False)],
) -> None:
    """Write the report of a finished run anew.

    `predict` writes report.html and virnucpro_mqc.json; this is for runs of an older version, or after the files were
    lost.

    Example: virnucpro report calls
    """
    from virnucpro.pipeline.outputs import REPORT
    from virnucpro.report.write import write_report

    write_report(run)
    options.report(f"open {run / REPORT} in a browser")
