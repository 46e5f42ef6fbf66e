"""Make the rows of a block's tables and the sequences of its hits, as bytes, by array operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from virnucpro.pipeline.calls import FRAME_NAMES, CallTable, Verdicts
from virnucpro.run.legacy import result_lines
from virnucpro.run.tables import BLANK_FDR, EVIDENCE, NO_EVIDENCE, Evidence
from virnucpro.run.tally import Tally
from virnucpro.scores.calibration import Floats
from virnucpro.scores.composition import evidence_steps
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import STATUSES
from virnucpro.seq.strings import Bytes, Ints, Strings, borders, gather, join_columns, spread

FASTA_WIDTH = 60
_TAB, _NEWLINE, _BLANK = b"\t\n "
_WHOLE_BASES = 1 << 22  # hits with more bases are written record by record, which needs no index for each base
_NA = Strings.of([b"NA"])
_VERDICTS = Strings.of([b"other", b"virus", b"NA"])
_STATUS = Strings.of([str(status).encode() for status in STATUSES])
_FRAMES = Strings.of([name.encode() for name in FRAME_NAMES])
_STRANDS = Strings.of([b"+", b"-"])


@dataclass(frozen=True, slots=True, eq=False)
class UnitTables:
    """The bytes that a unit adds to each table of a run, in order, the evidence of its records (R,), and its counts."""

    evidence: Evidence
    sections: tuple[bytes, ...]
    tally: Tally

    @classmethod
    def of(cls, calls: CallTable, legacy: bool = False) -> UnitTables:
        """Return the rows of a block; with `legacy` also the lines of the published tool."""
        of_chunks = _chunk_ids(calls)
        of_frames = frame_ids(of_chunks, calls.frame.chunk, calls.frame.column)
        mates = range(calls.block.mates)
        hits = [np.flatnonzero(calls.record.is_virus) * len(mates) + mate for mate in mates]
        sections = (
            record_rows(calls, BLANK_FDR, of_frames),
            _chunk_rows(calls, of_chunks, of_frames),
            _frame_rows(calls, of_chunks, of_frames),
            *(b"".join(_fasta(calls.block, parts)) for parts in hits),
            *(_fastq(calls.block, parts) for parts in hits),
        )
        if legacy:
            sections += (result_lines(of_frames, calls.frame.scores),)
        return cls(_evidence(calls), sections, Tally.of(calls))

    @classmethod
    def concat(cls, parts: Sequence[UnitTables]) -> UnitTables:
        """Return the tables of consecutive parts of a unit as one."""
        if len(parts) == 1:
            return parts[0]
        sections = tuple(b"".join(section) for section in zip(*(part.sections for part in parts), strict=True))
        evidence = np.concatenate([part.evidence for part in parts])
        return cls(evidence, sections, sum((part.tally for part in parts), Tally()))


def tab_rows(columns: Sequence[Strings]) -> bytes:
    """Return the rows of a table as lines, with the columns separated by tabs.

    >>> tab_rows([Strings.of([b"a", b"bc"]), Strings.of([b"1", b""])])
    b'a\\t1\\nbc\\t\\n'
    """
    lengths = [column.lengths + 1 for column in columns]
    ends = borders(np.sum(lengths, axis=0))
    data = np.full(ends[-1], _TAB, np.uint8)
    place = ends[:-1].copy()
    for column, length in zip(columns, lengths, strict=True):
        data[spread(place, length - 1)] = column.data
        place += length
    data[ends[1:] - 1] = _NEWLINE
    return data.tobytes()


def whole_numbers(values: npt.NDArray[np.integer]) -> Strings:
    """Return integers (N,) in decimal."""
    known, rows = np.unique(values, return_inverse=True)
    return Strings.of([b"%d" % value for value in known.tolist()]).take(rows)


def four_digits(values: Floats) -> Strings:
    """Format numbers in 0..1 (N,) as `f"{value:.4f}"` does, and NaN as NA.

    >>> four_digits(np.array([0.5, 0.00005, np.nan, 1.0])).tolist()
    [b'0.5000', b'0.0001', b'NA', b'1.0000']
    """
    scaled = np.where(np.isnan(values), len(_four_digits()) - 1, values * 10_000)
    rows = np.rint(scaled).astype(np.int64)
    # Near a tie, rounding of the product may cross it; format these numbers one by one.
    for row in np.flatnonzero(np.abs(scaled - np.floor(scaled) - 0.5) < 1e-6).tolist():
        rows[row] = int(f"{values[row]:.4f}".replace(".", ""))
    return _four_digits().take(rows)


@cache
def _four_digits() -> Strings:
    return Strings.of([*(b"%.4f" % (step / 10_000) for step in range(10_001)), b"NA"])


def chunk_ids(record_ids: Strings, index: Ints) -> Strings:
    """Return the ids of chunks (C): that of its record, and the chunk's number in the record, from 1."""
    return join_columns([record_ids, Strings.repeat(b"_chunk_", len(index)), whole_numbers(index)])


