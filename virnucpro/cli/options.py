"""Options that several commands share, and the line that closes a command."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli.logs import NOTICE

Inputs = Annotated[
    list[str],
    typer.Argument(help="FASTA or FASTQ files, plain or gz, bz2, xz, zst; - is standard input.", show_default=False),
]
OutputDirectory = Annotated[Path, typer.Option("-o", "--output", help="Output directory.", show_default=False)]
Restart = Annotated[bool, typer.Option("--restart", help="Replace what is in the output directory.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto, fp32, bf16 or fp16; auto: bf16 if the device has it.")
]
Attention = Annotated[str, typer.Option("--attention", help="auto or a backend named by `virnucpro doctor`.")]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        min=1,
        help="Token budget of a batch; default: what suits the device.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("-t", "--threads", min=1, help="CPU threads; default: the cores available.", show_default=False),
]


def report(line: str) -> None:
    """Print a closing line on stderr, unless --quiet."""
    logging.getLogger("virnucpro").log(NOTICE, line, extra={"event": "summary"})
