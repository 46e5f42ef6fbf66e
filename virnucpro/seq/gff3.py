"""Read the ids, the topology and the genes of GFF3 files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from virnucpro.seq.feature import KINDS, AnnotatedSequence, Lines, feature_of

_COLUMNS = 9
_PLACE = re.compile(r"[1-9]\d{0,14}")
_STRANDS = {"+": 1, "-": -1, ".": 0, "?": 0}


def read_gff3(lines: Lines) -> Iterator[tuple[tuple[str, ...], AnnotatedSequence]]:
    """Yield the ids and genes of the sequences of a GFF3 file.

    Raises:
        InputError: the version is not 3, or a line is not a feature: nine columns, places, strand.
    """
    sequences: dict[str, AnnotatedSequence] = {}
    for line in lines:
        if line.startswith("##gff-version"):
            if not re.fullmatch(r"##gff-version\s+3(\.\d+)*\s*", line):
                raise lines.error(f"expected ##gff-version 3, found {line[:40]!a}")
        elif line.startswith(("##FASTA", ">")):
            break
        elif line.strip() and not line.startswith("#"):
            _add_feature(lines, line, sequences)
    yield from (((name,), sequence.completed()) for name, sequence in sequences.items())


def _add_feature(lines: Lines, line: str, sequences: dict[str, AnnotatedSequence]) -> None:
    columns = line.split("\t")
    if len(columns) != _COLUMNS:
        raise lines.error(f"a feature has {_COLUMNS} columns with tabs between them, found {len(columns)}")
    seqid, _, kind, start, end, _, strand, _, given = columns
    if not seqid or seqid.startswith("."):
        raise lines.error("the sequence id (column 1) is missing")
    if not (_PLACE.fullmatch(start) and _PLACE.fullmatch(end) and int(start) <= int(end)):
        raise lines.error(f"start and end (columns 4, 5) must be 1 <= start <= end, found {start[:20]!a}, {end[:20]!a}")
    if strand not in _STRANDS:
        raise lines.error(f"the strand (column 7) must be +, -, . or ?, found {strand[:20]!a}")
    sequence = sequences.setdefault(unquote(seqid, errors="surrogateescape"), AnnotatedSequence())
    pairs = (part.partition("=") for part in given.split(";"))
    attributes = {key.strip(): unquote(value.strip(), errors="surrogateescape") for key, _, value in pairs}
    sequence.circular |= attributes.get("Is_circular") == "true"
    if kind in KINDS:
        sequence.features.append(
            feature_of((int(start) - 1, int(end), _STRANDS[strand]), kind, attributes, attributes.get("ID", ""))
        )
