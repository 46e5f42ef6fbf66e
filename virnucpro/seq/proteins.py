"""Proteins as `embed` reads them: not nucleotides by mistake, without gaps and without stops at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from virnucpro.errors import InputError
from virnucpro.types import Record

# What is looked at of each file: so many records, or as many as have so many letters.
_RECORDS, _LETTERS = 100, 1_000_000
# Fewer letters than this tell nothing: GAGA is a protein, too.
_MIN_LETTERS = 30
# So much of DNA may be other IUPAC codes. Of proteins about 30 % of the letters are A, C, G, T, U or N.
_OTHER_LETTERS = 0.05
_GAPS, _STOP = b"-.", b"*"


@dataclass(slots=True)
class Tidied:
    """What was changed: how many letters of how many sequences were left out; how many have a `*` that stays."""

    letters: int = 0
    sequences: int = 0
    with_stops: int = 0

    def tidy(self, record: Record) -> Record:
        """Return a protein without gaps and without stops at its end; one that has nothing else stays as it is."""
        sequence = record.sequence
        kept = sequence.translate(None, _GAPS).rstrip(_STOP) or sequence
        self.with_stops += _STOP in kept
        if len(kept) == len(sequence):
            return record
        self.letters += len(sequence) - len(kept)
        self.sequences += 1
        return replace(record, sequence=kept, quality=b"")


def refuse_nucleotides(records: Iterable[Record]) -> Iterator[Record]:
    """Yield proteins, after a look at the first ones of each file.

    A file is refused if it is FASTQ, or if A, C, G, T, U and N are at least 95 % of the letters of its first 100
    records (of fewer, if these have a million letters) and there are at least 30 letters; gaps, stops and X do not
    count. So a short protein of such letters alone passes, and among others a long one, too.

    Raises:
        InputError: a file has nucleotides.
    """
    for source, group in groupby(records, lambda record: record.source):
        own = iter(group)
        first: list[Record] = []
        letters = 0
        for record in own:
            first.append(record)
            letters += len(record.sequence)
            if len(first) == _RECORDS or letters >= _LETTERS:
                break
        if found := _nucleotides(first):
            raise InputError(
                f"{source}: {found}: use --kind nucleotide, with a model that reads them, or --kind protein if these "
                "are proteins all the same"
            )
        yield from first
        yield from own


def _nucleotides(records: list[Record]) -> str:
    """Return in words by what records are nucleotides; "" if they seem to be proteins."""
    if any(record.quality for record in records):
        return "FASTQ holds nucleotides, expected proteins"
    letters = b"".join(record.sequence for record in records).translate(None, _GAPS + _STOP + b"X")
    others = len(letters.translate(None, b"ACGTUN"))
    if len(letters) < _MIN_LETTERS or others > _OTHER_LETTERS * len(letters):
        return ""
    share = "all" if not others else f"{1 - others / len(letters):.1%}"
    first = f"its first {len(records)} records" if len(records) > 1 else "its first record"
    return f"nucleotides, expected proteins ({share} of the letters of {first} are A, C, G, T, U or N)"
