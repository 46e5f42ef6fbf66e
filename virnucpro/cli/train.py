"""virnucpro train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virnucpro.cli import options
from virnucpro.cli.signals import stoppable

if TYPE_CHECKING:
    from virnucpro.train.settings import FitSettings


def _print_settings(wanted: bool) -> None:
    if wanted:
        from virnucpro.train.template import template

        print(template(), end="")
        raise typer.Exit


def train(
    config: Annotated[
        Path, typer.Argument(help="TOML file of settings; --settings prints a template.", show_default=False)
    ],
    output: options.OutputDirectory,
    template: Annotated[
        bool,
        typer.Option(
            "--settings",
            help="Print a template of all settings with their defaults, and exit.",
            callback=_print_settings,
            is_eager=True,
        ),
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data directory, instead of the file's.", show_default=False)
    ] = None,
    extra: Annotated[
        Path | None,
        typer.Option(
            "--extra", help="Directory of sequence for training only, instead of the file's.", show_default=False
        ),
    ] = None,
    init: Annotated[
        str, typer.Option("--init", help="Model of the same shape to start from, instead of the file's.")
    ] = "",
    device: options.Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint in the output directory.")
    ] = False,
    restart: options.Restart = False,
) -> None:
    """Train a model on labelled genomes and write its directory.

    The data directory holds SPLIT/CLASS.fna[.gz|.xz] for the splits train and val, and may hold
    records.tsv[.gz] with columns id, class, family, genus, which groups records into taxa. The directory of --extra
    holds CLASS.fna files and such a table, without splits.

    At each evaluation the model, log.jsonl and checkpoint/ are written. --resume continues from the last checkpoint;
    what was done after it is done again.

    \b
    Examples:
      virnucpro train --settings > settings.toml
      virnucpro train settings.toml --data DATA -o MODEL
    """
    from dataclasses import replace

    from virnucpro.environment import launched_rank
    from virnucpro.errors import ConfigError
    from virnucpro.evaluate.genomes import data_files
    from virnucpro.pipeline.device import choose_device
    from virnucpro.pretrained.locations import find_directory
    from virnucpro.run.replacement import refuse_directory, replaced_files
    from virnucpro.train.fit import fit
    from virnucpro.train.place import MODEL_FILES, training_place
    from virnucpro.train.settings import ClassifierSettings, read_settings

    settings = read_settings(config)
    if isinstance(settings, ClassifierSettings):
        from virnucpro.config import Options
        from virnucpro.train.published import train_classifier

        if resume:
            raise ConfigError(
                "the training of a classifier takes minutes and has no checkpoint; use --restart to begin again"
            )
        if extra is not None:
            raise ConfigError("a classifier is trained on the splits only; leave --extra out")
        if data is not None:
            settings = replace(settings, directory=str(data))
        settings = replace(settings, model=init or settings.model)
        refuse_directory(find_directory(settings.model), output)
        given = [config, *data_files(Path(settings.directory))]
        with replaced_files(output, restart, given, MODEL_FILES, remove=False) as folder:
            train_classifier(settings, folder, Options(device=device), options.report_progress)
        options.report(_done(output))
        return
    if data is not None:
        settings = replace(settings, data=replace(settings.data, directory=str(data)))
    if extra is not None:
        settings = replace(settings, data=replace(settings.data, extra=str(extra)))
    if init:
        settings = replace(settings, fit=replace(settings.fit, init=init))
    if resume and restart:
        raise ConfigError("--resume and --restart exclude each other; give only one of them")
    if settings.fit.init:
        refuse_directory(find_directory(settings.fit.init), output)
    given = [config, *data_files(Path(settings.data.directory))]
    with training_place(output, restart, resume, given) as place, stoppable(lambda: _advice(place, settings.fit)):
        fit(settings, place, choose_device(device), options.report_progress)
    if launched_rank()[0] == 0:
        options.report(_done(output))


def _advice(place: Path, settings: FitSettings) -> str:
    """Return what --resume would do after a stop."""
    from virnucpro.train.checkpoint import CHECKPOINT, checkpoint_step

    if (step := checkpoint_step(place / CHECKPOINT)) is not None:
        return f"run it again with --resume to continue from the checkpoint of step {step:,} of {settings.steps:,}"
    first = min(settings.evaluate_every, settings.steps)
    return f"there is no checkpoint yet, the first is that of step {first:,}; run it again with --resume to start over"


def _done(output: Path) -> str:
    return f"the model is in {output}; `virnucpro calibrate` turns its scores into probabilities"
