"""The part of the page that says how the run was made: command, input, model, settings, versions, citation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from virnucpro.report.html import Html, element, paragraph, section, table

_PAPER = "Li et al., VirNucPro, Briefings in Bioinformatics 2025, bbaf224"
_DOI = "https://doi.org/10.1093/bib/bbaf224"
_ESM2 = "Lin et al., Science 2023, doi:10.1126/science.ade2574"
_DNABERT_S = "Zhou et al. 2024, arXiv:2402.08777"
# Options that change no result, those with a value first. Without them a resumed run reads as an unbroken one.
_VALUED = ("-o", "--output", "-t", "--threads", "--max-tokens", "--unit-records", "--device")
_FLAGS = ("--resume", "--restart", "--parquet")


def origin(told: dict[str, Any]) -> Html:
    """Return the section on what run.json tells."""
    inputs = (
        (
            Path(given["path"]).name,
            "a stream" if given["bytes"] is None else given["bytes"],
            given["sha256_of_ends"] or "",
        )
        for given in told["inputs"]
    )
    code = element("code", plain_command(told["command"]))
    shortened = "Directories, and options that change no result, are left out; run.json has the whole command."
    beside = (
        "records.tsv has a row for every record, chunks.tsv for every window, frames.tsv for every reading frame; "
        "viral.fasta has the hits. Why a record was called as it was is told by "
    )
    cite = (
        f"virnucpro {told['virnucpro']}; the paper of the method: ", element("a", _PAPER, href=_DOI, rel="noreferrer"),
        f"; if a published model was used, also ESM-2 ({_ESM2}) and DNABERT-S ({_DNABERT_S}).",
    )  # fmt: skip
    return section(
        "asked",
        "How it was made",
        paragraph(code),
        paragraph(shortened, class_="quiet"),
        table("Input files.", ("file", "bytes", "SHA-256 of its first and last 64 KiB"), inputs),
        table("Settings.", ("setting", "value"), _settings(told)),
        element("h3", "The files beside this page"),
        paragraph(beside, element("code", "virnucpro explain DIRECTORY RECORD"), "."),
        element("h3", "What to cite"),
        paragraph(*cite),
    )


def _settings(told: dict[str, Any]) -> list[tuple[str, str]]:
    options, model = told["options"], told["model"]
    prevalence = options.get("prevalence")
    assumed = "none: the model is not calibrated" if prevalence is None else f"{prevalence:.2%} of the records"
    checksum = model["checksums"].get("classifier.safetensors", "unknown")
    attention = ", ".join(sorted(set(told["attention"].values())))
    versions = {"virnucpro": told["virnucpro"], **told["versions"]}
    return [
        ("model", f"{model['name']}, windows of {model['chunk_length']} nt, classifier with SHA-256 {checksum[:16]}…"),
        ("preset", options.get("preset") or f"none: the least score is {options['min_score']:g}"),
        ("share of virus that scores assume", assumed),
        ("least length", f"{options['min_length']} nt"),
        ("computed", f"on {options['device'].split(':')[0]} in {options['precision']}, attention by {attention}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]


def plain_command(command: Sequence[str]) -> str:
    """Return the command of a run without directories and without what changes no result.

    >>> plain_command(["/bin/virnucpro", "-q", "predict", "/data/a b.fa", "-o", "out", "-t2", "--resume"])
    "virnucpro predict 'a b.fa'"
    """
    if "predict" not in command:
        return "called from Python"
    kept: list[str] = []
    rest = iter(command[command.index("predict") + 1 :])
    for word in rest:
        name = word.split("=", 1)[0] if word.startswith("--") else word[:2] if word.startswith("-") else word
        if name in _VALUED:
            if word == name:
                next(rest, None)
        elif name not in _FLAGS:
            kept.append(word if word.startswith("-") else Path(word).name)
    return shlex.join(["virnucpro", "predict", *kept])
