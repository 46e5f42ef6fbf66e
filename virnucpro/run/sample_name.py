"""The name of a sample: what a user may give, and what a run is called by default."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from virnucpro.errors import ConfigError
from virnucpro.printable import printable

MAX_LENGTH = 80  # characters
# MultiQC and other tools may show a name as markup or make a file name of it.
_REFUSED = "/\\<>&\"'`"
_ENDING = re.compile(r"\.(gz|bz2|xz|zst|fastq|fq|fasta|fas|fna|fa)\Z", re.IGNORECASE)
# One file of reads 2 keeps its "_R2", so that it is not called like the run of its mates.
_FIRST_MATE = re.compile(r"[._-]R1(_001)?\Z", re.IGNORECASE)
_MATE = re.compile(r"[._-]R?[12](_001)?\Z", re.IGNORECASE)
# Names that say what a file holds, but not of which sample; and those of any output directory.
_GENERIC = re.compile(
    r"(reads?|contigs?|scaffolds?|final[._-]contigs?|assembly|transcripts?|sequences?|seqs?|genomes?|unmapped|unclassified|"
    r"nonhost|left|merged|combined|trimmed|clean|input|data|test|fast[aq]|R|forward|reverse|mates?|pairs?)?"
    r"([._-]?R?[12](_001)?)?|samples?|stdin|stream",
    re.IGNORECASE,
)
_ANY_OUTPUT = re.compile(r"|outputs?|out|results?|calls|runs?|predict|virnucpro|work|working|tmp|temp", re.IGNORECASE)


def check_sample(name: str) -> str:
    """Return the name of a sample that a user gives.

    Raises:
        ConfigError: it is empty or too long, looks like a path, or has characters that cannot be shown or may be read
            as markup.
    """
    found = ""
    if not name.strip() or name != name.strip():
        found = "it is empty, or begins or ends with a blank"
    elif len(name) > MAX_LENGTH:
        found = f"it has {len(name)} characters"
    elif name in (".", ".."):
        found = "it is a directory"
    elif refused := next((char for char in name if not _allowed(char)), ""):
        found = f"it has the character {printable(refused)!r}"
    if found:
        raise ConfigError(
            f"sample must be a name of at most {MAX_LENGTH} characters that can be shown, without "
            f"{' '.join(_REFUSED)}; got {printable(name[: MAX_LENGTH + 1])!r}: {found}",
            "sample",
        )
    return name


def default_sample(inputs: Sequence[str | None], output: Path) -> str:
    """Return the name of a run without a given one.

    It is the name of the input without its endings and the number of the mate, if all inputs share it and it is not
    a word such as `reads`; otherwise the name of the output directory, or of a parent if that is a word such as `out`.

    Args:
        inputs: paths; None is a stream.
        output: the output directory.

    >>> default_sample(["/data/s1_R1_001.fastq.gz"], Path("out"))
    's1'
    >>> default_sample(["a/reads_1.fq", "a/reads_2.fq"], Path("/home/me/patient 7/out"))
    'patient 7'
    """
    mate = _MATE if len(inputs) > 1 else _FIRST_MATE
    stems = {"" if path is None else mate.sub("", _stem(path)) for path in inputs}
    stem = stems.pop() if len(stems) == 1 else ""
    output = output.absolute()
    if not _GENERIC.fullmatch(stem):
        return cleaned(stem)
    names = [place.name for place in (output, *output.parents)]
    return next(
        (cleaned(name) for name in names if not _ANY_OUTPUT.fullmatch(name)), cleaned(output.name) or "virnucpro"
    )


def cleaned(name: str) -> str:
    """Return a name of a file as that of a sample: with _ for characters that it cannot have, and shortened."""
    return "".join(char if _allowed(char) else "_" for char in name.strip()[:MAX_LENGTH])


def _allowed(char: str) -> bool:
    return char.isprintable() and char not in _REFUSED


def _stem(path: str) -> str:
    """Return the name of a file without its endings."""
    name = PurePath(path).name
    while (shorter := _ENDING.sub("", name)) not in (name, ""):
        name = shorter
    return name
