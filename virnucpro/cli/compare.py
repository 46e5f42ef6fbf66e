"""virnucpro compare."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli.print_tables import print_tables

_WORDS = {True: "virus", False: "other", None: "NA"}


def compare(
    tables: Annotated[list[Path], typer.Argument(help="records.tsv and tables of other tools.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Table of every sequence and its calls.", show_default=False)
    ] = None,
    kraken_report: Annotated[
        Path | None, typer.Option("--kraken-report", help="Kraken2's --report of the same run.", show_default=False)
    ] = None,
) -> None:
    """Compare the viral calls of several tools.

    Prints how far the tools agree, and what each calls alone. Recognises by their columns the tables of virnucpro
    (records.tsv), geNomad (*_nn_classification.tsv, *_virus_summary.tsv), Jaeger, DeepMicroClass, VirSorter2
    (final-viral-score.tsv) and Kraken2 (--output, with --kraken-report).

    Example: virnucpro compare calls/records.tsv genomad_virus_summary.tsv -o all.tsv
    """
    from virnucpro.errors import ConfigError
    from virnucpro.evaluate import agreement as comparison
    from virnucpro.files import atomic_writer
    from virnucpro.run.replacement import refuse_inputs, refuse_stdout

    if len(tables) < 2:
        raise ConfigError(f"a comparison needs two tables or more, got {len(tables)}")
    given = [*tables, *([kraken_report] if kraken_report is not None else [])]
    refuse_stdout(given)
    if output is not None:
        refuse_inputs(given, [output])
    tools, calls = comparison.compare(comparison.read_tables(tables, kraken_report))
    if output is not None:
        with atomic_writer(output) as file:
            file.write("\t".join(("seq_name", *tools, "n_virus")) + "\n")
            for name, row in calls.items():
                cells = [_WORDS[cell] for cell in row]
                file.write("\t".join((name, *cells, str(cells.count("virus")))) + "\n")
    if all(len(row) - row.count(None) < 2 for row in calls.values()):
        logging.getLogger("virnucpro").warning("no sequence is in two tables; were the tools given the same records?")
    print_tables(comparison.summary(tools, calls))
