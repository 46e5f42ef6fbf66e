"""The sequences of hits for the page, from viral.fasta; hits are in the order of their records in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import escape

from virnucpro.errors import InputError, MissingInputError
from virnucpro.report.entries import Entry
from virnucpro.report.html import readable
from virnucpro.seq.decompress import content_of

MAX_SEQUENCE = 20_000  # nt of a hit whose sequence is in the page
MAX_SEQUENCES = 250_000  # characters of all of them in the page, with their headers


def read_hit_sequences(paths: Sequence[Path], hits: Sequence[Entry], paired: bool = False) -> None:
    """Set `fasta` of hits, the best first, to their records in the FASTA files of a run, one file a mate.

    Hits of more than MAX_SEQUENCE nt, and those that would make more than MAX_SEQUENCES in all, have none. Without the
    files, which a user may have moved, no hit has one.

    Raises:
        InputError: a file has another record where the hit should be.
        MissingInputError: a file cannot be read.
    """
    if not all(path.exists() for path in paths):
        return
    chosen = sorted((entry for entry in hits if entry.length <= MAX_SEQUENCE), key=lambda entry: entry.hit)
    for path in paths:
        records = _records(path, [entry.hit for entry in chosen])
        for entry in chosen:
            header, _, lines = next(records, b"").decode(errors="surrogateescape").partition("\n")
            name = header.split(" ", 1)[0]
            if not (name.startswith(entry.name) if paired else name == entry.name):
                raise InputError(
                    f"{path} has {name!r} as record {entry.hit + 1} where records.tsv has the hit {entry.name!r}; "
                    "the files are not of one run: run `virnucpro predict` again with --restart"
                )
            entry.fasta += f">{readable(header)}\n{lines}"
    left = MAX_SEQUENCES
    for entry in hits:
        if (size := len(escape(entry.fasta))) > left:
            entry.fasta = ""
        else:
            left -= size


def _records(path: Path, wanted: Sequence[int]) -> Iterator[bytes]:
    """Yield the records at these places of a FASTA file, in ascending order, without the first `>`."""
    places = iter(wanted)
    place = next(places, None)
    number, kept = -1, bytearray()
    try:
        with path.open("rb") as raw, content_of(raw) as file:
            for line in file:
                if line.startswith(b">"):
                    if number == place:
                        yield bytes(kept)
                        place, kept = next(places, None), bytearray()
                        if place is None:
                            return
                    number += 1
                if number == place:
                    kept += line.removeprefix(b">")
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror or error}") from error
    if number == place:
        yield bytes(kept)
