"""Read pairs from two files with one mate each, or from one file in which mates follow each other."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import permutations, takewhile, zip_longest

import numpy as np

from virnucpro.errors import ConfigError, InputError
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.reader import AnyPath, SequenceFile, as_path, read_records
from virnucpro.seq.strings import Bytes, Ints, Strings, borders, gather
from virnucpro.types import Record
from virnucpro.words import counted

# The beginning of a description by Illumina software, such as "1:N:0:ATCACG": the mate, and whether it was filtered.
_MATE = re.compile(r"([12]):[YN]:")
# Marks at the end of the ids of mates; `fastq-dump -I` and others write those besides "/1" and "/2".
_MARKS = (".", "_")
_SLASH = ord("/")
# The number of records per file, and of files, among which mates are searched; longer records (nt) are not mates.
_HEAD_RECORDS = 200
_HEAD_FILES = 32
_LONGEST_MATE = 1000


def read_pairs(first: AnyPath, second: AnyPath | None = None) -> Iterator[Record]:
    """Yield pairs as records with two mates: the n-th records of two files, or each two records of one file.

    Mates have the same id except for "/1", ".1" or "_1" at the end of the first and "/2", ".2" or "_2" at the end of
    the second; the pair's id has no such mark.

    Args:
        first: the file of reads 1 or, without `second`, a file of interleaved pairs; `-` is standard input.
        second: the file of reads 2.

    Raises:
        ConfigError: both files are the same one.
        InputError: the names of two mates differ, a file ends before the other or within a pair, or as `read_records`.
    """
    if second is None:
        return _interleaved(first)
    refuse_same(first, second)
    return _from_two(first, second)


def refuse_same(first: AnyPath, second: AnyPath) -> None:
    """Check that the files of two mates are not the same one.

    Raises:
        ConfigError: they are the same.
    """
    if as_path(first) == as_path(second):
        raise ConfigError(
            f"{as_path(first)} is given as both files of a pair; give the file of each mate, or one file of "
            "interleaved pairs with --interleaved"
        )


def _from_two(first: AnyPath, second: AnyPath) -> Iterator[Record]:
    with closing(read_records(first)) as ones, closing(read_records(second)) as twos:
        for index, (one, two) in enumerate(zip_longest(ones, twos)):
            if one is None or two is None:
                left, ended = (one, second) if two is None else (two, first)
                raise ends_before(as_path(ended), index, left)
            if (name := pair_name(one, two)) is None:
                raise out_of_step(one, two, index)
            yield Record(name, b"", one.source, index, mates=(one, two))


def _interleaved(source: AnyPath) -> Iterator[Record]:
    with closing(read_records(source)) as records:
        for index, one in enumerate(records):
            if (two := next(records, None)) is None:
                raise ends_within(one, index)
            if (name := pair_name(one, two)) is None:
                raise not_interleaved(one, two, index)
            yield Record(name, b"", one.source, index, mates=(one, two))


def ends_before(path: str, index: int, left: Record) -> InputError:
    """Return the error for a file that ends after `index` records while the other continues with `left`."""
    return InputError(
        f"{path} ends after {counted(index, 'records')}, but {left.source} continues with {_shown(left)}; "
        "give the two complete files of one run"
    )


def out_of_step(one: Record, two: Record, index: int) -> InputError:
    """Return the error for records number `index` of two files that are not mates."""
    return InputError(
        f"{one.source} and {two.source} do not match: pair {index + 1} is {_shown(one)} and "
        f"{_shown(two)}; sort both files in the same order, read 1 in the first and read 2 in the second"
    )


def ends_within(one: Record, index: int) -> InputError:
    """Return the error for a file that ends with the first record of pair number `index`."""
    return InputError(
        f"{one.source} ends within a pair: {_shown(one)}, record {2 * index + 1}, has no mate; give the "
        "complete file, or leave out --interleaved"
    )


def not_interleaved(one: Record, two: Record, index: int) -> InputError:
    """Return the error for successive records, pair number `index`, that are not mates."""
    return InputError(
        f"{one.source} does not hold interleaved pairs: records {2 * index + 1} and {2 * index + 2} are "
        f"{_shown(one)} and {_shown(two)}; each read 1 must be followed by its read 2"
    )


def pair_name(one: Record, two: Record) -> str | None:
    """Return the common id of two mates, None if their names are not those of mates."""
    said = [match and match[1] for match in (_MATE.match(mate.description) for mate in (one, two))]
    if said[0] == "2" or said[1] == "1":
        return None
    if (name := one.id.removesuffix("/1")) == two.id.removesuffix("/2"):
        return name
    return _marked_name(one, two)


def _marked_name(one: Record, two: Record) -> str | None:
    """Return the common id without the marks of mates at its end, None if there are no such marks."""
    for mark in _MARKS:
        if one.id.endswith(f"{mark}1") and two.id == f"{one.id[:-1]}2":
            return one.id[:-2]
    return None


def pair_ids(names: Strings, descriptions: Strings) -> Strings:
    """Return the `pair_name` of 2 R mates in turn: R ids, or fewer if two records are not mates."""
    one, middle, two = names.starts[:-1:2], names.starts[1::2], names.starts[2::2]
    first, second = names.lengths[::2], names.lengths[1::2]
    mark, digit = _before(names, middle, first, 2), _before(names, middle, first, 1)
    second_mark, second_digit = _before(names, two, second, 2), _before(names, two, second, 1)
    numbered, second_numbered = digit == ord("1"), second_digit == ord("2")
    is_marked = np.isin(mark, [ord(mark) for mark in _MARKS]) & (mark == second_mark) & (first == second)
    is_marked &= numbered & second_numbered
    lengths = first - 2 * ((mark == _SLASH) & numbered)
    agree = is_marked | (lengths == second - 2 * ((second_mark == _SLASH) & second_numbered))
    said = _said_mates(descriptions)
    agree &= (said[::2] != ord("2")) & (said[1::2] != ord("1"))
    compared = np.where(agree, np.where(is_marked, first - 1, lengths), 0)
    differ = gather(names.data, one, compared).data != gather(names.data, middle, compared).data
    agree[np.searchsorted(borders(compared), np.flatnonzero(differ), "right") - 1] = False
    n = len(agree) if agree.all() else int(np.argmin(agree))
    return gather(names.data, one[:n], (lengths - 2 * is_marked)[:n])


def _before(names: Strings, ends: Ints, lengths: Ints, distance: int) -> Bytes:
    """Return the byte at a distance before the end of each name, 0 if the name is shorter."""
    data = np.append(names.data, np.uint8(0))
    return np.where(lengths >= distance, data[np.maximum(ends - distance, 0)], np.uint8(0))


def _said_mates(descriptions: Strings) -> Bytes:
    """Return the number of the mate that `_MATE` finds in each description, as a digit; 0 without a match."""
    data, begins = np.append(descriptions.data, np.zeros(4, np.uint8)), descriptions.starts[:-1]
    digit, colon, filtered, end = (data[begins + place] for place in range(4))
    colons = (descriptions.lengths >= 4) & (colon == ord(":")) & (end == ord(":"))
    return np.where(colons & ((filtered == ord("Y")) | (filtered == ord("N"))), digit, np.uint8(0))


class Head:
    """The first records of an input, or none if they are too long to be mates."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.closed = False

    def add(self, record: Record) -> None:
        """Add a record, unless there are enough."""
        if self.closed:
            return
        if len(record.sequence) > _LONGEST_MATE:
            self.records.clear()
            self.closed = True
        else:
            self.records.append(record)
            self.closed = len(self.records) == _HEAD_RECORDS

    def interleaved(self) -> str:
        """Return a hint that the input is interleaved pairs, "" if it is not."""
        pairs = list(zip(self.records[::2], self.records[1::2], strict=False))
        if len(self.records) % 2 or not _are_mates(pairs):
            return ""
        return (
            f"{self.records[0].source} looks like interleaved pairs; with `--interleaved` each pair gets one call, "
            "from both mates"
        )


