"""virnucpro kmers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.environment import prepare_for_torch


def kmers(
    model: Annotated[str, typer.Argument(help="Name or directory of a model.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Data directory with SPLIT/CLASS.fna files.")],
    output: options.OutputDirectory,
    extra: Annotated[
        Path | None,
        typer.Option("--extra", help="Directory with further CLASS.fna files, without splits.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Split of the data; the one used for training.")] = "train",
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="Classes to leave out; by default viroid and erv.", show_default=False),
    ] = None,
    neither: Annotated[
        Path | None,
        typer.Option(
            "--neither",
            help="FASTA of sequences whose 9-mers are left out, such as cloning vectors.",
            show_default=False,
        ),
    ] = None,
    one_in: Annotated[int, typer.Option("--one-in", min=1, help="Use one 9-mer of so many, to save memory.")] = 2,
    virus_taxa: Annotated[int, typer.Option("--virus-taxa", min=1, help="Taxa that a 9-mer of viruses needs.")] = 2,
    host_taxa: Annotated[int, typer.Option("--host-taxa", min=1, help="Taxa that a 9-mer of hosts needs.")] = 3,
    restart: options.Restart = False,
) -> None:
    """Add a filter of amino-acid 9-mers to a model.

    The filter has the 9-mers of stop-free runs that occur in several taxa of viruses and in no host, or in several taxa
    of hosts and in no virus. The data directory is that of `virnucpro train`.

    Example: virnucpro kmers MODEL --data DATA -o WITH_KMERS
    """
    prepare_for_torch()
    import shutil
    from dataclasses import replace

    from virnucpro.evaluate.genomes import data_files, joined, read_genomes
    from virnucpro.pretrained.description import KMERS
    from virnucpro.pretrained.kmer_file import save_filter
    from virnucpro.pretrained.registry import check_model
    from virnucpro.pretrained.weights import sha256
    from virnucpro.run.replacement import any_of, refuse_directory, replaced_files
    from virnucpro.seq import read_records
    from virnucpro.seq.strings import Strings
    from virnucpro.train.kmers import KmerSettings, build_filter

    source, description = check_model(model)
    refuse_directory(source, output)
    settings = KmerSettings(one_in, virus_taxa, host_taxa)
    left_out = exclude or ["viroid", "erv"]
    given = [(data, split)] if extra is None else [(data, split), (extra, "")]
    inputs = [path for directory, _ in given for path in data_files(directory)]
    inputs += [neither] if neither is not None else []
    own = any_of(("model.json", KMERS, *description.files()))
    with replaced_files(output, restart, inputs, own, remove=False) as folder:
        genomes = joined([read_genomes(directory, part, left_out) for directory, part in given])
        vectors = None if neither is None else Strings.of([record.sequence for record in read_records([neither])])
        made = build_filter(genomes, settings, options.report_progress, vectors)
        for file in description.files():
            shutil.copyfile(source / file, folder / file)
        save_filter(made, folder / KMERS)
        checksums = {**description.checksums, KMERS: sha256(folder / KMERS)}
        replace(description, kmers=made.layout, checksums=checksums).write_json(folder / "model.json")
    options.report(f"the model with a filter of {made.cells.nbytes / 1e6:.1f} MB is in {output}")
