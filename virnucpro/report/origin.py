"""The section of the page on how the run was made: command, input, model, settings, versions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from virnucpro.report.finished import FinishedRun
from virnucpro.report.html import Table

# Options that do not change results, with and without a value. Without them, a resumed run shows the same command.
_VALUED = ("-o", "--output", "-t", "--threads", "--max-tokens", "--unit-records", "--device", "--plots", "--compress")
_FLAGS = ("--resume", "--restart", "--parquet", "--write-other", "--viral-ids")


def input_files(run: FinishedRun) -> Table:
    """Return the table of input files."""
    rows = [
        (Path(given.path).name, "a stream" if given.bytes is None else given.bytes, given.sha256_of_ends or "")
        for given in run.inputs
    ]
    return Table("Input files.", ("file", "bytes", "SHA-256 of its first and last 64 KiB"), rows)


def settings(run: FinishedRun) -> Table:
    """Return the table of the model and of the settings that affect results."""
    options, model, prevalence = run.setup.options, run.setup.model, run.setup.options.prevalence
    assumed = "none: the model is not calibrated" if prevalence is None else f"{100 * prevalence:g} % of the records"
    rule = f"the minimum score is {options.min_score!r}"
    if options.max_fdr is not None:
        rule = f"the highest FDR of a virus is {options.max_fdr!r}"
    checksum = model.checksums.get("classifier.safetensors", "unknown")
    attention = ", ".join(sorted(set(run.setup.attention.values())))
    versions = {"virnucpro": run.virnucpro, **run.setup.versions}
    rows = [
        ("model", f"{model.name}, windows of {model.chunk_length} nt, classifier with SHA-256 {checksum[:16]}…"),
        *([("screen", _screen(run))] if run.setup.screen else []),
        ("preset", options.preset or f"none: {rule}"),
        ("share of virus that scores assume", assumed),
        ("minimum length", f"{options.min_length} nt"),
        ("computed", f"on {options.device.split(':')[0]} in {options.precision}, attention by {attention}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return Table("Settings.", ("setting", "value"), rows)


def _screen(run: FinishedRun) -> str:
    screen, options, tally = run.setup.screen, run.setup.options, run.outcome.tally
    if screen is None or options.screen is None:
        return "none"
    return (
        f"{screen.name} judged windows first; those with as much evidence as "
        f"{100 * options.screen:g} % of viruses have went on, {tally.screened_chunks:,} of {tally.chunks:,} did not"
    )


def plain_command(command: Sequence[str], name: str = "predict") -> str:
    """Return the command of a run (`name`) without directories and without options that do not change results.

    >>> plain_command(["/bin/virnucpro", "-q", "predict", "/data/a b.fa", "-o", "out", "-t2", "--resume"])
    "virnucpro predict 'a b.fa'"
    """
    if name not in command:
        return "called from Python"
    kept: list[str] = []
    rest = iter(command[command.index(name) + 1 :])
    for word in rest:
        option = word.split("=", 1)[0] if word.startswith("--") else word[:2] if word.startswith("-") else word
        if option in _VALUED:
            if word == option:
                next(rest, None)
        elif option not in _FLAGS:
            kept.append(word if word.startswith("-") else Path(word).name)
    return shlex.join(["virnucpro", name, *kept])
