"""Options that several commands share, and the line that closes a command."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from virnucpro.cli.logs import NOTICE

if TYPE_CHECKING:  # importing them takes a second, and --help needs neither
    from virnucpro.run.directory import IfExists
    from virnucpro.run.run import OpenRunner

Inputs = Annotated[
    list[str],
    typer.Argument(help="FASTA or FASTQ files, plain or gz, bz2, xz, zst; - is standard input.", show_default=False),
]
OutputDirectory = Annotated[Path, typer.Option("-o", "--output", help="Output directory.", show_default=False)]
Model = Annotated[str, typer.Option("--model", help="Name or directory of a model.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run; do only what is missing.")]
Restart = Annotated[bool, typer.Option("--restart", help="Replace what is in the output directory.")]
Sample = Annotated[
    str | None,
    typer.Option(
        "--sample",
        metavar="NAME",
        help="Name of the sample in reports; default: that of the input or output.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto, fp32, bf16, fp16 or fp8 (GPU); auto: bf16 if the device has it.")
]
Attention = Annotated[str, typer.Option("--attention", help="auto or a backend named by `virnucpro doctor`.")]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        min=1,
        help="Token budget of a batch; default: chosen for the device.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "-t", "--threads", min=1, max=1024, help="CPU threads; default: the cores available.", show_default=False
    ),
]
Engine = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="This process, or workers on many devices and machines.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="auto|HOST:PORT",
        help="Ray cluster to join; default: RAY_ADDRESS, or only this machine.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Ray workers, each with a model; default: as many as fit.", show_default=False
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus", min=0, help="GPUs for the Ray workers; default: one each; 0: CPUs only.", show_default=False
    ),
]


def if_exists(resume: bool, restart: bool) -> IfExists:
    """Return what to do with an earlier run, from the options --resume and --restart."""
    from virnucpro.run.directory import IfExists

    if resume and restart:
        raise typer.BadParameter("--resume and --restart exclude each other")
    return IfExists.RESUME if resume else IfExists.OVERWRITE if restart else IfExists.FAIL


def require_engine(engine: str, *of_ray: object) -> None:
    """Raise for options of Ray without `--engine ray`."""
    if engine == "local" and any(option is not None for option in of_ray):
        raise typer.BadParameter("--ray-address, --workers and --gpus need --engine ray")


def runner(engine: str, ray_address: str | None, workers: int | None, gpus: int | None) -> OpenRunner[Any]:
    """Return a function that opens the requested runner."""
    if engine == "local":
        from virnucpro.run.local import open_local

        return open_local
    from virnucpro.distributed.cluster import Scale
    from virnucpro.distributed.ray_engine import open_ray

    return open_ray(Scale(ray_address, workers, gpus))


def report(line: str, event: str = "summary") -> None:
    """Print a closing line on stderr, unless --quiet."""
    logging.getLogger("virnucpro").log(NOTICE, "%s", line, extra={"event": event})


def report_progress(line: str) -> None:
    """Print a line about what is done so far on stderr, unless --quiet."""
    report(line, "progress")
