"""The annotation of input files: genes by the ids of their sequences, from GFF3 or GenBank."""

from __future__ import annotations

import os
from collections.abc import Iterable

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.seq.decompress import content_of
from virnucpro.seq.feature import AnnotatedSequence, Lines
from virnucpro.seq.formats import HEAD_BYTES, recognise
from virnucpro.seq.genbank import read_genbank
from virnucpro.seq.gff3 import read_gff3
from virnucpro.seq.reader import SequenceFile, read_records

_NAMED = 5  # ids in a message
_LONGEST_ID = 200  # characters of an id in a message


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
    shown = [name[:_LONGEST_ID] for name in ids[:_NAMED]]
    return (", ".join(shown) or "none") + (", ..." if len(ids) > _NAMED else "")


def read_annotation(path: str) -> Annotation:
    """Read a GFF3 or GenBank file, plain or compressed (gz, bz2, xz, zst); its content decides.

    Raises:
        MissingInputError: the file does not exist.
        InputError: it cannot be opened, is damaged, is neither GFF3 nor GenBank, or has a faulty line.
    """
    try:
        with open(path, "rb") as raw, content_of(raw) as stream:
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
