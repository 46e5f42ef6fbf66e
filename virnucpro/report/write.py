"""Write the reports of a finished run: report.html, and the files for MultiQC."""

from __future__ import annotations

from pathlib import Path

from virnucpro.files import atomic_writer, write_json
from virnucpro.report import multiqc
from virnucpro.report.load import Run, read_run
from virnucpro.report.page import render
from virnucpro.run.tables import MULTIQC, MULTIQC_COMPOSITION, REPORT


def write_report(directory: Path) -> Run:
    """Write report.html and the files for MultiQC into the directory of a finished run; return the run.

    Raises:
        InputError: there is no complete run, or its files contradict each other.
        OutputError: a file cannot be written.
    """
    run = read_run(directory)
    write_json(directory / MULTIQC, multiqc.calls(run))
    write_json(directory / MULTIQC_COMPOSITION, multiqc.composition(run))
    with atomic_writer(directory / REPORT) as file:
        file.write(render(run))
    return run
