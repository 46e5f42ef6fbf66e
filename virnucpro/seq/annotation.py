"""Annotation of genomes: genes by the id of their sequence, from GFF3 (here) or GenBank (`seq.genbank`).

The text of a file is only passed on; whoever shows it must escape it.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.seq.decompress import Decompressed, compression_of
from virnucpro.seq.formats import HEAD_BYTES, recognise
from virnucpro.seq.reader import SequenceFile, read_records

# The features that are read. A `gene` repeats the coordinates of its CDS or RNA, so it counts only without these.
GENE = "gene"
KINDS = frozenset({GENE, "CDS", "tRNA", "tmRNA", "rRNA", "ncRNA", "pseudogene"})
_LONGEST_LINE = 1 << 20  # bytes
_LONGEST_TEXT = 200  # characters of a name or product that are kept
_NAMED = 5  # ids in a message
_COLUMNS = 9
_PLACE = re.compile(r"[1-9]\d{0,14}")
_STRANDS = {"+": 1, "-": -1, ".": 0, "?": 0}


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


class Annotation:
    """The annotated sequences of a file. In GenBank, a sequence has several ids (version, accession, locus)."""

    def __init__(self, path: str, sequences: Iterable[tuple[tuple[str, ...], AnnotatedSequence]]) -> None:
        self.path = path
        self._by_id: dict[str, AnnotatedSequence] = {}
        self.ids: list[str] = []
        for names, sequence in sequences:
            self.ids.append(names[0])
            for name in names:
                self._by_id.setdefault(name, sequence)

    def find(self, seq_name: str) -> AnnotatedSequence | None:
        """Return the annotation of a record, None if it has none."""
        return self._by_id.get(seq_name)

    def check(self, lengths: Iterable[tuple[str, int]]) -> None:
        """Check that this is the annotation of these records, given as ids and lengths (nt).

        Raises:
            InputError: no record is in the annotation, or a gene ends after the end of its record.
        """
        found = False
        present: list[str] = []
        for name, length in lengths:
            present += [name] if len(present) < _NAMED + 1 else []
            if (sequence := self.find(name)) is None:
                continue
            found = True
            last = max((feature.end for feature in sequence.features), default=0)
            if sequence.length not in (0, length) or (last > length and not sequence.circular):
                raise InputError(
                    f"{self.path}: the annotation of {name} reaches to {max(last, sequence.length):,} nt, but this "
                    f"record has {length:,} nt; give the annotation of the same version of the sequence"
                )
        if present and not found:
            raise InputError(
                f"{self.path}: none of its sequence ids is an id of the input; it has {_listed(self.ids)}; "
                f"the input has {_listed(present)}; use the same ids in both files"
            )


def _listed(ids: list[str]) -> str:
    shown = [name[:_LONGEST_TEXT] for name in ids[:_NAMED]]
    return (", ".join(shown) or "none") + (", ..." if len(ids) > _NAMED else "")


def read_annotation(path: str) -> Annotation:
    """Read a GFF3 or GenBank file, plain or compressed (gz, bz2, xz, zst); its content decides.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it cannot be opened, is damaged, is neither GFF3 nor GenBank, or has a faulty line.
    """
    from virnucpro.seq.genbank import read_genbank

    try:
        with open(path, "rb") as raw, _decompressed(raw) as stream:
            head = stream.peek(HEAD_BYTES)[:HEAD_BYTES].lstrip()
            lines = Lines(path, stream)
            if head.startswith(b"##gff-version"):
                return Annotation(path, read_gff3(lines))
            if head.startswith(b"LOCUS "):
                return Annotation(path, read_genbank(lines))
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such file; check the path of --annotation") from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: {reason}; check that it is a complete file that you may read") from error
    kind = recognise(head) if head else None
    found = (
        kind[0] if kind else f"a file that begins with {head[:20].decode('ascii', 'replace')!a}" if head else "empty"
    )
    raise InputError(
        f"{path}: neither GFF3 nor GenBank but {found}; GFF3 begins with ##gff-version 3, GenBank with LOCUS"
    )


def annotation_of(path: str | os.PathLike[str], inputs: Iterable[str]) -> Annotation:
    """Read the annotation of input files, and check that it is about their records; this reads their ids and lengths.

    Raises:
        ConfigError: an input is a pipe, which cannot be read twice.
        InputError: as of `read_annotation`, `Annotation.check` and `read_records`.
    """
    files = [SequenceFile(name) for name in inputs]
    for file in files:
        if file.pipe is not None:
            raise ConfigError(
                f"annotation needs input files, because their ids are compared with its own before the work; "
                f"{file.path} is a pipe: write it to a file",
                "annotation",
            )
    annotation = read_annotation(os.fspath(path))
    annotation.check((record.id, len(record.sequence)) for record in read_records(files))
    return annotation


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    compression = compression_of(raw.peek(HEAD_BYTES)[:HEAD_BYTES])
    return raw if compression == "plain" else io.BufferedReader(Decompressed(raw, compression))


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


def feature_of(place: tuple[int, int, int], kind: str, attributes: dict[str, str], identifier: str = "") -> Feature:
    """Return a feature at a place (start, end, strand), described by its attributes or qualifiers."""
    named = (attributes.get(key, "") for key in ("gene", "locus_tag", "Name"))
    name, product, role = next(filter(None, named), identifier), attributes.get("product"), attributes.get("function")
    return Feature(*place, kind, name[:_LONGEST_TEXT], (product or "")[:_LONGEST_TEXT], (role or "")[:_LONGEST_TEXT])
