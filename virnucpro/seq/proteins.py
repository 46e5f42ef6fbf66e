"""Read proteins for `embed`: refuse nucleotides, and leave out gaps and final stops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from virnucpro.errors import InputError
from virnucpro.types import Record

# The number of first records to examine in each file, or of their letters.
_RECORDS, _LETTERS = 100, 1_000_000
# Fewer letters are not enough to decide: GAGA may be a protein.
_MIN_LETTERS = 30
# The maximum share of other IUPAC codes in DNA. In proteins, about 30 % of the letters are A, C, G, T, U or N.
_OTHER_LETTERS = 0.05
_GAPS, _STOP = b"-.", b"*"


@dataclass(slots=True)
class Tidied:
    """Counts of changes: letters left out, sequences with such letters, and sequences with a `*` that stays."""

    letters: int = 0
    sequences: int = 0
    with_stops: int = 0

    def tidy(self, record: Record) -> Record:
        """Return a protein without gaps and final stops; a protein with nothing else stays as it is."""
        sequence = record.sequence
        kept = sequence.translate(None, _GAPS).rstrip(_STOP) or sequence
        self.with_stops += _STOP in kept
        if len(kept) == len(sequence):
            return record
        self.letters += len(sequence) - len(kept)
        self.sequences += 1
        return replace(record, sequence=kept, quality=b"")


def refuse_nucleotides(records: Iterable[Record]) -> Iterator[Record]:
    """Yield proteins, after a check of the first records of each file.

    A file is refused if it is FASTQ, or if A, C, G, T, U and N are at least 95 % of the letters of its first 100
    records (or of fewer records with a million letters) and there are at least 30 letters. Gaps, stops and X do not
    count. So a short protein of only these letters passes, and a long one does among other proteins.

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
                "really are proteins"
            )
        yield from first
        yield from own


def _nucleotides(records: list[Record]) -> str:
    """Return why records are nucleotides, "" if they seem to be proteins."""
    if any(record.quality for record in records):
        return "FASTQ holds nucleotides, expected proteins"
    letters = b"".join(record.sequence for record in records).translate(None, _GAPS + _STOP + b"X")
    others = len(letters.translate(None, b"ACGTUN"))
    if len(letters) < _MIN_LETTERS or others > _OTHER_LETTERS * len(letters):
        return ""
    share = "all" if not others else f"{1 - others / len(letters):.1%}"
    first = f"its first {len(records)} records" if len(records) > 1 else "its first record"
    return f"nucleotides, expected proteins ({share} of the letters of {first} are A, C, G, T, U or N)"
