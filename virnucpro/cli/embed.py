"""virnucpro embed."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from virnucpro.cli import options
from virnucpro.cli.signals import stoppable
from virnucpro.environment import prepare_for_torch
from virnucpro.words import counted


def embed(
    inputs: Annotated[
        list[str], typer.Argument(help="FASTA of proteins (or of DNA with --kind nucleotide).", show_default=False)
    ],
    output: options.OutputDirectory,
    model: Annotated[str, typer.Option("--model", help="Name or directory of a model or language model.")] = "bundled",
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", help="protein or nucleotide; default: the model's only kind, or protein, with DNA refused."
        ),
    ] = None,
    layer: Annotated[
        int | None, typer.Option("--layer", help="Layer to read, 0 is the embedding; default: the last.")
    ] = None,
    per_residue: Annotated[bool, typer.Option("--per-residue", help="Keep one vector per residue.")] = False,
    max_length: Annotated[
        int | None,
        typer.Option(
            "--max-length", min=1, help="Longest sequence embedded whole, letters; default: 1022 aa, 10000 nt."
        ),
    ] = None,
    long: Annotated[
        Literal["window", "refuse"], typer.Option("--long", help="What to do with longer sequences.")
    ] = "window",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    attention: options.Attention = "auto",
    threads: options.Threads = None,
    max_tokens: options.MaxTokens = None,
    resume: options.Resume = False,
    restart: options.Restart = False,
    engine: options.Engine = "local",
    ray_address: options.RayAddress = None,
    workers: options.Workers = None,
    gpus: options.Gpus = None,
) -> None:
    """Write an embedding of each sequence, or of each residue.

    Writes embeddings_NNNNN.safetensors (tensor `embeddings`, float32; mean-pooled or one row per residue), ids.tsv
    (the rows of each sequence, in input order) and run.json. A sequence longer than --max-length is cut into
    windows, whose mean is its vector, or refused.

    Gaps, and * at the end, are left out of proteins.

    Example: virnucpro embed proteins.faa --model esm2-650M -o embeddings
    """
    options.require_engine(engine, ray_address, workers, gpus)
    with stoppable():
        prepare_for_torch()
        if_exists = options.if_exists(resume, restart)
        from virnucpro.config import ComputeOptions
        from virnucpro.run.embeddings import Embeddings, EmbedRequest
        from virnucpro.run.run import run

        compute = ComputeOptions(
            device=device, precision=precision, attention=attention, max_tokens=max_tokens, threads=threads
        )
        request = EmbedRequest(
            inputs, output, model=model, kind=kind, layer=layer, per_residue=per_residue, max_length=max_length,
            long=long, options=compute, if_exists=if_exists, command=sys.argv,
        )  # fmt: skip
        embeddings = Embeddings(request)
        state = run(embeddings, options.runner(engine, ray_address, workers, gpus))
    if state is None:
        return
    done, tidied = state.tally, embeddings.tidied
    windowed = f", {done.windowed:,} of them in windows" if done.windowed else ""
    kept = f"; done before: {counted(state.n_kept, 'shards')}" if state.n_kept else ""
    letters, of = counted(tidied.letters, "letters"), counted(tidied.sequences, "sequences")
    left_out = f"; left out: {letters} (gaps, and * at the end) of {of}" if tidied.letters else ""
    within = counted(tidied.with_stops, "sequences")
    stops = f"; * within {within} was read as an unknown residue" if tidied.with_stops else ""
    options.report(
        f"{counted(done.sequences, 'sequences')}{windowed}, width {embeddings.width}, {embeddings.computed}; "
        f"files are in {output}{kept}{left_out}{stops}"
    )
