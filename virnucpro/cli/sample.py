"""virnucpro sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.words import counted


def sample(
    data: Annotated[Path, typer.Argument(help="Data directory with SPLIT/CLASS.fna files.", show_default=False)],
    output: options.OutputDirectory,
    split: Annotated[str, typer.Option("--split", help="Split of the data.")] = "val",
    length: Annotated[int, typer.Option("--length", min=3, help="Length of a window, nt.")] = 500,
    virus: Annotated[int, typer.Option("--virus", min=0, help="Windows of class virus.")] = 1200,
    host: Annotated[int, typer.Option("--host", min=0, help="Windows of every other class.")] = 200,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Classes to leave out.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random numbers.")] = 0,
    restart: options.Restart = False,
) -> None:
    """Draw windows from labelled genomes.

    Taxa are weighted by the square root of their size. Writes windows.fa and truth.tsv (seq_name, class, taxon, record,
    start, length).
    """
    from virnucpro.evaluate.genomes import (
        VIRUS,
        WINDOW_FILES,
        data_files,
        read_genomes,
        sample_windows,
        write_windows,
    )
    from virnucpro.run.replacement import any_of, replaced_files

    with replaced_files(output, restart, data_files(data), any_of(WINDOW_FILES)) as folder:
        genomes = read_genomes(data, split, exclude or ["viroid"])
        per_class = {name: virus if name == VIRUS else host for name in sorted(set(genomes.classes.tolist()))}
        windows = sample_windows(genomes, length, per_class, seed)
        write_windows(windows, folder)
    options.report(f"{counted(len(windows), 'windows')} of {split}; files are in {output}")
