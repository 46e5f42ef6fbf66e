"""virnucpro evaluate."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virnucpro.cli import options
from virnucpro.printable import printable_json
from virnucpro.words import counted

if TYPE_CHECKING:
    from virnucpro.evaluate.metrics import Sample


def evaluate(
    calls: Annotated[Path, typer.Argument(help="records.tsv, or a table of another tool.", show_default=False)],
    truth: Annotated[
        Path, typer.Option("--truth", help="Table with seq_name, class, optionally taxon, length.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Directory for tables and plots.", show_default=False)
    ] = None,
    length_bins: Annotated[
        str, typer.Option("--length-bins", help="Borders of length bins, nt, separated by commas.")
    ] = "150,300,500,1000,5000",
    replicates: Annotated[int, typer.Option("--replicates", min=2, help="Bootstrap replicates.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots into the directory.")] = True,
    restart: options.Restart = False,
) -> None:
    """Compare calls with the truth and print the figures as JSON.

    The figures are AUROC against all hosts and each host class, their mean (macro), the share of viruses found at
    5 % and 1 % false positives, and the expected calibration error (ten bins of equal width), with 95 % bootstrap
    intervals. -o writes them also by length bin and host class: evaluation.json, evaluation.tsv, roc.png,
    calibration.png and scores.png.

    CALLS may be records.tsv or a table of geNomad (*_nn_classification.tsv, *_virus_summary.tsv), Jaeger or
    DeepMicroClass, recognised by its header.

    Example: virnucpro evaluate calls.tsv --truth truth.tsv -o figures
    """
    from virnucpro.errors import ConfigError
    from virnucpro.evaluate.bootstrap import Bootstrap
    from virnucpro.evaluate.truth import EVALUATION_FILES, evaluate_tables
    from virnucpro.files import locked
    from virnucpro.report.plots import EVALUATION_PLOTS, can_draw
    from virnucpro.run.replacement import any_of, refuse_stdout, replaced_files

    try:
        edges = [int(border) for border in length_bins.split(",")]
    except ValueError:
        raise ConfigError(f"--length-bins must be whole numbers separated by commas, got {length_bins!r}") from None
    refuse_stdout((calls, truth))
    drawn = output is not None and plots and can_draw("png", asked=True)  # reports a missing package before the work
    own = any_of((*EVALUATION_FILES, *EVALUATION_PLOTS))
    with replaced_files(output, restart, (calls, truth), own) if output is not None else nullcontext() as folder:
        found = evaluate_tables(truth, calls, Bootstrap(replicates, seed), edges)
        print(printable_json(json.dumps(found.summary(), indent=2)))
        if folder is not None:
            found.write(folder)
    if output is None:
        return
    if drawn:
        with locked(output):
            _plot(found.sample, output)  # after the tables, so that a failing figure costs no table
    options.report(f"{counted(len(found.figures), 'figures')} of {found.tool}; files are in {output}")


def _plot(sample: Sample, directory: Path) -> None:
    from virnucpro.evaluate.genomes import VIRUS
    from virnucpro.evaluate.metrics import ALL_HOSTS, auroc, reliability, roc_curve
    from virnucpro.report.plots import EVALUATION_PLOTS, optional_figure, plot_calibration, plot_roc, plot_scores

    roc, calibration, scores = (directory / name for name in EVALUATION_PLOTS)
    with optional_figure(roc):
        curves = {}
        for hosts in (ALL_HOSTS, *sample.hosts):
            part = sample.take(sample.members(hosts))
            sides = part.scores[part.is_virus], part.scores[~part.is_virus]
            curves[f"{hosts}, AUROC {auroc(*sides):.3f}"] = roc_curve(*sides)
        plot_roc(roc, curves)
    with optional_figure(calibration):
        scored = sample.take(sample.scored)
        plot_calibration(calibration, *reliability(scored.scores, scored.is_virus))
    with optional_figure(scores):
        names = (VIRUS, *sample.hosts)
        plot_scores(scores, {name: sample.scores[sample.classes == name] for name in names})
