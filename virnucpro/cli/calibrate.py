"""virnucpro calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.cli.print_tables import print_line
from virnucpro.environment import prepare_for_torch


def calibrate(
    model: Annotated[str, typer.Argument(help="Name or directory of a model.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Data directory with SPLIT/CLASS.fna files.")],
    output: options.OutputDirectory,
    split: Annotated[str, typer.Option("--split", help="Split of the data; not the one used for training.")] = "val",
    windows: Annotated[
        int,
        typer.Option("--windows", min=20, help="Windows of each host class and length; of virus three times as many."),
    ] = 250,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random numbers.")] = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    restart: options.Restart = False,
) -> None:
    """Calibrate a model on labelled genomes.

    Writes the model with its calibration: scores become probabilities and presets get their thresholds, for each
    length. Prints the recall and false positives of each preset as tables for a model card. docs/scores.md explains
    the method.

    Example: virnucpro calibrate MODEL --data DATA -o CALIBRATED
    """
    prepare_for_torch()
    import shutil
    from dataclasses import replace

    from virnucpro.config import Options
    from virnucpro.evaluate.genomes import data_files, read_genomes
    from virnucpro.pretrained.locations import find_model
    from virnucpro.pretrained.registry import load_model
    from virnucpro.pretrained.weights import sha256
    from virnucpro.run.replacement import any_of, refuse_directory, replaced_files
    from virnucpro.scores.reference import REFERENCE_FILE
    from virnucpro.train.calibrate import calibrate as fit
    from virnucpro.train.card import card_tables
    from virnucpro.train.scorer import MAX_REPETITION, Scorer

    source, loaded = find_model(model), load_model(model)
    kept = {name: value for name, value in loaded.description.checksums.items() if name != REFERENCE_FILE}
    loaded = replace(loaded, description=replace(loaded.description, calibration=None, checksums=kept))
    refuse_directory(source, output)
    how = Options(device=device, precision=precision, threads=threads)
    genomes = read_genomes(data, split, ["viroid"])
    scorer = Scorer(loaded, genomes, how, windows, options.report_progress)
    settings = {"split": split, "windows_per_host_class": windows, "seed": seed}
    own = any_of(("model.json", REFERENCE_FILE, *loaded.description.files()))
    with replaced_files(output, restart, data_files(data), own, remove=False) as folder:
        calibration, reference, figures = fit(scorer, seed)
        for file in loaded.description.files():
            shutil.copyfile(source / file, folder / file)
        if reference is not None:
            reference.write(folder / REFERENCE_FILE)
            kept[REFERENCE_FILE] = sha256(folder / REFERENCE_FILE)
        described = replace(
            loaded.description,
            calibration=calibration,
            max_repetition=MAX_REPETITION,
            checksums=kept,
            metrics={**loaded.description.metrics, "calibration": {**settings, **figures}},
        )
        described.write_json(folder / "model.json")
    for line in card_tables(calibration, figures).splitlines():
        print_line(line)
    options.report(f"the calibrated model is in {output}")
