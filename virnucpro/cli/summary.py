"""virnucpro summary."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.words import counted


def summary(
    runs: Annotated[list[Path], typer.Argument(help="Output directories of finished `predict`.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Page, NAME.html; NAME.tsv lies beside it.", show_default=False)
    ],
) -> None:
    """Put many runs into one table and one page.

    Each sample has a row: records, bases, calls, calls that may be wrong, and its estimated composition. The name of a
    sample is that of `predict --sample`. Earlier files of these names are replaced.

    Example: virnucpro summary soil lake gut -o samples.html
    """
    from virnucpro.errors import ConfigError, OutputError
    from virnucpro.files import atomic_writer
    from virnucpro.report.load import RUN_FILES
    from virnucpro.report.summary import COLUMNS, page, read_samples, table
    from virnucpro.run.replacement import refuse_inputs
    from virnucpro.run.tables import REPORTS

    if output.suffix.lower() != ".html":
        raise ConfigError(f"output must be the name of a page, NAME.html, got {output}", "output")
    if repeated := next((run for number, run in enumerate(runs) if run in runs[:number]), None):
        raise ConfigError(f"{repeated} is given twice; give each run once")
    beside = output.with_suffix(".tsv")
    refuse_inputs([run / name for run in runs for name in (*RUN_FILES, *REPORTS)], [output, beside])
    if beside.exists():
        with beside.open("rb") as file:
            first_line = file.readline(1000)
        if not first_line.startswith("\t".join(COLUMNS[:3]).encode()):
            raise OutputError(f"{beside} exists and is no summary of runs; choose another --output")
    samples = read_samples(runs)
    for name, times in Counter(one.name for one in samples).items():
        if times > 1:
            logging.getLogger("virnucpro").warning("%d runs have the name %s; use predict --sample", times, name)
    for path, text in ((beside, table(samples)), (output, page(samples))):
        with atomic_writer(path) as written:
            written.write(text)
    options.report(f"{counted(len(samples), 'samples')}; open {output} in a browser; the table is {beside}")
