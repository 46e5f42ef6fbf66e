"""virnucpro evaluate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from virnucpro.cli import options
from virnucpro.printable import printable_json
from virnucpro.words import counted

if TYPE_CHECKING:
    from virnucpro.evaluate.truth import TableEvaluation


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
    plot_format: Annotated[Literal["png", "svg", "pdf"], typer.Option("--format", help="Format of the plots.")] = "png",
    restart: options.Restart = False,
) -> None:
    """Compare calls with the truth and print the figures as JSON.

    The figures are AUROC against all hosts and each host class, their mean (macro), average precision, the share of
    viruses found at 5 % and 1 % false positives, and the expected calibration error (ten bins of equal width), with
    95 % bootstrap intervals. Recall and false positives of the calls themselves follow; for records.tsv beside its
    run.json, also those of each preset.

    -o writes them also by length bin and host class: evaluation.json, evaluation.tsv, and plots: roc.png,
    precision_recall.png, recall_by_length.png, calibration.png, scores.png.

    CALLS may be records.tsv or a table of geNomad (*_nn_classification.tsv, *_virus_summary.tsv), Jaeger or
    DeepMicroClass, recognised by its header.

    Example: virnucpro evaluate calls.tsv --truth truth.tsv -o figures
    """
    from virnucpro.errors import ConfigError
    from virnucpro.evaluate.bootstrap import Bootstrap
    from virnucpro.evaluate.truth import EVALUATION_FILES, evaluate_tables
    from virnucpro.files import locked
    from virnucpro.report.plots import EVALUATION_PLOTS, FORMATS, can_draw
    from virnucpro.run.replacement import any_of, refuse_stdout, replaced_files

    try:
        edges = [int(border) for border in length_bins.split(",")]
    except ValueError:
        raise ConfigError(f"--length-bins must be whole numbers separated by commas, got {length_bins!r}") from None
    refuse_stdout((calls, truth))
    drawn = output is not None and plots and can_draw(plot_format, asked=True)  # a missing package is an error now
    own = any_of((*EVALUATION_FILES, *(f"{name}.{suffix}" for name in EVALUATION_PLOTS for suffix in FORMATS)))
    with replaced_files(output, restart, (calls, truth), own) if output is not None else nullcontext() as folder:
        found = evaluate_tables(truth, calls, Bootstrap(replicates, seed), edges)
        print(printable_json(json.dumps(found.summary(), indent=2)))
        if folder is not None:
            found.write(folder)
    if output is None:
        return
    if drawn:
        with locked(output):
            _plot(found, output, plot_format)  # after the tables, so that a failing figure costs no table
    options.report(f"{counted(len(found.figures), 'figures')} of {found.tool}; files are in {output}")


def _plot(found: TableEvaluation, directory: Path, suffix: str) -> None:
    """Draw all plots; one that fails is a warning."""
    from virnucpro.evaluate.genomes import VIRUS
    from virnucpro.evaluate.metrics import ALL_HOSTS, auroc, precision_recall_curve, reliability, roc_curve
    from virnucpro.report import plots

    sample = found.sample
    roc, precision_recall, by_length, calibration, scores = (
        directory / f"{name}.{suffix}" for name in plots.EVALUATION_PLOTS
    )
    virus, all_points = sample.scores[sample.is_virus], sample.points()
    n = f"{counted(len(virus), 'viruses')}, {counted(len(sample.scores) - len(virus), 'hosts')}"
    with plots.optional_figure(roc):
        curves = {}
        for hosts in (ALL_HOSTS, *sample.hosts):
            part = sample.take(sample.members(hosts))
            sides = part.scores[part.is_virus], part.scores[~part.is_virus]
            curves[f"{hosts}, AUROC {auroc(*sides):.3f}, n = {len(sides[1]):,}"] = roc_curve(*sides)
        plots.plot_roc(roc, curves, _points(all_points, "false_positive_rate", "recall"), n)
    with plots.optional_figure(precision_recall):
        curve = precision_recall_curve(virus, sample.scores[~sample.is_virus])
        points = _points(all_points, "recall", "precision")
        plots.plot_precision_recall(precision_recall, *curve, len(virus) / len(sample.scores), points, n)
    with plots.optional_figure(by_length):
        if lengths := found.lengths:
            plots.plot_recall_by_length(by_length, lengths, found.recall_by_length(), n)
        else:
            by_length.unlink(missing_ok=True)
    with plots.optional_figure(calibration):
        scored = sample.take(sample.scored)
        plots.plot_calibration(calibration, *reliability(scored.scores, scored.is_virus), n)
    with plots.optional_figure(scores):
        classes = {name: sample.scores[sample.classes == name] for name in (VIRUS, *sample.hosts)}
        plots.plot_scores(scores, {f"{name}, n = {len(own):,}": own for name, own in classes.items()}, n)


def _points(points: Mapping[str, Mapping[str, float | None]], x: str, y: str) -> dict[str, tuple[float, float]]:
    """Return two figures of each operating point that has both, by its name in words, but one that is a preset once."""
    found = {name.replace("_", " "): (values[x], values[y]) for name, values in points.items()}
    found = {
        name: place for name, place in found.items() if name != "as called" or list(found.values()).count(place) < 2
    }
    return {name: (a, b) for name, (a, b) in found.items() if a is not None and b is not None}
