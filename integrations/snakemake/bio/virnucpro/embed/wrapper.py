"""Snakemake wrapper of `virnucpro embed`."""

__author__ = "The virnucpro developers"
__copyright__ = "Copyright 2026, The virnucpro developers"
__license__ = "MIT"

import shlex
import shutil
from pathlib import Path

from snakemake.shell import shell

FILES = {
    "ids": "ids.tsv",
    "run": "run.json",
}
EMBEDDINGS = "embeddings"  # a directory
if unknown := set(snakemake.output.keys()) - {*FILES, EMBEDDINGS}:
    raise ValueError(f"unknown output {', '.join(sorted(unknown))}; choose among {', '.join([*FILES, EMBEDDINGS])}")

# Not among the outputs, which Snakemake removes when a job fails: so a retry uses what is done.
run_directory = Path(f"{snakemake.output[0]}.run")
# Text for the shell, as in other wrappers; all names are quoted.
extra = snakemake.params.get("extra", "")
model = f"--model={shlex.quote(str(model))}" if (model := snakemake.params.get("model", "")) else ""
log = f">> {shlex.quote(str(snakemake.log[0]))} 2>&1" if snakemake.log else ""

shell(
    "virnucpro embed --output={run_directory:q} --resume --threads {snakemake.threads} {model} {extra}"
    " -- {snakemake.input:q} {log}"
)

for name, path in snakemake.output.items():
    if name == EMBEDDINGS:
        Path(path).mkdir(parents=True, exist_ok=True)
        for shard in run_directory.glob("embeddings_*.safetensors"):
            shutil.move(shard, path)
    else:
        shutil.move(run_directory / FILES[name], path)
shutil.rmtree(run_directory)
