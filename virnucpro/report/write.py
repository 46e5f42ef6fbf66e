"""Write the reports of a finished run: report.html and virnucpro_mqc.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from virnucpro.files import atomic_writer, write_json
from virnucpro.report.html import readable
from virnucpro.report.load import Run, read_run
from virnucpro.report.page import render
from virnucpro.run.tables import MULTIQC, REPORT

# Colours of the bars in MultiQC: those of the page for virus and other.
_COLOURS = {"virus": "#b5472a", "other": "#7d97a8"}
_ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".fastq", ".fq", ".fasta", ".fna", ".fa")


def write_report(directory: Path) -> Run:
    """Write report.html and virnucpro_mqc.json into the directory of a finished run; return the run.

    Raises:
        InputError: there is no complete run, or its files contradict each other.
        OutputError: a file cannot be written.
    """
    run = read_run(directory)
    write_json(directory / MULTIQC, multiqc(run))
    with atomic_writer(directory / REPORT) as file:
        file.write(render(run))
    return run


def multiqc(run: Run) -> dict[str, Any]:
    """Return the run as MultiQC's custom content: a bar of records by result, named after the first input file."""
    screened = run.outcomes["screened", "other"]
    counts = {"virus": run.count("virus"), "other": run.count("other") - screened}
    counts |= {"screened": screened} if screened else {}
    left_out = "were screened out or not called" if screened else "were not called"
    counts |= {status: n for (status, called), n in sorted(run.outcomes.items()) if called == "NA"}
    return {
        "id": "virnucpro",
        "section_name": "virnucpro",
        "description": f"records called virus or other, and those that {left_out}, by status",
        "plot_type": "bargraph",
        "pconfig": {"id": "virnucpro_calls", "title": "virnucpro: calls", "ylab": "records"},
        "categories": {name: {"name": name, "color": _COLOURS.get(name, "#c9c4ba")} for name in counts},
        "data": {readable(sample_name(run)): counts},  # MultiQC reads UTF-8
    }


def sample_name(run: Run) -> str:
    """Return the name of the first input file without its endings."""
    inputs = run.manifest.inputs
    name = Path(inputs[0].path).name if inputs else ""
    while ending := next((ending for ending in _ENDINGS if name.lower().endswith(ending) and name != ending), None):
        name = name[: -len(ending)]
    return "stdin" if name in ("", "-") else name
