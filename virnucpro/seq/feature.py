"""Genes of an annotation, and the lines of the files that have them.

Text is kept as the file has it; code that shows it must escape it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from virnucpro.errors import InputError

# The features that are read. A `gene` repeats the coordinates of its CDS or RNA, so it counts only without these.
GENE = "gene"
KINDS = frozenset({GENE, "CDS", "tRNA", "tmRNA", "rRNA", "ncRNA", "pseudogene"})
_LONGEST_LINE = 1 << 20  # bytes
_LONGEST_TEXT = 200  # characters of a name or product that are kept


@dataclass(frozen=True, slots=True)
class Feature:
    """A gene: `start` and `end` are 0-based and half-open (nt); `strand` is 1, -1, or 0 if unknown.

    `name` is the gene's symbol or its locus tag; `role` is the functional category, if the file has one.
    """

    start: int
    end: int
    strand: int
    kind: str
    name: str = ""
    product: str = ""
    role: str = ""


@dataclass(slots=True)
class AnnotatedSequence:
    """The genes of a sequence in order, and whether the annotation calls it circular."""

    features: list[Feature] = field(default_factory=list)
    circular: bool = False
    length: int = 0  # nt, 0 if the file does not say

    def completed(self) -> AnnotatedSequence:
        """Return it with features in order, and without genes if there are others."""
        others = [feature for feature in self.features if feature.kind != GENE]
        return AnnotatedSequence(sorted(others or self.features, key=_place), self.circular, self.length)


def _place(feature: Feature) -> tuple[int, int]:
    return feature.start, feature.end


class Lines:
    """The lines of a text file, without their ends, and errors that name the line."""

    def __init__(self, path: str, stream: io.BufferedReader) -> None:
        self._path, self._stream = path, stream
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(_LONGEST_LINE):
            self.number += 1
            if len(line) == _LONGEST_LINE:
                raise self.error(f"a line of {_LONGEST_LINE:,} bytes or more")
            yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")

    def error(self, fault: str) -> InputError:
        """Return an error about the line that was read last."""
        return InputError(f"{self._path}: line {self.number}: {fault}; correct or remove the line")


def feature_of(place: tuple[int, int, int], kind: str, attributes: dict[str, str], identifier: str = "") -> Feature:
    """Return a feature at a place (start, end, strand), described by its attributes or qualifiers."""
    named = (attributes.get(key, "") for key in ("gene", "locus_tag", "Name"))
    name, product, role = next(filter(None, named), identifier), attributes.get("product"), attributes.get("function")
    return Feature(*place, kind, name[:_LONGEST_TEXT], (product or "")[:_LONGEST_TEXT], (role or "")[:_LONGEST_TEXT])
