"""virnucpro predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

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
        bool, typer.Option("--paired", help="The input is two files of mates, R1 and R2; one call per pair.")
    ] = False,
    sample: options.Sample = None,
    interleaved: Annotated[
        bool,
        typer.Option(
            "--interleaved", help="The input is one file in which mates follow each other; one call per pair."
        ),
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="sensitive, balanced (default) or strict: 10, 5 or 1 % of the sample's hosts called virus.",
            show_default=False,
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            help="Share of virus among the records that scores assume; default: the model's.",
            show_default=False,
        ),
    ] = None,
    composition: Annotated[
        str,
        typer.Option(
            "--composition",
            metavar="sample|equal|FILE",
            help="Hosts by which records are judged: those of the sample, all alike, or shares in a table.",
        ),
    ] = "sample",
    min_length: Annotated[
        int | None,
        typer.Option(
            "--min-length", min=1, help="Shortest record to call, nt; default: the model's.", show_default=False
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", min=0, max=1, help="Minimum score of a virus, instead of a preset.", show_default=False
        ),
    ] = None,
    screen: Annotated[
        float | None,
        typer.Option(
            "--screen",
            metavar="SHARE",
            help="Let a small model judge first, and pass this share of viruses, such as 0.99, to a published one.",
            show_default=False,
        ),
    ] = None,
    screen_model: Annotated[
        str | None,
        typer.Option(
            "--screen-model", help="Name or directory of that small model; default: bundled.", show_default=False
        ),
    ] = None,
    max_fdr: Annotated[
        float | None,
        typer.Option(
            "--max-fdr",
            min=0,
            max=1,
            help="Highest false discovery rate (fdr) of a virus in this sample, instead of a preset.",
            show_default=False,
        ),
    ] = None,
    write_other: Annotated[
        bool,
        typer.Option("--write-other", help="Also write the records not called virus: other.fasta, other.fastq."),
    ] = False,
    viral_ids: Annotated[
        bool, typer.Option("--viral-ids", help="Also write the names of viruses, one a line: viral_ids.txt.")
    ] = False,
    compress: Annotated[
        Literal["gz", "zst"] | None,
        typer.Option("--compress", help="Compress tables and sequences.", show_default=False),
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Also write the tables as Parquet.")] = False,
    legacy_output: Annotated[
        bool, typer.Option("--legacy-output", help="Also write the published tool's result files.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate time and memory from a part of the input; write nothing.")
    ] = False,
    resume: options.Resume = False,
    restart: options.Restart = False,
    threads: options.Threads = None,
    device: options.Device = "auto",
    model: options.Model = "bundled",
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
        int | None,
        typer.Option(
            "--unit-records",
            min=1,
            help="Records per unit, the most that a kill can lose; default: 1024, on a GPU 8192.",
        ),
    ] = None,
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

    Writes records.tsv (one row per record or pair, in input order), chunks.tsv, frames.tsv, viral.fasta (the
    hits; for pairs viral_1.fasta and viral_2.fasta), run.json, virnucpro_mqc.json (for MultiQC) and report.html
    into the output directory. --resume continues a run that was killed or stopped and gives the same tables.

    \b
    Examples:
      virnucpro predict reads.fastq.gz contigs.fa -o out
      virnucpro predict --paired R1.fq.gz R2.fq.gz -o out   one call per pair
      virnucpro predict --interleaved both.fq.gz -o out     mates in one file
      virnucpro predict reads.fastq.gz -o out --dry-run     time and memory
      virnucpro predict reads.fastq.gz -o out --resume      continue after a kill
      virnucpro predict reads.fastq.gz -o out --max-fdr 0.05 --write-other
      zcat reads.fq.gz | virnucpro predict - -o - > calls.tsv
    """
    to_stdout = str(output) == "-"
    if to_stdout:
        _require_directory(
            legacy_output=legacy_output, parquet=parquet, resume=resume, shard=shard is not None,
            engine=engine == "ray", write_other=write_other, viral_ids=viral_ids, compress=compress is not None,
            max_fdr=max_fdr is not None, sample=sample is not None,
        )  # fmt: skip
    options.require_engine(engine, ray_address, workers, gpus)
    with stoppable("run it again") if to_stdout else stoppable():
        prepare_for_torch()
        if_exists = options.if_exists(resume, restart)
        from virnucpro.config import Options
        from virnucpro.report.parquet import require_pyarrow
        from virnucpro.run.forecast import forecast
        from virnucpro.run.outputs import Outputs
        from virnucpro.run.predictions import Predictions
        from virnucpro.run.request import Request, Shard
        from virnucpro.run.run import run
        from virnucpro.run.stdout import run_to_stdout

        if parquet:
            require_pyarrow()  # before the work
        run_options = Options(
            device=device, precision=precision, attention=attention, max_tokens=max_tokens, packing=packing,
            threads=threads, min_length=min_length, min_score=min_score, chunk_length=chunk_length, preset=preset,
            prevalence=prevalence,
            composition=_composition(composition), screen=screen, screen_model=screen_model, max_fdr=max_fdr,
        )  # fmt: skip
        request = Request(
            inputs, None if to_stdout else output, model=model, options=run_options, if_exists=if_exists,
            unit_records=unit_records, command=sys.argv, legacy_output=legacy_output, paired=paired,
            interleaved=interleaved, shard=Shard.parse(shard) if shard is not None else None, sample=sample,
            outputs=Outputs(write_other, viral_ids, compress),
        )  # fmt: skip
        if dry_run:
            for line in forecast(request.inputs, model, run_options):
                print_line(line)
        elif to_stdout:
            run_to_stdout(request)
        else:
            predictions = Predictions(request)
            state = run(predictions, options.runner(engine, ray_address, workers, gpus))
            files = "tables" if shard is not None else _write_report(output, parquet, rewrite=state is not None)
            if state is not None:
                predictions.summarise(state, files)


def _composition(given: str) -> str | dict[str, float]:
    """Return the option --composition: a word, or the shares in a file."""
    from virnucpro.evaluate.composition_file import read_composition

    return given if given in ("sample", "equal") else read_composition(Path(given))


def _require_directory(**asked: bool) -> None:
    """Raise for options that need an output directory."""
    if asked.pop("resume"):
        raise typer.BadParameter("--resume needs an output directory: a run to standard output cannot be resumed")
    if asked.pop("max_fdr"):
        raise typer.BadParameter(
            "--max-fdr needs an output directory: the fdr of a record is known when all records are; use a preset"
        )
    for name, is_asked in asked.items():
        if is_asked:
            flag = "--engine ray" if name == "engine" else f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"{flag} needs an output directory")


def _write_report(directory: Path, parquet: bool, rewrite: bool) -> str:
    """Write the report of a run, and its tables as Parquet, if `rewrite` or if one is missing; name the files."""
    from virnucpro.files import locked
    from virnucpro.report.parquet import write_parquet
    from virnucpro.report.write import write_report
    from virnucpro.run.tables import PARQUET, REPORT, REPORTS

    files = (*REPORTS, *(PARQUET.values() if parquet else ()))
    if rewrite or not all((directory / name).is_file() for name in files):
        with locked(directory):
            if parquet:
                write_parquet(directory)
            write_report(directory)
    return f"tables and {REPORT}"
