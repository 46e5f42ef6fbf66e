"""Notice short reads and contigs in one run: then its composition, `fdr` and preset are those of neither."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice

import numpy as np

from virnucpro.errors import VirnucproError
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.reader import SequenceFile, read_records
from virnucpro.seq.strings import Ints

READ, CONTIG = 400, 2000  # nt: the longest record taken for a read, the shortest taken for a contig
_HEAD_RECORDS, _HEAD_FILES, _HEAD_BASES = 200, 32, 1 << 22  # what is looked at in advance
_READS = 0.9  # the least share of short records in a file of reads
_CONTIGS = 0.1  # the least share of bases in long records in a file of contigs
_SAME = 0.2  # the least share of reads of one length; contigs rarely have the same length
_LEAST_READS, _LEAST_CONTIGS = 100, 10  # in one input
_ADVICE = (
    "the estimated composition and fdr are those of the whole run, so give reads and contigs a run each; "
    "see `virnucpro summary` to put runs side by side"
)


def mixture(files: Sequence[SequenceFile]) -> str:
    """Return a hint if one file begins with reads and another one with contigs, "" otherwise; streams are not read."""
    reads = contigs = ""
    for file in files[:_HEAD_FILES] if len(files) > 1 else ():  # one file could hold a chromosome
        lengths = _head(file)
        if not len(lengths):
            continue
        if (lengths <= READ).mean() >= _READS:
            reads = reads or file.path
        elif lengths[lengths >= CONTIG].sum() >= _CONTIGS * lengths.sum() > 0:
            contigs = contigs or file.path
    return f"{reads} has short reads and {contigs} has contigs; {_ADVICE}" if reads and contigs else ""


def _head(file: SequenceFile) -> Ints:
    """Return the lengths of the first records of a file that can be read again, nt."""
    lengths: list[int] = []
    if os.path.isfile(file.path):
        with suppress(VirnucproError), closing(read_records(file.path)) as records:  # the main reader reports the error
            for record in islice(records, _HEAD_RECORDS):
                lengths.append(len(record.sequence))
                if sum(lengths) > _HEAD_BASES:
                    break
    return np.array(lengths, np.int64)


def watched_lengths(blocks: Iterator[RecordBlock], say: Callable[[str], object]) -> Iterator[RecordBlock]:
    """Yield the blocks of one input; at the end, call `say` with a hint if it has reads and contigs."""
    of_length, contigs, records = np.zeros(READ + 1, np.int64), 0, 0
    for block in blocks:
        lengths = block.lengths
        of_length += np.bincount(lengths[lengths <= READ], minlength=READ + 1)
        contigs += int((lengths >= CONTIG).sum())
        records += len(block)
        yield block
        del block, lengths  # free their memory before the next block is read
    reads = int(of_length[1:].max())
    if reads >= max(_LEAST_READS, _SAME * records) and contigs >= _LEAST_CONTIGS:
        length = 1 + int(of_length[1:].argmax())
        say(f"the input has {reads:,} records of {length} nt and {contigs:,} of {CONTIG} nt or more: {_ADVICE}")
