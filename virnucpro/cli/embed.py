"""virnucpro embed."""

from __future__ import annotations

from typing import Annotated

import typer

from virnucpro.cli import options


def embed(
    inputs: Annotated[
        list[str], typer.Argument(help="FASTA of proteins (or of DNA with --kind nucleotide).", show_default=False)
    ],
    output: options.OutputDirectory,
    model: Annotated[str, typer.Option("--model", help="Name or directory of a model.")] = "bundled",
    kind: Annotated[str, typer.Option("--kind", help="Which encoder: protein or nucleotide.")] = "protein",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    attention: options.Attention = "auto",
    threads: options.Threads = None,
    max_tokens: options.MaxTokens = None,
    restart: options.Restart = False,
) -> None:
    """Write one mean-pooled embedding a sequence.

    Writes embeddings.safetensors (tensor `embeddings`, float32, one row a sequence) and ids.tsv (row,
    seq_name, length), in input order.
    """
    from virnucpro.pipeline.embed import embed_records
    from virnucpro.pipeline.outputs import prepare_directory
    from virnucpro.pipeline.predict import Options
    from virnucpro.seq import read_records

    prepare_directory(output, restart)
    run_options = Options(
        device=device, precision=precision, attention=attention, max_tokens=max_tokens, threads=threads
    )
    records = read_records(inputs, "nucleotide" if kind == "nucleotide" else "protein")
    n, width = embed_records(records, output, model, kind, run_options)
    options.report(f"{n} embeddings of width {width}; files are in {output}")
