"""Read the ids, the topology and the genes of GenBank flat files; sequences and everything else are skipped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from virnucpro.seq.feature import KINDS, AnnotatedSequence, Lines, feature_of

_KEY = 5  # column of a feature's key
_TEXT = 21  # column of its location and qualifiers
_REPEATED = ""  # stands for a qualifier that a feature already has: the first counts
_LONGEST_VALUE = 10_000  # characters of a qualifier that are kept
_LOCUS = re.compile(r"LOCUS +(?P<name>\S+) +(?P<length>\d{1,15}) bp\b(?P<rest>.*)")
_QUALIFIER = re.compile(r"/(?P<key>[\w'*-]+)(=(?P<value>.*))?")
_LOCATION = re.compile(
    r"(?P<operator>complement|join|order|bond|one-of)\("
    r"|(?P<other>[A-Za-z][\w.]*:)?[<>]?(?P<start>\d{1,15})((\.\.|[.^])[<>]?(?P<end>\d{1,15}))?"
    r"|(?P<close>\))|(?P<comma>,)"
)
Place = tuple[int, int, int]


def read_genbank(lines: Lines) -> Iterator[tuple[tuple[str, ...], AnnotatedSequence]]:
    """Yield the ids (version, accession, locus) and genes of the records of a GenBank file.

    Raises:
        InputError: a record has no LOCUS line or no end, or a feature has no valid location.
    """
    iterator = iter(lines)
    for line in iterator:
        if line.strip():
            yield _record(lines, line, iterator)


def _record(lines: Lines, line: str, rest: Iterator[str]) -> tuple[tuple[str, ...], AnnotatedSequence]:
    """Return the ids and genes of the record that begins with this line."""
    if not (locus := _LOCUS.match(line)):
        raise lines.error("expected a LOCUS line with name and length")
    sequence = AnnotatedSequence(circular="circular" in locus["rest"].split(), length=int(locus["length"]))
    ids = {"VERSION": "", "ACCESSION": "", "LOCUS": locus["name"]}
    section = ""
    feature = _Feature()
    for line in rest:
        if line.startswith("//"):
            feature.add_to(lines, sequence)
            return tuple(dict.fromkeys(filter(None, ids.values()))), sequence.completed()
        if line[:1].strip():
            section, *words = line.split()
            if section in ("VERSION", "ACCESSION") and words:
                ids[section] = words[0]
        elif section == "FEATURES" and line.strip():
            if line[_KEY : _KEY + 1].strip():
                feature.add_to(lines, sequence)
                feature = _Feature(line[_KEY:_TEXT].strip(), lines.number)
            feature.read(line[_TEXT:].strip())
    raise lines.error(f"the record {locus['name']} has no end (//): the file is not complete")


class _Feature:
    """A feature while its lines are read: key, location, qualifiers."""

    def __init__(self, key: str = "", line: int = 0) -> None:
        self._key, self._line = key, line
        self._location = ""
        self._qualifiers: dict[str, str] = {}
        self._last = ""  # the qualifier that the next line may continue
        self._open = False  # whether its quoted value goes on

    def read(self, text: str) -> None:
        if self._key not in KINDS:
            return
        begun = None if self._open else _QUALIFIER.fullmatch(text)
        if begun:
            self._last = begun["key"] if begun["key"] not in self._qualifiers else _REPEATED
            self._qualifiers[self._last] = ""
            self._append(begun["value"] or "")
        elif self._qualifiers:
            self._append(f" {text}")
        else:
            self._location += text

    def _append(self, text: str) -> None:
        self._open ^= text.count('"') % 2 == 1
        value = self._qualifiers[self._last]
        self._qualifiers[self._last] = value + text if len(value) < _LONGEST_VALUE else value

    def add_to(self, lines: Lines, sequence: AnnotatedSequence) -> None:
        """Add the feature to the sequence, once for each part of its location."""
        if self._key not in KINDS:
            return
        places = _places(self._location)
        if places is None:
            lines.number = self._line
            raise lines.error(f"{self._location[:60]!a} is not a location of a {self._key}")
        values = {key: value.strip().strip('"').replace('""', '"') for key, value in self._qualifiers.items()}
        sequence.features += [feature_of(place, self._key, values) for place in places]


def _places(location: str) -> list[Place] | None:
    """Return start, end (0-based, half-open) and strand of each part of a location, None if it is not valid.

    Parts on other sequences are left out.

    >>> _places("complement(join(<1..5,8,J00194.1:2..9))")
    [(0, 5, -1), (7, 8, -1)]
    """
    found: list[Place] = []
    strands = [1]
    position = 0
    text = "".join(location.split())
    while position < len(text):
        if not (token := _LOCATION.match(text, position)):
            return None
        position = token.end()
        if token["operator"]:
            strands.append(-strands[-1] if token["operator"] == "complement" else strands[-1])
        elif token["close"]:
            strands.pop()
            if not strands:
                return None
        elif token["start"]:
            start, end = int(token["start"]), int(token["end"] or token["start"])
            if not 1 <= start <= end:
                return None
            found += [] if token["other"] else [(start - 1, end, strands[-1])]
    return found if text and len(strands) == 1 else None
