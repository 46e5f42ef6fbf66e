"""virnucpro check."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.cli.print_tables import print_line


def check(
    inputs: options.Inputs,
    min_length: Annotated[
        int | None,
        typer.Option(
            "--min-length", min=1, help="Shortest record to call, nt; default: the bundled model's.", show_default=False
        ),
    ] = None,
) -> None:
    """Report errors and oddities in input files, without a model.

    Prints on standard output a line for each error, a warning for each kind of oddity with the first record
    that has it, and a summary of each file. The exit code is that of `predict`: 0 if it could read all files.

    Example: virnucpro check reads.fastq.gz contigs.fa
    """
    from virnucpro.errors import InputError
    from virnucpro.run.replacement import refuse_stdout
    from virnucpro.seq.inspect import Inspection
    from virnucpro.seq.pairs import hints
    from virnucpro.seq.reader import SequenceFile, refuse_repeated_pipes
    from virnucpro.seq.screen import Limits

    refuse_stdout(inputs)
    all_of_it = logging.getLogger().isEnabledFor(logging.WARNING)  # --quiet: errors only
    limits = Limits() if min_length is None else Limits(min_length=min_length)
    ids: set[int] = set()
    code = 0
    files = [SequenceFile(name) for name in inputs]
    try:
        refuse_repeated_pipes(files)
    except InputError as error:
        print_line(f"error: {error}")
        raise typer.Exit(error.exit_code) from error
    heads = []
    for file in files:
        inspection = Inspection(file, limits, ids)
        for fault in inspection.faults():
            print_line(f"error: {fault}")
            code = code or fault.exit_code  # the first, as for `predict`
        if all_of_it:
            for remark in inspection.remarks():
                print_line(f"warning: {remark}")
            print_line(inspection.summary())
        heads.append(inspection.head)
    if all_of_it:
        for hint in hints(heads):
            print_line(f"warning: {hint}")
    raise typer.Exit(code)
