"""virnucpro models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options

app = typer.Typer(help="List, show, import and verify models.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List the models that can be named."""
    from virnucpro.models.description import ModelDescription
    from virnucpro.models.registry import list_models

    print("name\tmodel\tchunk_length\tmin_length\tdirectory")
    for name, directory in list_models().items():
        described = ModelDescription.from_json(directory / "model.json")
        print(f"{name}\t{described.name}\t{described.chunk_length}\t{described.min_length}\t{directory}")


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="Name or directory of a model.")] = "bundled") -> None:
    """Print a model's description as JSON: architecture, frame rule, training, figures, checksums, licence."""
    from virnucpro.models.description import ModelDescription
    from virnucpro.models.registry import find_model

    print(json.dumps(asdict(ModelDescription.from_json(find_model(name) / "model.json")), indent=2))


@app.command("import")
def import_(
    classifier: Annotated[Path, typer.Option("--classifier", help="The published 300_model.pth or 500_model.pth.")],
    chunk_length: Annotated[int, typer.Option("--chunk-length", help="What it was trained with: 300 or 500 nt.")],
    output: options.OutputDirectory,
    dnabert: Annotated[Path | None, typer.Option("--dnabert", help="Directory of DNABERT-S.")] = None,
    esm2: Annotated[
        Path | None, typer.Option("--esm2", help="Directory of ESM-2 from Hugging Face, or .pt of fair-esm.")
    ] = None,
) -> None:
    """Make a model directory of the published files; no code in them is run.

    Without --dnabert or --esm2 the directory lacks that encoder: it can be shown, but not be used.
    """
    from virnucpro.models.published import import_model

    description = import_model(classifier, chunk_length, output, dnabert, esm2)
    lacking = [name for name in description.files() if name not in description.checksums]
    state = f"lacks {', '.join(lacking)}: import again with --dnabert and --esm2" if lacking else "is complete"
    options.report(f"{output} {state}")


@app.command("verify")
def verify(name: Annotated[str, typer.Argument(help="Name or directory of a model.")] = "bundled") -> None:
    """Check every file of a model: checksum, names, shapes and types of its tensors, finite values."""
    from virnucpro.errors import ModelError
    from virnucpro.models.registry import verify_model

    problems = 0
    for file, problem in verify_model(name):
        print(f"{file}\t{problem or 'ok'}")
        problems += problem is not None
    if problems:
        raise ModelError(f"{problems} files of the model {name!r} cannot be used; get it again")
