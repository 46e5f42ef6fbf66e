"""virnucpro scan."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from virnucpro.cli import options


def scan(
    inputs: options.Inputs,
    output: options.OutputDirectory,
    model: options.Model = "bundled",
    step: Annotated[
        int | None,
        typer.Option("--step", min=1, help="From window to window, nt; default: half a window.", show_default=False),
    ] = None,
    min_posterior: Annotated[
        float, typer.Option("--min-posterior", help="Minimum probability of virus of each window of a region.")
    ] = 0.5,
    min_length: Annotated[int, typer.Option("--min-length", min=0, help="Shortest region, nt.")] = 1000,
    remnants: Annotated[
        bool,
        typer.Option(
            "--remnants",
            help="Also find remnants of prophages, by sequence composition unlike the genome's; more false regions.",
        ),
    ] = False,
    neutral: Annotated[
        float | None,
        typer.Option(
            "--neutral",
            help="Evidence at which a window counts for neither side, default -1; lower: more regions, more false.",
            show_default=False,
        ),
    ] = None,
    plots: Annotated[
        Literal["png", "svg", "pdf", "none"] | None,
        typer.Option(
            "--plots",
            help="A figure of each record with a region; default: png if matplotlib works.",
            show_default=False,
        ),
    ] = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    attention: options.Attention = "auto",
    threads: options.Threads = None,
    max_tokens: options.MaxTokens = None,
    restart: options.Restart = False,
) -> None:
    """Find regions of virus, such as prophages, along genomes.

    Writes regions.tsv, regions.bed, regions.gff3, scores.bedgraph and a figure of each record that has a region.

    Example: virnucpro scan genome.fa -o regions
    """
    from contextlib import ExitStack
    from dataclasses import replace

    from virnucpro.environment import prepare_for_torch

    prepare_for_torch()
    from virnucpro.config import Options
    from virnucpro.files import locked
    from virnucpro.pipeline.regions import REMNANTS, Landscape
    from virnucpro.report.plots import can_draw, optional_figure
    from virnucpro.report.tracks import draw_track, track_lines
    from virnucpro.run.progress import shown_progress
    from virnucpro.run.replacement import replaced_files
    from virnucpro.run.scan import SCAN_FILES, ScanFiles, Scanner, ScanSettings
    from virnucpro.seq.source import Source

    suffix = plots or "png"
    drawn = suffix != "none" and can_draw(suffix, asked=plots is not None)  # reports a missing package before the work
    run_options = Options(
        device=device, precision=precision, attention=attention, max_tokens=max_tokens, threads=threads
    )
    landscape = REMNANTS if remnants else Landscape()
    if neutral is not None:
        landscape = replace(landscape, evidence_offset=neutral)
    scanner = Scanner(ScanSettings(model, run_options, step, min_posterior, min_length, landscape))
    # Without a table, files with such names are not the figures of a scan and must stay.
    earlier = (output / "regions.tsv").is_file()
    source = Source(inputs, scanner.windows)
    figures = {}
    with (
        replaced_files(output, restart, inputs, SCAN_FILES, remove=earlier) as folder,
        ExitStack() as stack,
        shown_progress(source, "windows") as counter,
    ):
        files = ScanFiles(stack, folder)
        for track in scanner.scan(source, counter):
            files.write(track)
            if drawn and track.regions:
                figures[output / f"record_{files.n_records:05d}.{suffix}"] = track_lines(track)
    with locked(output):
        for path, lines in figures.items():  # after the tables, so that a failing figure costs no table
            with optional_figure(path):
                draw_track(path, lines)
    options.report(f"regions: {files.n_regions:,}; records: {files.n_records:,}; files are in {output}")
