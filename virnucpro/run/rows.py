"""Make the rows of a block's tables and the sequences of its hits, as bytes, by array operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virnucpro.pipeline.calls import FRAME_NAMES, CallTable, Verdicts
from virnucpro.run.legacy import result_lines
from virnucpro.run.numbers import four_digits, whole_numbers
from virnucpro.run.tables import BLANK
from virnucpro.run.tally import Tally
from virnucpro.scores.composition import Evidence, could_be_virus
from virnucpro.scores.decision import Decision
from virnucpro.scores.evidence import NO_EVIDENCE, evidence_steps, evidence_type
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
    """The bytes that a unit adds to each table of a run, in order, the evidence of its records (R,), and its counts.

    The evidence is of `evidence_type`.
    """

    evidence: Evidence
    sections: tuple[bytes, ...]
    tally: Tally

    @classmethod
    def of(cls, calls: CallTable, decision: Decision, legacy: bool = False) -> UnitTables:
        """Return the rows of a block; with `legacy` also the lines of the published tool.

        If the hits are chosen when all calls are known, all records that may be hits are written to the files of hits
        (with `keep_all` of the decision, all records), and their sizes to the evidence.
        """
        of_chunks = _chunk_ids(calls)
        of_frames = frame_ids(of_chunks, calls.frame.chunk, calls.frame.column)
        mates = range(calls.block.mates)
        rows = np.flatnonzero(_kept(calls, decision))
        files = [write(calls.block, rows * len(mates) + mate) for write in (_fasta, _fastq) for mate in mates]
        sections = (
            record_rows(calls, decision, BLANK, of_frames),
            _chunk_rows(calls, of_chunks, of_frames),
            _frame_rows(calls, of_chunks, of_frames),
            *(data for data, _ in files),
        )
        if legacy:
            sections += (result_lines(of_frames, calls.frame.scores),)
        evidence = evidence_of(calls, decision, len(files) * decision.chooses_late)
        if decision.chooses_late:
            evidence["hits"][rows] = np.stack([sizes for _, sizes in files], axis=1)
        return cls(evidence, sections, Tally.of(calls))

    @classmethod
    def concat(cls, parts: Sequence[UnitTables]) -> UnitTables:
        """Return the tables of consecutive parts of a unit as one."""
        if len(parts) == 1:
            return parts[0]
        sections = tuple(b"".join(section) for section in zip(*(part.sections for part in parts), strict=True))
        evidence = np.concatenate([part.evidence for part in parts])
        return cls(evidence, sections, sum((part.tally for part in parts), Tally()))


def _kept(calls: CallTable, decision: Decision) -> npt.NDArray[np.bool_]:
    """Return which records of a block are written to the files of hits, (R,)."""
    if decision.keep_all:
        return np.ones(len(calls.block), bool)
    if decision.max_fdr is not None:  # among enough viruses, any record may have a low `fdr`
        return ~np.isnan(calls.record.log_ratio)
    if decision.by_sample and decision.calibration:
        return could_be_virus(calls.record.ratios, decision.calibration.default_shares)
    return calls.record.is_virus


def evidence_of(calls: CallTable, decision: Decision, files: int = 0) -> Evidence:
    """Return the evidence of the records of a block (R,), see `evidence_type`."""
    evidence = np.zeros(len(calls.block), evidence_type(max(1, decision.n_hosts), files))
    evidence["steps"] = evidence_steps(calls.record.ratios) if decision.n_hosts else NO_EVIDENCE
    evidence["length"] = calls.judged_length
    return evidence


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


def chunk_ids(record_ids: Strings, index: Ints) -> Strings:
    """Return the ids of chunks (C): that of its record, and the chunk's number in the record, from 1."""
    return join_columns([record_ids, Strings.repeat(b"_chunk_", len(index)), whole_numbers(index)])


def frame_ids(chunk_ids: Strings, chunk: Ints, column: npt.NDArray[np.int8]) -> Strings:
    """Return the ids of frames (F): that of its chunk, and F1 to F3 or R1 to R3 by its column, 0 to 5."""
    return join_columns([chunk_ids.take(chunk), _FRAMES.take(column)])


