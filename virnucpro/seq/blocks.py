"""Read input files as blocks of records or pairs, without an object for each record."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from virnucpro.errors import InputError, VirnucproError
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.entry_table import EntryTable
from virnucpro.seq.pairs import ends_before, ends_within, not_interleaved, out_of_step, pair_ids, refuse_same
from virnucpro.seq.reader import SequenceFile, refuse_repeated_pipes
from virnucpro.seq.source import Source
from virnucpro.seq.strings import interleave
from virnucpro.types import Record

BLOCK_RECORDS = 4096
BLOCK_BASES = 1 << 21


def iter_blocks(
    source: Source,
    paired: bool = False,
    n_records: int = BLOCK_RECORDS,
    n_bases: int = BLOCK_BASES,
    cut_short: bool = True,
) -> Iterator[RecordBlock]:
    """Yield the records of input files as blocks; a block is closed once it has `n_records` or `n_bases`.

    The blocks depend only on the input; a record is never divided. From a slow stream, a block comes as soon as its
    records have been read.

    Args:
        source: the input files; it counts the records of each block before the block is yielded.
        paired: whether records are pairs, from two files or from one in which mates follow each other.
        n_records: records, or pairs, after which a block is closed.
        n_bases: nucleotides after which a block is closed; both mates of a pair count.
        cut_short: whether the last records before a fault are yielded, as a shorter block.

    Raises:
        ConfigError, MissingInputError, InputError: as `read_records` and `read_pairs`. The blocks before the
            fault are yielded first.
    """
    parts = _pairs(source.files) if paired else read_blocks(source.files)
    with closing(parts):
        for block in cut_blocks(parts, n_records, n_bases, cut_short):
            source.advance_by(block)
            yield block
            del block  # free its memory before the next one is read
    source.at_end = True


def cut_blocks(
    parts: Iterable[RecordBlock], n_records: int, n_bases: int, cut_short: bool = True
) -> Iterator[RecordBlock]:
    """Divide consecutive records, given as blocks of any size, into blocks by the rule of `iter_blocks`."""
    held: list[RecordBlock] = []
    records = bases = 0
    try:
        for part in parts:
            through = np.cumsum(part.lengths)  # nt of this part up to and including each record
            begin = before = 0
            while begin < len(part):
                full = int(np.searchsorted(through, before + n_bases - bases)) + 1
                end = max(min(full, begin + n_records - records, len(part)), begin + 1)
                held.append(part.slice(begin, end))
                records += end - begin
                bases += int(through[end - 1]) - before
                begin, before = end, int(through[end - 1])
                if records >= n_records or bases >= n_bases:
                    block = RecordBlock.concat(held)
                    held.clear()
                    records = bases = 0
                    yield block
                    del block
            del part, through
    except VirnucproError:
        if held and cut_short:
            yield RecordBlock.concat(held)
        raise
    if held:
        yield RecordBlock.concat(held)


def read_blocks(files: Sequence[SequenceFile]) -> Generator[RecordBlock, None, None]:
    """Yield single records as blocks of any size, as soon as they are read; errors are those of `read_records`."""
    refuse_repeated_pipes(files)
    first = 0
    for file in files:
        with closing(_blocks_of(file, first)) as blocks:
            for block in blocks:
                first += len(block)
                yield block


def _blocks_of(file: SequenceFile, first: int = 0) -> Generator[RecordBlock, None, None]:
    """Yield the records of a file as blocks of any size, numbered from `first`."""
    for found in file.tables():
        if isinstance(found, EntryTable):
            names, descriptions = found.titles()
            source = np.zeros(len(found), np.int32)
            block = RecordBlock(names, descriptions, found.upper, found.qualities, first, (file.path,), source)
        else:
            block = RecordBlock.of([file.record(found, first)])
        del found
        first += len(block)
        yield block
        del block


def _pairs(files: Sequence[SequenceFile]) -> Generator[RecordBlock, None, None]:
    if len(files) == 1:
        return _interleaved(files[0])
    first, second = files
    refuse_same(first, second)
    return _from_two(first, second)


def _from_two(first: SequenceFile, second: SequenceFile) -> Generator[RecordBlock, None, None]:
    """Yield the n-th records of two files as pairs, in blocks of any size."""
    ones: RecordBlock | None = None
    twos: RecordBlock | None = None
    index = 0
    with closing(_blocks_of(first)) as first_blocks, closing(_blocks_of(second)) as second_blocks:
        while True:
            ones = ones or next(first_blocks, None)
            twos = twos or next(second_blocks, None)
            if ones is None or twos is None:
                break
            n = min(len(ones), len(twos))
            yield from _paired(_in_turn(ones.slice(0, n), twos.slice(0, n)), index, out_of_step)
            ones, twos, index = ones.slice(n, len(ones)), twos.slice(n, len(twos)), index + n
    if left := ones or twos:
        raise ends_before((second if ones else first).path, index, left.record(0))


def _interleaved(file: SequenceFile) -> Generator[RecordBlock, None, None]:
    """Yield each two records of a file as a pair, in blocks of any size."""
    left: RecordBlock | None = None
    index = 0
    with closing(_blocks_of(file)) as blocks:
        for block in blocks:
            mates = RecordBlock.concat([left, block]) if left else block
            n = len(mates) // 2
            yield from _paired(mates.slice(0, 2 * n), index, not_interleaved)
            left, index = mates.slice(2 * n, len(mates)), index + n
    if left:
        raise ends_within(left.record(0), index)


def _in_turn(ones: RecordBlock, twos: RecordBlock) -> RecordBlock:
    """Interleave two blocks of the same number of records."""
    return RecordBlock(
        interleave(ones.names, twos.names),
        interleave(ones.descriptions, twos.descriptions),
        interleave(ones.sequences, twos.sequences),
        interleave(ones.qualities, twos.qualities),
        ones.first,
        ones.sources + twos.sources,
        np.tile(np.arange(2, dtype=np.int32), len(ones)),
    )


def _paired(
    mates: RecordBlock, index: int, fault: Callable[[Record, Record, int], InputError]
) -> Iterator[RecordBlock]:
    """Join single records to pairs, the first of which has number `index`, up to the first two that are not mates.

    Raises:
        InputError: two records are not mates; `fault` makes the error.
    """
    ids = pair_ids(mates.names, mates.descriptions)
    n = len(ids)
    if n:
        yield replace(mates.slice(0, 2 * n), first=index, pair_ids=ids)
    if 2 * n < len(mates):
        raise fault(mates.record(2 * n), mates.record(2 * n + 1), index + n)
