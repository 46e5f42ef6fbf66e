"""virnucpro scan."""

from __future__ import annotations

import sys
from pathlib import Path
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
    annotation: Annotated[
        Path | None,
        typer.Option(
            "--annotation",
            help="GFF3 or GenBank file, plain or compressed: report and figures show its genes.",
            show_default=False,
        ),
    ] = None,
    topology: Annotated[
        Literal["auto", "circular", "linear"],
        typer.Option("--topology", help="How records are drawn; auto: circular if header or annotation say so."),
    ] = "auto",
    plots: Annotated[
        Literal["png", "svg", "pdf", "none"] | None,
        typer.Option(
            "--plots",
            help="A figure of each record with a region; default: png, or svg where matplotlib does not work.",
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

    Writes regions.tsv, regions.bed, regions.gff3, regions.fasta, scores.bedgraph, report.html and a figure of each
    record that has a region.

    Example: virnucpro scan genome.fa --annotation genome.gff3 -o regions
    """
    from contextlib import ExitStack
    from dataclasses import replace

    from virnucpro.environment import prepare_for_torch

    prepare_for_torch()
    from virnucpro.config import Options
    from virnucpro.files import atomic_writer, locked
    from virnucpro.pipeline.regions import REMNANTS, Landscape
    from virnucpro.report.plots import can_draw, optional_figure
    from virnucpro.report.scan_figures import draw_figure, write_svg
    from virnucpro.report.scan_page import Origin, Shown, Totals, render
    from virnucpro.report.tracks import record_view
    from virnucpro.run.progress import shown_progress
    from virnucpro.run.replacement import replaced_files
    from virnucpro.run.scan import SCAN_FILES, SCAN_REPORT, ScanFiles, Scanner, ScanSettings
    from virnucpro.seq.annotation import annotation_of
    from virnucpro.seq.source import Source

    # Reports a missing package before the work. Without matplotlib, figures are SVG of our own.
    asked = plots in ("png", "pdf")
    drawn = plots != "none" and can_draw(plots or "png", asked, "figures are simple SVG" if not asked else "no figures")
    suffix = plots or ("png" if drawn else "svg")
    run_options = Options(
        device=device, precision=precision, attention=attention, max_tokens=max_tokens, threads=threads
    )
    landscape = REMNANTS if remnants else Landscape()
    if neutral is not None:
        landscape = replace(landscape, evidence_offset=neutral)
    genes = annotation_of(annotation, inputs) if annotation else None
    scanner = Scanner(ScanSettings(model, run_options, step, min_posterior, min_length, landscape))
    # Without a table, files with such names are not those of a scan and must stay.
    earlier = (output / "regions.tsv").is_file()
    source = Source(inputs, scanner.windows)
    totals, shown, figures = Totals(), Shown(), {}
    given = [*inputs, *([str(annotation)] if annotation else [])]
    with (
        replaced_files(output, restart, given, SCAN_FILES, remove=earlier) as folder,
        ExitStack() as stack,
        shown_progress(source, "windows") as counter,
    ):
        files = ScanFiles(stack, folder)
        for track in scanner.scan(source, counter):
            found = files.write(track)
            totals = totals.plus(track, found)
            if found:
                view = record_view(track, found, genes.find(track.seq_name) if genes else None, topology)
                shown.add(view)
                if drawn or suffix == "svg":
                    figures[output / f"record_{files.n_records:05d}.{suffix}"] = view
    origin = Origin(sys.argv, inputs, str(annotation) if annotation else None)
    with locked(output):  # after the tables, so that a failing figure costs no table
        with atomic_writer(output / SCAN_REPORT) as page:
            page.write(render(shown.records(), totals, scanner, origin))
        for path, view in figures.items():
            with optional_figure(path):
                (draw_figure if drawn else write_svg)(path, view)
    options.report(f"regions: {files.n_regions:,}; records: {files.n_records:,}; files are in {output}")