def frame_ids(chunk_ids: Strings, chunk: Ints, column: npt.NDArray[np.int8]) -> Strings:
    """Return the ids of frames (F): that of its chunk, and F1 to F3 or R1 to R3 by its column, 0 to 5."""
    return join_columns([chunk_ids.take(chunk), _FRAMES.take(column)])


def _chunk_ids(calls: CallTable) -> Strings:
    return chunk_ids(calls.block.ids.take(calls.chunks.record), calls.chunks.index)


def _prediction(of: Verdicts) -> Strings:
    return _VERDICTS.take(np.where(np.isnan(of.score), 2, of.is_virus))


def _best(of: Verdicts, of_frames: Strings) -> Strings:
    return Strings.concat([of_frames, _NA]).take(np.where(of.best_frame < 0, len(of_frames), of.best_frame))


def _texts(texts: dict[int, str], rows: int) -> Strings:
    """Return a column with the texts of some rows, and NA in all others."""
    found = Strings.of([b"NA", *((text or "NA").encode(errors="surrogateescape") for text in texts.values())])
    places = np.zeros(rows, np.int64)
    places[list(texts)] = np.arange(1, len(texts) + 1)
    return found.take(places)


def _evidence(calls: CallTable) -> Evidence:
    ratios = calls.record.log_ratio
    return np.where(np.isnan(ratios), NO_EVIDENCE, evidence_steps(ratios)).astype(EVIDENCE)


def record_rows(calls: CallTable, fdr: bytes = b"NA", of_frames: Strings | None = None) -> bytes:
    """Return lines of records.tsv; in lines with evidence, `fdr` fills the column until the whole run is known."""
    record = calls.record
    of_frames = of_frames or frame_ids(_chunk_ids(calls), calls.frame.chunk, calls.frame.column)
    reasons = {row: calls.record_reason(row) for row in np.flatnonzero(calls.has_reason).tolist()}
    columns = [
        calls.block.ids, whole_numbers(calls.block.lengths), whole_numbers(calls.n_chunks),
        whole_numbers(record.n_frames), _prediction(record), four_digits(record.score),
        Strings.of([fdr, b"NA"]).take(np.isnan(record.log_ratio).astype(np.int64)), _best(record, of_frames),
        _STATUS.take(record.status), _texts(reasons, len(calls.block)),
    ]  # fmt: skip
    return tab_rows(columns)


def _chunk_rows(calls: CallTable, of_chunks: Strings, of_frames: Strings) -> bytes:
    chunks, chunk = calls.chunks, calls.chunk
    reasons = {row: calls.chunk_reason(row) for row in np.flatnonzero(np.isnan(chunk.score)).tolist()}
    columns = [
        of_chunks, calls.block.ids.take(chunks.record), whole_numbers(chunks.start), whole_numbers(chunks.end),
        whole_numbers(chunk.n_frames), _prediction(chunk), four_digits(chunk.score), _best(chunk, of_frames),
        _STATUS.take(chunk.status), _texts(reasons, len(chunks)),
    ]  # fmt: skip
    return tab_rows(columns)


