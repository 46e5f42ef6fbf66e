"""Snakemake wrapper of `virnucpro predict`."""

__author__ = "The virnucpro developers"
__copyright__ = "Copyright 2026, The virnucpro developers"
__license__ = "MIT"

import shlex
import shutil
from pathlib import Path

from snakemake.shell import shell

FILES = {
    "records": "records.tsv",
    "chunks": "chunks.tsv",
    "frames": "frames.tsv",
    "fasta": "viral.fasta",
    "fasta_1": "viral_1.fasta",
    "fasta_2": "viral_2.fasta",
    "fastq": "viral.fastq",
    "fastq_1": "viral_1.fastq",
    "fastq_2": "viral_2.fastq",
    "report": "report.html",
    "run": "run.json",
    "multiqc": "virnucpro_mqc.json",
    "composition": "virnucpro_composition_mqc.json",
}
if unknown := set(snakemake.output.keys()) - set(FILES):
    raise ValueError(f"unknown output {', '.join(sorted(unknown))}; choose among {', '.join(FILES)}")

# Not among the outputs, which Snakemake removes when a job fails: so a retry uses what is done.
run_directory = Path(f"{snakemake.output[0]}.run")
# Text for the shell, as in other wrappers; all names are quoted.
extra = snakemake.params.get("extra", "")
model = f"--model={shlex.quote(str(model))}" if (model := snakemake.params.get("model", "")) else ""
log = f">> {shlex.quote(str(snakemake.log[0]))} 2>&1" if snakemake.log else ""

shell(
    "virnucpro predict --output={run_directory:q} --resume --threads {snakemake.threads} {model} {extra}"
    " -- {snakemake.input:q} {log}"
)

# Hits with qualities exist for FASTQ input only. A rule for both kinds of input gets an empty file for FASTA.
for name in set(snakemake.output.keys()) & {"fastq", "fastq_1", "fastq_2"}:
    if (run_directory / FILES[name]).with_suffix(".fasta").exists():
        (run_directory / FILES[name]).touch()
if absent := [name for name, _ in snakemake.output.items() if not (run_directory / FILES[name]).exists()]:
    raise ValueError(f"no output {', '.join(absent)}: fasta and fastq end in _1 and _2 with --paired, and only then")
for name, path in snakemake.output.items():
    shutil.move(run_directory / FILES[name], path)
shutil.rmtree(run_directory)
