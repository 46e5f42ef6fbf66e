"""virnucpro merge."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.words import counted


def merge(
    runs: Annotated[list[Path], typer.Argument(help="Output directories of all shards.", show_default=False)],
    output: options.OutputDirectory,
    restart: options.Restart = False,
    sample: options.Sample = None,
) -> None:
    """Merge the shards of `predict --shard` into one run.

    The tables are the same as without shards. The command fails if a shard is missing, given twice, not complete, or
    of another run or input. The directories of the shards stay as they are. With --restart, the old files in the
    output directory stay until the new tables are complete.

    Example: virnucpro merge shard_1 shard_2 shard_3 shard_4 -o calls
    """
    from virnucpro.files import locked
    from virnucpro.report.write import write_report
    from virnucpro.run.shards import merge_shards

    tally = merge_shards(runs, output, options.if_exists(False, restart), sys.argv, sample)
    with locked(output):
        write_report(output)
    options.report(
        f"{counted(tally.records, 'records')} of {counted(len(runs), 'shards')}; tables and report.html are in {output}"
    )
