"""Read pairs from two files, one mate in each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import zip_longest

from virnucpro.errors import ConfigError, InputError
from virnucpro.seq.reader import read_records
from virnucpro.types import Record

# How Illumina software begins the rest of a header, for example "1:N:0:ATCACG": the mate, and whether it was filtered.
_MATE = re.compile(r"([12]):[YN]:")


def read_pairs(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the pairs of two files as records with two mates, the n-th of one with the n-th of the other.

    Mates have the same id, but for "/1" at the end of the first file's and "/2" of the second's; the pair's id is
    without them.

    Raises:
        ConfigError: both files are the same one.
        InputError: the names of two mates differ or a file ends before the other, besides what `read_records` raises.
    """
    if os.fspath(first) == os.fspath(second):
        raise ConfigError(f"{os.fspath(first)} is given as both files of a pair; give the file of each mate")
    for index, mates in enumerate(zip_longest(read_records([first]), read_records([second]))):
        one, two = mates
        if one is None or two is None:
            left, ended = (one, second) if two is None else (two, first)
            raise InputError(
                f"{os.fspath(ended)} ends after {index} records, but {left.source} goes on with {_shown(left)}; "
                "give the two files of one run, both whole"
            )
        name = one.id.removesuffix("/1")
        told = [match and match[1] for match in (_MATE.match(mate.description) for mate in mates)]
        if name != two.id.removesuffix("/2") or told[0] == "2" or told[1] == "1":
            raise InputError(
                f"{one.source} and {two.source} are not in step: pair {index + 1} is {_shown(one)} and {_shown(two)}; "
                "sort both alike, read 1 in the first file and read 2 in the second"
            )
        yield Record(name, b"", one.source, index, mates=mates)


def _shown(mate: Record) -> str:
    return repr(f"{mate.id} {mate.description}".strip()[:80])
