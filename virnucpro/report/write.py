"""Write the reports of a finished run: report.html and virnucpro_mqc.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from virnucpro.files import atomic_writer, write_json
from virnucpro.report.html import readable
from virnucpro.report.load import Run, read_run
from virnucpro.report.page import render
from virnucpro.run.tables import MULTIQC, REPORT
from virnucpro.types import CONFIDENCE

# Colours of the bars in MultiQC: those of the page for virus and other, paler for less confidence.
_COLOURS = {
    "virus": "#b5472a", "virus, high confidence": "#b5472a", "virus, medium confidence": "#d58a72",
    "virus, low confidence": "#ecc4b6", "other": "#7d97a8",
}  # fmt: skip
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
    counts = {**_virus(run), "other": run.count("other")}
    counts |= {status: n for (status, called), n in sorted(run.outcomes.items()) if called == "NA"}
    return {
        "id": "virnucpro",
        "section_name": "virnucpro",
        "description": "records called virus or other, and those that were not called, by status",
        "plot_type": "bargraph",
        "pconfig": {"id": "virnucpro_calls", "title": "virnucpro: calls", "ylab": "records"},
        "categories": {name: {"name": name, "color": _COLOURS.get(name, "#c9c4ba")} for name in counts},
        "data": {readable(sample_name(run)): counts},  # MultiQC reads UTF-8
    }


def _virus(run: Run) -> dict[str, int]:
    """Return the number of viruses, by confidence if the model is calibrated."""
    confidence = run.counts.confidence
    if run.manifest.outcome.prevalence is None or confidence.total() != run.count("virus"):
        return {"virus": run.count("virus")}
    return {f"virus, {name} confidence": confidence[name] for name in CONFIDENCE}


def sample_name(run: Run) -> str:
    """Return the name of the first input file without its endings."""
    inputs = run.manifest.inputs
    name = Path(inputs[0].path).name if inputs else ""
    while ending := next((ending for ending in _ENDINGS if name.lower().endswith(ending) and name != ending), None):
        name = name[: -len(ending)]
    return "stdin" if name in ("", "-") else name
