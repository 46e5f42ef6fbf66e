"""virnucpro report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options


def report(
    run: Annotated[Path, typer.Argument(help="Output directory of a finished `predict`.", show_default=False)],
) -> None:
    """Write the report of a finished run again.

    `predict` writes report.html and virnucpro_mqc.json; use this command for a run of an older version, or if the
    files were lost.

    Example: virnucpro report calls
    """
    from virnucpro.errors import MissingInputError
    from virnucpro.files import locked
    from virnucpro.report.load import RUN_FILES
    from virnucpro.report.write import write_report
    from virnucpro.run.directory import RunDirectory
    from virnucpro.run.outputs import find_output
    from virnucpro.run.replacement import refuse_inputs
    from virnucpro.run.tables import REPORT, REPORTS

    if not run.is_dir():  # the lock would create it
        raise MissingInputError(f"{run} is not a directory; name an --output of predict")
    with locked(run):
        refuse_inputs([find_output(run, name) for name in RUN_FILES], [run / name for name in REPORTS])
        RunDirectory(run).remove_leftovers()
        write_report(run)
    options.report(f"open {run / REPORT} in a browser")