def _frame_rows(calls: CallTable, of_chunks: Strings, of_frames: Strings) -> bytes:
    frame = calls.frame
    strand, offset = np.divmod(frame.column, 3)
    columns = [
        of_frames, of_chunks.take(frame.chunk), _STRANDS.take(strand), whole_numbers(offset),
        whole_numbers(frame.aa_length), four_digits(frame.scores[:, 0]), four_digits(frame.scores[:, 1]),
        four_digits(frame.weight),
    ]  # fmt: skip
    return tab_rows(columns)


def _headers(block: RecordBlock, parts: Ints, mark: bytes) -> Strings:
    """Return the header lines of these parts, without the line end: mark, name and description."""
    descriptions = block.descriptions.take(parts)
    if (descriptions.data[descriptions.starts[1:][descriptions.lengths > 0] - 1] == _BLANK).any():
        descriptions = Strings.of([text.rstrip(b" ") for text in descriptions])
    blanks = gather(np.array([_BLANK], np.uint8), np.zeros(len(parts), np.int64), np.minimum(descriptions.lengths, 1))
    return join_columns([Strings.repeat(mark, len(parts)), block.names.take(parts), blanks, descriptions])


def _fasta(block: RecordBlock, parts: Ints) -> Iterator[bytes]:
    """Yield these parts as FASTA, the sequences in lines of `FASTA_WIDTH`."""
    headers = join_columns([_headers(block, parts, b">"), Strings.repeat(b"\n", len(parts))])
    lengths = block.sequences.lengths[parts]
    if lengths.sum() <= _WHOLE_BASES:
        yield join_columns([headers, wrap(block.sequences.take(parts))]).data.tobytes()
        return
    for row, part in enumerate(parts.tolist()):
        yield headers[row]
        yield wrap_one(block.sequences.slice(part, part + 1).data).tobytes()


def wrap(sequences: Strings) -> Strings:
    """Return sequences in lines of `FASTA_WIDTH`, each with a line end."""
    lengths = sequences.lengths
    lines = -(-lengths // FASTA_WIDTH)  # of each sequence
    starts = borders(lengths + lines)
    data = np.full(starts[-1], _NEWLINE, np.uint8)
    begins = np.repeat(starts[:-1], lines) + spread(np.zeros(len(lines), np.int64), lines) * (FASTA_WIDTH + 1)
    left = np.repeat(lengths, lines) - spread(np.zeros(len(lines), np.int64), lines) * FASTA_WIDTH
    data[spread(begins, np.minimum(left, FASTA_WIDTH))] = sequences.data
    return Strings(data, starts)


def wrap_one(sequence: Bytes) -> Bytes:
    """Return a sequence in lines of `FASTA_WIDTH`, as `wrap` does, but without an index for each base."""
    whole = len(sequence) // FASTA_WIDTH
    data = np.full(len(sequence) - (-len(sequence) // FASTA_WIDTH), _NEWLINE, np.uint8)
    body, rest = sequence[: whole * FASTA_WIDTH], sequence[whole * FASTA_WIDTH :]
    lines = data[: whole * (FASTA_WIDTH + 1)].reshape(whole, FASTA_WIDTH + 1)
    lines[:, :FASTA_WIDTH] = body.reshape(whole, FASTA_WIDTH)
    data[whole * (FASTA_WIDTH + 1) :][: len(rest)] = rest
    return data


def _fastq(block: RecordBlock, parts: Ints) -> bytes:
    """Return the parts with qualities as FASTQ."""
    parts = parts[block.qualities.lengths[parts] > 0]
    ends = Strings.repeat(b"\n", len(parts))
    middles = Strings.repeat(b"\n+\n", len(parts))
    columns = [_headers(block, parts, b"@"), ends, block.sequences.take(parts), middles]
    return join_columns([*columns, block.qualities.take(parts), ends]).data.tobytes()