def hints(heads: Sequence[Head]) -> Iterator[str]:
    """Yield hints that inputs given as single records are pairs."""
    for head in heads:
        if hint := head.interleaved():
            yield hint
    for one, two in permutations((head.records for head in heads[:_HEAD_FILES]), 2):
        if len(one) == len(two) and _are_mates(list(zip(one, two, strict=True))):
            files = shlex.join([one[0].source, two[0].source])
            yield (
                f"{one[0].source} and {two[0].source} look like reads 1 and reads 2 of pairs; with `--paired {files}` "
                "each pair gets one call, from both mates"
            )
            return


def heads_of(files: Sequence[SequenceFile]) -> list[Head]:
    """Return the first records of the files that can be read again."""
    heads = []
    for file in files[:_HEAD_FILES]:
        if os.path.isfile(file.path):
            heads.append(head := Head())
            with (
                suppress(InputError),
                closing(read_records(file.path)) as records,
            ):  # the main reader will report the error
                for record in records:
                    head.add(record)
                    if head.closed:
                        break
    return heads


def watched_blocks(blocks: Iterator[RecordBlock], say: Callable[[str], object]) -> Iterator[RecordBlock]:
    """Yield the blocks of single records of a stream; call `say` with a hint if they are interleaved pairs."""
    head = Head()
    for block in blocks:
        for record in takewhile(lambda _: not head.closed, block.records()):
            head.add(record)
        yield block
        if head.closed:
            break
    if hint := head.interleaved():
        say(hint)
    yield from blocks


def _are_mates(pairs: Sequence[tuple[Record, Record]]) -> bool:
    """Return whether these are certainly pairs; contigs of two samples may have the same names by chance."""
    names = [pair_name(one, two) for one, two in pairs]
    if not pairs or None in names or all(one.sequence == two.sequence for one, two in pairs):
        return False
    if all(_name_their_mates(one, two) for one, two in pairs):
        return True
    return (
        len(pairs) > 1
        and len(set(names)) > 1
        and (
            all(_marked_name(one, two) for one, two in pairs) or all(one.quality and two.quality for one, two in pairs)
        )
    )


def _name_their_mates(one: Record, two: Record) -> bool:
    """Return whether both headers name their mate."""
    if one.id.endswith("/1") and two.id.endswith("/2"):
        return True
    return all(_MATE.match(mate.description) for mate in (one, two))


def _shown(mate: Record) -> str:
    return repr(f"{mate.id} {mate.description}".strip()[:80])
