"""Snakemake wrapper of `virnucpro scan`."""

__author__ = "The virnucpro developers"
__copyright__ = "Copyright 2026, The virnucpro developers"
__license__ = "MIT"

import shlex
import shutil
from pathlib import Path

from snakemake.shell import shell

FILES = {
    "regions": "regions.tsv",
    "bed": "regions.bed",
    "gff": "regions.gff3",
    "bedgraph": "scores.bedgraph",
    "fasta": "regions.fasta",
    "report": "report.html",
}
FIGURES = "figures"  # a directory
if unknown := set(snakemake.output.keys()) - {*FILES, FIGURES}:
    raise ValueError(f"unknown output {', '.join(sorted(unknown))}; choose among {', '.join([*FILES, FIGURES])}")

run_directory = Path(f"{snakemake.output[0]}.run")
# Text for the shell, as in other wrappers; all names are quoted.
extra = snakemake.params.get("extra", "")
model = f"--model={shlex.quote(str(model))}" if (model := snakemake.params.get("model", "")) else ""
plots = "" if snakemake.output.get(FIGURES) else "--plots none"
log = f">> {shlex.quote(str(snakemake.log[0]))} 2>&1" if snakemake.log else ""

shell(
    "virnucpro scan --output={run_directory:q} --restart --threads {snakemake.threads} {model} {plots} {extra}"
    " -- {snakemake.input:q} {log}"
)

for name, path in snakemake.output.items():
    if name == FIGURES:
        Path(path).mkdir(parents=True, exist_ok=True)
        for figure in run_directory.glob("record_*"):
            shutil.move(figure, path)
    else:
        shutil.move(run_directory / FILES[name], path)
shutil.rmtree(run_directory)
