"""virnucpro models."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

app = typer.Typer(help="List and show models.", no_args_is_help=True)


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