def _chunk_ids(calls: CallTable) -> Strings:
    return chunk_ids(calls.block.ids.take(calls.chunks.record), calls.chunks.index)


def _prediction(of: Verdicts) -> Strings:
    return _VERDICTS.take(np.where(of.is_called, of.is_virus, 2))


def _best(of: Verdicts, of_frames: Strings) -> Strings:
    return Strings.concat([of_frames, _NA]).take(np.where(of.best_frame < 0, len(of_frames), of.best_frame))


def _texts(texts: dict[int, str], rows: int) -> Strings:
    """Return a column with the texts of some rows, and NA in all others."""
    found = Strings.of([b"NA", *((text or "NA").encode(errors="surrogateescape") for text in texts.values())])
    places = np.zeros(rows, np.int64)
    places[list(texts)] = np.arange(1, len(texts) + 1)
    return found.take(places)


def record_rows(calls: CallTable, decision: Decision, blank: bytes = b"NA", of_frames: Strings | None = None) -> bytes:
    """Return lines of records.tsv; in lines with evidence, `blank` fills the columns that follow from the sample."""
    record = calls.record
    of_frames = of_frames or frame_ids(_chunk_ids(calls), calls.frame.chunk, calls.frame.column)
    reasons = {row: calls.record_reason(row) for row in np.flatnonzero(calls.has_reason).tolist()}
    of_sample = Strings.of([blank, b"NA"]).take(np.isnan(record.log_ratio).astype(np.int64))
    columns = [
        calls.block.ids, whole_numbers(calls.block.lengths), whole_numbers(calls.n_chunks),
        whole_numbers(record.n_frames), _prediction(record), four_digits(record.score), of_sample, of_sample,
        of_sample, host_classes(record, decision), _best(record, of_frames), _STATUS.take(record.status),
        _texts(reasons, len(calls.block)),
    ]  # fmt: skip
    return tab_rows(columns)


def host_classes(record: Verdicts, decision: Decision) -> Strings:
    """Return the most likely host class of each record, NA if the model knows only one or there is no evidence."""
    names = Strings.of([*(name.encode() for name in decision.hosts), b"NA"])
    if not decision.hosts or decision.calibration is None:
        return names.take(np.zeros(len(record.score), np.int64))
    with np.errstate(divide="ignore"):
        likely = np.log(decision.calibration.default_shares) - record.ratios
    known = ~np.isnan(record.log_ratio)
    return names.take(np.where(known, np.nan_to_num(likely).argmax(axis=1), len(decision.hosts)))


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


def _fasta(block: RecordBlock, parts: Ints) -> tuple[bytes, Ints]:
    """Return these parts (N,) as FASTA, the sequences in lines of `FASTA_WIDTH`, and the bytes of each."""
    headers = join_columns([_headers(block, parts, b">"), Strings.repeat(b"\n", len(parts))])
    lengths = block.sequences.lengths[parts]
    sizes = headers.lengths + lengths + -(-lengths // FASTA_WIDTH)
    if lengths.sum() <= _WHOLE_BASES:
        return join_columns([headers, wrap(block.sequences.take(parts))]).data.tobytes(), sizes
    written = bytearray()
    for row, part in enumerate(parts.tolist()):
        written += headers[row]
        written += wrap_one(block.sequences.slice(part, part + 1).data).data
    return bytes(written), sizes


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


def _fastq(block: RecordBlock, parts: Ints) -> tuple[bytes, Ints]:
    """Return the parts (N,) with qualities as FASTQ, and the bytes of each part; an empty mate stays with its mate."""
    sizes = np.zeros(len(parts), np.int64)
    is_fastq = block.qualities.lengths.reshape(-1, block.mates).sum(axis=1) > 0
    whole = np.flatnonzero(is_fastq[parts // block.mates])
    parts = parts[whole]
    ends = Strings.repeat(b"\n", len(parts))
    middles = Strings.repeat(b"\n+\n", len(parts))
    columns = [_headers(block, parts, b"@"), ends, block.sequences.take(parts), middles]
    records = join_columns([*columns, block.qualities.take(parts), ends])
    sizes[whole] = records.lengths
    return records.data.tobytes(), sizes
