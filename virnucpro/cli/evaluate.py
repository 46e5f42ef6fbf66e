"""virnucpro evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    calls: Annotated[Path, typer.Argument(help="records.tsv of `virnucpro predict`.", show_default=False)],
    truth: Annotated[Path, typer.Option("--truth", help="Table with seq_name and class.", show_default=False)],
) -> None:
    """Compare calls with the truth and print the figures as JSON.

    AUROC against all hosts and each host class, their mean (macro), and the share of viruses found at 5 %
    and 1 % false positives.
    """
    from virnucpro.train.evaluate import evaluate_tables

    print(json.dumps(evaluate_tables(truth, calls).to_json(), indent=2))
