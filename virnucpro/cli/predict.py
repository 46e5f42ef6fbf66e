"""virnucpro predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options


def predict(
    inputs: options.Inputs,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Output directory; - prints records.tsv.", show_default=False)
    ],
    model: Annotated[str, typer.Option("--model", help="Name or directory of a model.")] = "bundled",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    attention: options.Attention = "auto",
    threads: options.Threads = None,
    max_tokens: options.MaxTokens = 16384,
    packing: Annotated[bool, typer.Option("--packing/--no-packing", help="Packed (fast) or padded batches.")] = True,
    min_length: Annotated[
        int | None,
        typer.Option(
            "--min-length", min=1, help="Shortest record to call, nt; default: the model's.", show_default=False
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", min=0, max=1, help="Least score of a virus; default: the model's.", show_default=False
        ),
    ] = None,
    restart: options.Restart = False,
) -> None:
    """Call every record of the input virus or other.

    Writes records.tsv (one row a record, in input order), chunks.tsv, frames.tsv, viral.fasta (the hits)
    and run.json into the output directory.

    Example: virnucpro predict reads.fastq.gz contigs.fa -o calls
    """
    from virnucpro.pipeline.predict import Options
    from virnucpro.pipeline.run import run

    run_options = Options(
        device=device, precision=precision, attention=attention, max_tokens=max_tokens, packing=packing,
        threads=threads, min_length=min_length, min_score=min_score,
    )  # fmt: skip
    run(inputs, None if str(output) == "-" else output, model, run_options, restart, command=sys.argv)
