"""virnucpro models."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.cli.print_tables import print_tables
from virnucpro.printable import printable, printable_json
from virnucpro.words import counted, in_bytes

app = typer.Typer(help="List, show, download, import and verify models.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_() -> None:
    """List the models that can be named or downloaded."""
    from virnucpro.errors import ModelError
    from virnucpro.pretrained.catalogue import CATALOGUE
    from virnucpro.pretrained.description import ModelDescription
    from virnucpro.pretrained.locations import list_models, read_description

    lines = ["name\tmodel\tchunk_length\tmin_length\tdirectory"]
    known = list_models()
    for name, directory in known.items():
        try:
            described = read_description(directory)
        except ModelError as error:  # a damaged model must not hide the others
            logging.getLogger("virnucpro").warning("%s", error)
            lines.append("\t".join((printable(name), "NA", "NA", "NA", printable(str(directory)))))
            continue
        lengths = "NA\tNA"
        if isinstance(described, ModelDescription):
            lengths = f"{described.chunk_length}\t{described.min_length}"
        lines.append("\t".join((printable(name), printable(described.name), lengths, printable(str(directory)))))
    for name, entry in CATALOGUE.items():
        if name not in known:
            size = f"{in_bytes(entry.bytes)} to download"
            lines.append(f"{name}\t{name}\t{entry.chunk_length or 'NA'}\tNA\t{size}")
    print_tables(lines)


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="Name or directory of a model.")] = "bundled") -> None:
    """Print a model's description as JSON.

    Architecture, frame rule, training, figures, checksums and licence.
    """
    from virnucpro.pretrained.locations import find_directory, read_description

    print(printable_json(json.dumps(asdict(read_description(find_directory(name))), indent=2)))


@app.command("download")
def download(
    name: Annotated[str, typer.Argument(help="A name of `virnucpro models list`.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Model directory; default: where names are looked up.", show_default=False),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="URL of a mirror of the Hugging Face hub, or a directory.", show_default=False),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use no network, only files on this machine.")] = False,
    classifier: Annotated[
        Path | None,
        typer.Option("--classifier", help="The published 300_model.pth or 500_model.pth.", show_default=False),
    ] = None,
) -> None:
    """Download a published model and make a model directory of it.

    A download that was interrupted continues.

    Example: virnucpro models download published-500
    """
    from huggingface_hub.utils import disable_progress_bars

    from virnucpro.pretrained.catalogue import CATALOGUE
    from virnucpro.pretrained.download import download_model

    if not logging.getLogger().isEnabledFor(logging.WARNING):  # --quiet
        disable_progress_bars()
    if name in CATALOGUE:
        options.report(f"{name}, about {in_bytes(CATALOGUE[name].bytes)}; licences: {CATALOGUE[name].licence}")
    options.report(f"{name} is complete in {download_model(name, output, mirror, offline, classifier)}")


@app.command("import")
def import_(
    output: options.OutputDirectory,
    classifier: Annotated[
        Path | None, typer.Option("--classifier", help="The published 300_model.pth or 500_model.pth.")
    ] = None,
    chunk_length: Annotated[
        int | None, typer.Option("--chunk-length", help="Chunk length of its training: 300 or 500 nt.")
    ] = None,
    dnabert: Annotated[Path | None, typer.Option("--dnabert", help="Directory of DNABERT-S.")] = None,
    esm2: Annotated[
        Path | None, typer.Option("--esm2", help="Directory of ESM-2 from Hugging Face, or .pt of fair-esm.")
    ] = None,
) -> None:
    """Make a model directory of the published files.

    No code in them is run. With --classifier this makes a model for `predict`; without --dnabert or --esm2 it lacks an
    encoder and cannot be used, only shown. With --esm2 or --dnabert alone this makes a language model for `embed`.

    Example: virnucpro models import --esm2 esm2_t12_35M_UR50D -o esm2-35M
    """
    from virnucpro.pretrained.import_published import import_encoder, import_model

    if classifier is None:
        source = esm2 or dnabert
        if source is None or (esm2 and dnabert) or chunk_length is not None:
            raise typer.BadParameter("give --classifier and --chunk-length, or only --esm2, or only --dnabert")
        name, origin = output.absolute().name, {"file": source.absolute().name}
        import_encoder(name, "protein" if esm2 else "nucleotide", source, output, origin)
        options.report(f"{output} is complete; use it with `virnucpro embed --model {output}`")
        return
    if chunk_length is None:
        raise typer.BadParameter("--classifier needs --chunk-length, 300 or 500")
    description = import_model(classifier, chunk_length, output, dnabert, esm2)
    lacking = [name for name in description.files() if name not in description.checksums]
    state = f"lacks {', '.join(lacking)}: import again with --dnabert and --esm2" if lacking else "is complete"
    options.report(f"{output} {state}")


@app.command("verify")
def verify(name: Annotated[str, typer.Argument(help="Name or directory of a model.")] = "bundled") -> None:
    """Check every file of a model.

    Checks checksums, names, shapes and dtypes of tensors, and that all values are finite.
    """
    from virnucpro.errors import ModelError
    from virnucpro.pretrained.verification import verify_model

    problems = 0
    for file, problem in verify_model(name):
        print(f"{printable(file)}\t{printable(str(problem or 'ok'))}")
        problems += problem is not None
    if problems:
        raise ModelError(
            f"{counted(problems, 'files')} of the model {name!r} cannot be used; download or copy it again"
        )
