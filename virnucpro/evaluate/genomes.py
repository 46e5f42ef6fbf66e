"""Labelled genomes on disk, and windows drawn from them, weighted by taxon rather than by base pair.

A data directory holds SPLIT/CLASS.fna[.gz|.xz|...], one file per class. An optional records.tsv[.gz] with columns id,
class, family and genus groups records into taxa; without it each record is a taxon of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.evaluate.columns import read_table
from virnucpro.files import atomic_writer
from virnucpro.seq import read_records

VIRUS = "virus"
WINDOW_FILES = ("windows.fa", "truth.tsv")
_ACGT = np.zeros(256, dtype=bool)
_ACGT[np.frombuffer(b"ACGT", dtype=np.uint8)] = True
# A window with a larger share of other letters says little about its class and is drawn again.
_MAX_AMBIGUOUS = 0.1
_CLASS_FILE = re.compile(r"(.+?)\.fna(?:\.(?:gz|bz2|xz|zst))?")


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a genome: record id, 0-based start, class and sequence."""

    record_id: str
    start: int
    class_name: str
    taxon: str
    sequence: bytes


@dataclass(frozen=True, slots=True)
class Genomes:
    """All records of one split: `text` holds the sequences end to end, record i at starts[i], lengths[i] nt."""

    text: npt.NDArray[np.uint8]
    ids: list[str]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    classes: npt.NDArray[np.str_]  # of each record
    taxa: npt.NDArray[np.str_]  # class|family|genus of each record
    unclear: npt.NDArray[np.int64] = field(
        init=False, repr=False
    )  # positions in `text` of letters other than A, C, G and T

    def __post_init__(self) -> None:
        object.__setattr__(self, "unclear", np.flatnonzero(~_ACGT[self.text]))

    def weights(self, class_share: dict[str, float], temper: float) -> npt.NDArray[np.float64]:
        """Return the probability of each record when drawing windows.

        A class has the weight of its share, a taxon within it that of its bases to the power `temper`, and a record
        within the taxon that of its length.

        Raises:
            ConfigError: a class with a share has no record.
        """
        if lacking := sorted(class_share.keys() - set(self.classes.tolist())):
            raise ConfigError(
                f"class_share names {lacking[0]!r}, which the data lack; "
                f"their classes are {', '.join(sorted(set(self.classes.tolist())))}"
            )
        names, taxon = np.unique(self.taxa, return_inverse=True)
        bases = np.bincount(taxon, weights=self.lengths, minlength=len(names))
        weights = bases[taxon] ** temper * self.lengths / bases[taxon]
        for name, share in class_share.items():
            members = self.classes == name
            weights[members] *= share / weights[members].sum()
        weights[~np.isin(self.classes, list(class_share))] = 0.0
        probabilities: npt.NDArray[np.float64] = weights / weights.sum()
        return probabilities

    def draw(
        self,
        rng: np.random.Generator,
        cumulative: npt.NDArray[np.float64],
        window_lengths: npt.NDArray[np.int64],
        min_part: float = 1.0,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Draw one window of each length; return record numbers, starts in the record, and lengths (nt).

        A record shorter than its window gives a part of itself, between the share `min_part` and all of it: many
        records are single genes, which a model could recognise by their ends. `cumulative` is the running sum of
        `weights`.
        """
        n = len(window_lengths)
        records, starts, lengths = (np.zeros(n, dtype=np.int64) for _ in range(3))
        wanted = np.arange(n)
        for _ in range(100):
            records[wanted] = np.minimum(np.searchsorted(cumulative, rng.random(len(wanted))), len(self.ids) - 1)
            lengths[wanted] = np.minimum(window_lengths[wanted], self.lengths[records[wanted]])
            if min_part < 1:
                short = wanted[lengths[wanted] < window_lengths[wanted]]
                parts = min_part + (1 - min_part) * rng.random(len(short))
                lengths[short] = np.maximum(1, np.rint(parts * lengths[short])).astype(np.int64)
            room = self.lengths[records[wanted]] - lengths[wanted] + 1
            starts[wanted] = (rng.random(len(wanted)) * room).astype(np.int64)
            begins = self.starts[records[wanted]] + starts[wanted]
            unclear = np.searchsorted(self.unclear, begins + lengths[wanted]) - np.searchsorted(self.unclear, begins)
            wanted = wanted[unclear > _MAX_AMBIGUOUS * lengths[wanted]]
            if not len(wanted):
                return records, starts, lengths
        raise InputError("no windows can be drawn: most letters of the genomes are not A, C, G or T; use other genomes")

    def piece(self, record: int, start: int, length: int) -> npt.NDArray[np.uint8]:
        """Return `length` letters of a record from `start` as a view."""
        begin = int(self.starts[record]) + start
        return self.text[begin : begin + length]


def read_genomes(directory: Path, split: str, exclude: Sequence[str] = ()) -> Genomes:
    """Read all classes of a split except those in `exclude`; U is read as T.

    Raises:
        MissingInputError: the directory or the split does not exist.
        InputError: a file cannot be read, or there is no sequence.
    """
    files = sorted(path for path in (directory / split).glob("*.fna*") if _class_of(path) not in ("", *exclude))
    if not files:
        raise MissingInputError(f"{directory / split}: no CLASS.fna files; give a directory with SPLIT/CLASS.fna")
    with ThreadPoolExecutor() as pool:  # decompression releases the interpreter lock
        records = [record for part in pool.map(lambda path: list(_read_class(path)), files) for record in part]
    if not records:
        raise InputError(f"{directory / split}: the files hold no sequence")
    taxa = _read_taxa(directory)
    lengths = np.array([len(sequence) for _, _, sequence in records], dtype=np.int64)
    return Genomes(
        text=np.frombuffer(b"".join(sequence for _, _, sequence in records), dtype=np.uint8),
        ids=[name for name, _, _ in records],
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        classes=np.array([class_name for _, class_name, _ in records]),
        taxa=np.array([f"{class_name}|{taxa.get((class_name, name), name)}" for name, class_name, _ in records]),
    )


def renamed(genomes: Genomes, names: dict[str, str]) -> Genomes:
    """Return genomes whose classes have other names; a class that `names` lacks keeps its own."""
    classes = np.array([names.get(name, name) for name in genomes.classes.tolist()])
    return replace(genomes, classes=classes)


def joined(parts: Sequence[Genomes]) -> Genomes:
    """Put the records of several genomes one after the other."""
    sizes = np.cumsum([0, *(len(part.text) for part in parts[:-1])])
    return Genomes(
        text=np.concatenate([part.text for part in parts]),
        ids=[name for part in parts for name in part.ids],
        starts=np.concatenate([part.starts + size for part, size in zip(parts, sizes, strict=True)]),
        lengths=np.concatenate([part.lengths for part in parts]),
        classes=np.concatenate([part.classes for part in parts]),
        taxa=np.concatenate([part.taxa for part in parts]),
    )


def data_files(directory: Path) -> list[Path]:
    """Return all files that a data directory may be read from."""
    return [path for pattern in ("*", "*/*") for path in directory.glob(pattern) if path.is_file()]


def _class_of(path: Path) -> str:
    """Return the class that a file is named for, or "" for another kind of file, such as an index."""
    match = _CLASS_FILE.fullmatch(path.name)
    return match[1] if match else ""


def _read_class(path: Path) -> Iterator[tuple[str, str, bytes]]:
    for record in read_records([path]):
        if record.sequence:
            yield record.id, _class_of(path), record.sequence.replace(b"U", b"T")


def _read_taxa(directory: Path) -> dict[tuple[str, str], str]:
    """Return (class, record id) -> family|genus; a record without a genus counts by its group, else by itself."""
    table = next((path for path in (directory / "records.tsv.gz", directory / "records.tsv") if path.is_file()), None)
    if table is None:
        return {}
    taxa = {}
    for row in read_table(table, ("id", "class", "family", "genus")).rows:
        genus = row["genus"] or row.get("group") or row["id"]
        family = row["family"] if row["class"] == VIRUS else ""
        taxa[row["class"], row["id"]] = f"{family}|{genus}"
    return taxa


def sample_windows(
    genomes: Genomes, length: int, per_class: dict[str, int], seed: int, temper: float = 0.5
) -> list[Window]:
    """Draw a fixed number of windows of one length from each class, the same ones for the same seed.

    Args:
        genomes: where from.
        length: nt; a shorter record gives all of itself.
        per_class: class -> number of windows.
        seed: of the random numbers.
        temper: power on a taxon's bases, see `Genomes.weights`.
    """
    windows = []
    for name, count in sorted(per_class.items()):
        rng = np.random.default_rng([seed, length, *name.encode()])
        cumulative = np.cumsum(genomes.weights({name: 1.0}, temper))
        records, starts, lengths = genomes.draw(rng, cumulative, np.full(count, length))
        for record, start, size in zip(records.tolist(), starts.tolist(), lengths.tolist(), strict=True):
            sequence = genomes.piece(record, start, size).tobytes()
            windows.append(Window(genomes.ids[record], start, name, str(genomes.taxa[record]), sequence))
    return windows


def write_windows(windows: Sequence[Window], directory: Path) -> None:
    """Write windows.fa and truth.tsv (seq_name, class, taxon, record, start, length)."""
    fasta_file, truth_file = (directory / name for name in WINDOW_FILES)
    with atomic_writer(fasta_file) as fasta, atomic_writer(truth_file) as truth:
        truth.write("seq_name\tclass\ttaxon\trecord\tstart\tlength\n")
        for number, window in enumerate(windows, start=1):
            name = f"window_{number}"
            fasta.write(f">{name}\n{window.sequence.decode('ascii')}\n")
            place = f"{window.record_id}\t{window.start}\t{len(window.sequence)}"
            truth.write(f"{name}\t{window.class_name}\t{window.taxon}\t{place}\n")
