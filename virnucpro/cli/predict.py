"""virnucpro predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.cli.print_tables import print_line
from virnucpro.cli.signals import stoppable
from virnucpro.environment import prepare_for_torch


def predict(
    inputs: options.Inputs,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Output directory; - prints records.tsv.", show_default=False)
    ],
    paired: Annotated[
        bool, typer.Option("--paired", help="The input is two files of mates, R1 and R2; each pair gets one call.")
    ] = False,
    interleaved: Annotated[
        bool, typer.Option("--interleaved", help="In the input, reads 2 follow their reads 1; each pair gets one call.")
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="sensitive, balanced (default) or strict: at most 10, 5 or 1 % of host sequences called virus.",
            show_default=False,
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            help="Share of virus among the records for which scores are stated; default: the model's.",
            show_default=False,
        ),
    ] = None,
    min_length: Annotated[
        int | None,
        typer.Option(
            "--min-length", min=1, help="Shortest record to call, nt; default: the model's.", show_default=False
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", min=0, max=1, help="Least score of a virus, instead of a preset.", show_default=False
        ),
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write the tables as Parquet, too.")] = False,
    legacy_output: Annotated[
        bool, typer.Option("--legacy-output", help="Write the published tool's result files, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure on a part of the input what the run would take; write nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was interrupted; do only what is missing.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew: replace the run in the output directory.")
    ] = False,
    threads: options.Threads = None,
    device: options.Device = "auto",
    model: Annotated[str, typer.Option("--model", help="Name or directory of a model.")] = "bundled",
    chunk_length: Annotated[
        int | None,
        typer.Option(
            "--chunk-length", help="Refuse a model trained with chunks of another length, nt.", show_default=False
        ),
    ] = None,
    precision: options.Precision = "auto",
    attention: options.Attention = "auto",
    max_tokens: options.MaxTokens = None,
    packing: Annotated[bool, typer.Option("--packing/--no-packing", help="Packed (fast) or padded batches.")] = True,
    unit_records: Annotated[
        int, typer.Option("--unit-records", min=1, help="Records done at a time, and lost at most by a kill.")
    ] = 1024,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Do the I-th of N parts, for `virnucpro merge`.", show_default=False
        ),
    ] = None,
    engine: options.Engine = "local",
    ray_address: options.RayAddress = None,
    workers: options.Workers = None,
    gpus: options.Gpus = None,
) -> None:
    """Call every record of the input virus or other.

    Writes records.tsv (one row a record or pair, in input order), chunks.tsv, frames.tsv, viral.fasta (the
    hits; of pairs viral_1.fasta and viral_2.fasta), run.json, virnucpro_mqc.json (for MultiQC) and report.html
    (a page to look at) into the output directory. A run that was killed or stopped goes on with --resume and
    ends with the same tables.

    \b
    Examples:
      virnucpro predict reads.fastq.gz contigs.fa -o out
      virnucpro predict --paired R1.fq.gz R2.fq.gz -o out   one call a pair
      virnucpro predict --interleaved both.fq.gz -o out     the same of one file
      virnucpro predict reads.fastq.gz -o out --dry-run     time and memory
      virnucpro predict reads.fastq.gz -o out --resume      go on after a kill
      zcat reads.fq.gz | virnucpro predict - -o - > calls.tsv
    """
    if resume and restart:
        raise typer.BadParameter("--resume and --restart exclude each other")
    to_stdout = str(output) == "-"
    if legacy_output and to_stdout:
        raise typer.BadParameter("--legacy-output needs an output directory")
    if parquet and to_stdout:
        raise typer.BadParameter("--parquet needs an output directory")
    if resume and to_stdout:
        raise typer.BadParameter("--resume needs an output directory; standard output cannot be gone on with")
    if to_stdout and (shard is not None or engine == "ray"):
        raise typer.BadParameter("--shard and --engine ray need an output directory, for the files of units")
    options.require_engine(engine, ray_address, workers, gpus)
    with stoppable("run it again") if to_stdout else stoppable():
        prepare_for_torch()
        from virnucpro.pipeline.predict import Options
        from virnucpro.report.parquet import require_pyarrow, write_parquet
        from virnucpro.report.write import write_report
        from virnucpro.run.directory import Begin
        from virnucpro.run.forecast import forecast
        from virnucpro.run.request import Request
        from virnucpro.run.run import run
        from virnucpro.run.shards import Shard
        from virnucpro.run.tables import PARQUET, REPORTS

        if parquet:
            require_pyarrow()  # before the work
        run_options = Options(
            device=device, precision=precision, attention=attention, max_tokens=max_tokens, packing=packing,
            threads=threads, min_length=min_length, min_score=min_score, chunk_length=chunk_length, preset=preset,
            prevalence=prevalence,
        )  # fmt: skip
        begin = Begin.RESUME if resume else Begin.RESTART if restart else Begin.NEW

        def finish(directory: Path) -> None:
            if parquet:
                write_parquet(directory)
            write_report(directory)

        request = Request(
            inputs, None if to_stdout else output, model, run_options, begin, unit_records, sys.argv, legacy_output,
            paired, Shard.parse(shard) if shard is not None else None,
            finish, (*REPORTS, *(PARQUET.values() if parquet else ())), interleaved,
        )  # fmt: skip
        if dry_run:
            for line in forecast(request.inputs, model, run_options):
                print_line(line)
            return
        if engine == "local":
            run(request)
            return
        from virnucpro.distributed.cluster import Scale
        from virnucpro.distributed.ray_engine import open_ray

        run(request, open_ray(Scale(ray_address, workers, gpus)))
