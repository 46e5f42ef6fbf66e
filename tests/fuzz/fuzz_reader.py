"""Fuzz reader, inspection and text stage with libFuzzer: nothing but records and InputErrors may come out.

    pip install atheris
    python tests/fuzz/fuzz_reader.py -max_total_time=600 -rss_limit_mb=0

Options are those of libFuzzer; the second because instrumented code keeps memory, which the same inputs without it do
not. The corpus is in runs/fuzz_reader, or in the directory that is named; one that is not there is made, with a few
seeds. The first byte of an input chooses the compression and the second how much of the compressed bytes is left; the
rest is text.
"""

import bz2
import gzip
import lzma
import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))  # support

try:
    import atheris
except ImportError:  # the seeds can be run without it
    atheris = None

with atheris.instrument_imports(include=["virnucpro"]) if atheris else nullcontext():
    from support.files import zstd

    from virnucpro.config import FrameRule
    from virnucpro.errors import InputError
    from virnucpro.run.frames import named_frames
    from virnucpro.seq import read_pairs, read_records
    from virnucpro.seq.block import RecordBlock
    from virnucpro.seq.blocks import iter_blocks
    from virnucpro.seq.inspect import Inspection
    from virnucpro.seq.reader import SequenceFile
    from virnucpro.seq.source import Source

T = TypeVar("T")
RULES = [FrameRule("stop_free"), FrameRule("longest_segments", 3, 5), FrameRule("longest_segments", 2, 5, "longest")]
TEXTS = [
    b">a first\nACGTACGTAACC\nacgtn\n>b\n\n>c\tz\nUUURYK-.*X\n",
    b"@a first\nACGTACGT\n+\nIIIIIIII\n@b\n\n+\n\n@c\nACG\n+c\n@+@\n",
    b"@a\r\nACGT\r\n+\r\n@@@@\r\n@b\nAC\nII\n@c\nACGT\n+\nII\n",
    b"\xef\xbb\xbf\n\n>a\rACGT\r>b\n!\n",
]


# Plain more often than the others: most of what there is to find lies behind the decompression.
FORMS = [bytes, bytes, bytes, bytes, gzip.compress, bz2.compress, lambda data: lzma.compress(data, preset=0), zstd]


def run_one(data: bytes) -> None:
    """Read one input by `read_records`, as blocks and by inspection, and cut and translate its records."""
    if len(data) < 2:
        return
    content = FORMS[data[0] % len(FORMS)](data[2:])
    content = content[: len(content) - len(content) * data[1] // 256]
    path = f"/proc/self/fd/{_scratch(content)}"
    records, error = outcome(read_records([path], "protein" if data[0] & 128 else "nucleotide"))
    inspection = Inspection(SequenceFile(path, "protein" if data[0] & 128 else "nucleotide"))
    faults = [str(fault) for fault in inspection.faults()]
    assert faults[:1] == ([error] if error else []), (error, faults)
    assert inspection.remarks() or inspection.summary()
    if not data[0] & 128:
        compare_blocks(path)
    if records:
        for chunk_length in (3, 20, 500):
            for rule in RULES:
                for part in named_frames(RecordBlock.of(records), chunk_length, rule):
                    assert len(part.frame_ids) == len(part.frames) <= 6 * len(part.letters)


def outcome(items: Iterable[T]) -> tuple[list[T], str | None]:
    """Return items and the error of ours that ended them."""
    found: list[T] = []
    try:
        found.extend(items)
    except InputError as fault:
        return found, str(fault)
    return found, None


def compare_blocks(path: str) -> None:
    """See that blocks say what records say, single ones and interleaved pairs."""
    for paired in (False, True):
        records, error = outcome(read_pairs(path) if paired else read_records(path))
        blocks, fault = outcome(iter_blocks(Source([path]), paired, 3, 30))
        found = [record for block in blocks for record in block.records()]
        assert fault == error, (fault, error)
        assert [record.id for record in found] == [record.id for record in records]
        for one, two in zip(found, records, strict=True):
            for mine, other in zip(one.parts, two.parts, strict=True):
                assert replace(mine, index=0) == replace(other, index=0)
                assert mine.quality == other.quality


_file = -1


def _scratch(content: bytes) -> int:
    """Return the descriptor of a file in memory with this content."""
    global _file
    if _file < 0:
        _file = os.memfd_create("input")
    os.ftruncate(_file, 0)
    os.pwrite(_file, content, 0)
    return _file


def seeds() -> list[bytes]:
    """Return every text in every form, whole and cut, and every form's bytes as if they were plain."""
    whole = [bytes([form, cut]) + text for form in range(3, len(FORMS)) for cut in (0, 60) for text in TEXTS]
    return whole + [b"\0\0" + form(TEXTS[0]) for form in FORMS[4:]]


def main() -> None:
    """Run libFuzzer with the options of the command line."""
    if atheris is None:
        sys.exit("atheris is not installed: pip install atheris")
    named = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    corpus = Path(named[0] if named else "runs/fuzz_reader")
    if not corpus.exists():
        corpus.mkdir(parents=True)
        for number, seed in enumerate(seeds()):
            (corpus / f"seed_{number}").write_bytes(seed)
    atheris.Setup(sys.argv if named else [*sys.argv, str(corpus)], run_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
