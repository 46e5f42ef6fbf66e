"""Calls as tables of pyarrow, pandas and polars, made of the columns of `CallTable`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro._optional import PYARROW, OptionalPackage
from virnucpro.errors import VirnucproError
from virnucpro.pipeline.calls import FRAME_NAMES, CallTable, Ints
from virnucpro.run.input_files import FILE
from virnucpro.run.numbers import whole_numbers
from virnucpro.run.rows import evidence_of, host_classes
from virnucpro.run.tables import RECORD_COLUMNS
from virnucpro.scores.calibration import Floats
from virnucpro.scores.composition import Composition
from virnucpro.scores.decision import Decision
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import STATUSES
from virnucpro.seq.strings import Strings, join_columns
from virnucpro.types import CONFIDENCE, Call

COLUMNS = (*RECORD_COLUMNS, "log_ratio")
_INTEGERS = ("length", "n_chunks", "n_frames")
_FLOATS = ("virus_score", "sample_score", "fdr", "log_ratio")
_FRAMES = Strings.of([name.encode() for name in FRAME_NAMES])


def require(package: OptionalPackage, method: str) -> Any:
    """Return an optional package that a method needs, and pyarrow, which every table is made with.

    Raises:
        VirnucproError: one is not installed; the message names the extra that brings it.
    """
    try:
        import_module("pyarrow")
        return import_module(package.module)
    except ImportError as error:
        missing = PYARROW.distribution if error.name == "pyarrow" else package.distribution
        raise VirnucproError(f"{method} needs {missing}, which is not installed: {package.install_command}") from None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The calls of a block (R records), and what follows from the whole sample; NaN before its end.

    `confidence` has the place of each virus in `CONFIDENCE`, its length without one; `host_class` the most likely host
    class, NA without one.
    """

    table: CallTable
    is_virus: npt.NDArray[np.bool_]
    sample_score: Floats
    fdr: Floats
    confidence: npt.NDArray[np.intp]
    host_class: Strings

    @classmethod
    def of(cls, table: CallTable, decision: Decision, composition: Composition | None = None) -> Judged:
        """Judge calls under the composition of their sample; None: before it is known."""
        hosts, unknown = host_classes(table.record, decision), np.full(len(table.block), np.nan)
        if composition is None:
            none = np.full(len(table.block), len(CONFIDENCE))
            return cls(table, table.record.is_virus, unknown, unknown, none, hosts)
        found = composition.judge(evidence_of(table, decision))
        is_virus = table.record.is_virus if found.is_virus is None else found.is_virus & found.known
        tiers = np.where(is_virus & found.known, found.tier, len(CONFIDENCE))
        return cls(table, is_virus, found.posterior, found.fdr, tiers, hosts)

    def calls(self) -> Iterator[Call]:
        """Yield the calls as objects."""
        columns = self.is_virus.tolist(), self.sample_score.tolist(), self.fdr.tolist(), self.host_class
        for call, is_virus, score, fdr, host in zip(self.table.calls(), *columns, strict=True):
            yield (
                call
                if call.log_ratio is None
                else replace(
                    call,
                    is_virus=is_virus,
                    sample_score=None if math.isnan(score) else score,
                    fdr=None if math.isnan(fdr) else fdr,
                    host_class=None if host == b"NA" else host.decode(),
                )
            )


def arrow_table(tables: Iterable[Judged], files: Mapping[str, str]) -> Any:
    """Return a pyarrow table of all calls: the columns of records.tsv, then `log_ratio`; what is NA there is null.

    `files` has the names of the input files by path, if there are several; then `file` is the last column but one.
    Scores are float64 and not rounded. Bytes of ids that are not UTF-8 become their codes, such as \\xff.
    """
    pa = require(PYARROW, "to_arrow()")
    names = (*COLUMNS[:-1], FILE, COLUMNS[-1]) if files else COLUMNS
    types = {
        name: pa.int64() if name in _INTEGERS else pa.float64() if name in _FLOATS else pa.string() for name in names
    }
    schema = pa.schema(types)
    batches = []
    for table in tables:
        columns = _columns(pa, table) | ({FILE: _files(pa, table.table.block, files)} if files else {})
        batches.append(pa.record_batch([columns[name] for name in names], schema=schema))
    return pa.Table.from_batches(batches, schema)


def _files(pa: Any, block: RecordBlock, files: Mapping[str, str]) -> Any:
    names = [
        files[path].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for path in block.sources
    ]
    return pa.array(names, pa.string()).take(pa.array(block.source))


def _columns(pa: Any, judged: Judged) -> dict[str, Any]:
    calls, record = judged.table, judged.table.record
    verdict = np.where(record.is_called, judged.is_virus, 2)
    return {
        "seq_name": _strings(pa, calls.block.ids),
        "length": calls.block.lengths,
        "n_chunks": calls.n_chunks,
        "n_frames": record.n_frames,
        "prediction": pa.array(["other", "virus", None]).take(pa.array(verdict)),
        "virus_score": _floats(pa, record.score),
        "sample_score": _floats(pa, judged.sample_score),
        "fdr": _floats(pa, judged.fdr),
        "confidence": pa.array([*CONFIDENCE, None]).take(pa.array(judged.confidence)),
        "host_class": pa.array([None if host == b"NA" else host.decode() for host in judged.host_class], pa.string()),
        "best_frame": _best_frames(pa, calls),
        "status": pa.array([str(status) for status in STATUSES]).take(pa.array(record.status)),
        "reason": _reasons(pa, calls),
        "log_ratio": _floats(pa, record.log_ratio),
    }


def _floats(pa: Any, values: Floats) -> Any:
    return pa.array(values, mask=np.isnan(values))


def _strings(pa: Any, strings: Strings) -> Any:
    """Return byte strings as an Arrow array of text."""
    if (strings.data >= 128).any():  # as in the Parquet tables
        return pa.array([text.decode("utf-8", "backslashreplace") for text in strings], pa.string())
    offsets = pa.py_buffer(strings.starts.astype(np.int32))
    return pa.Array.from_buffers(pa.string(), len(strings), [None, offsets, pa.py_buffer(strings.data)])


def _best_frames(pa: Any, calls: CallTable) -> Any:
    """Return the name of the best frame of each record, null where there is none."""
    best = calls.record.best_frame
    rows = best[best >= 0]
    chunk = calls.frame.chunk[rows]
    names = join_columns(
        [
            calls.block.ids.take(calls.chunks.record[chunk]),
            Strings.repeat(b"_chunk_", len(rows)),
            whole_numbers(calls.chunks.index[chunk]),
            _FRAMES.take(calls.frame.column[rows]),
        ]
    )
    places: Ints = np.cumsum(best >= 0) - 1
    return _strings(pa, names).take(pa.array(places, mask=best < 0))


def _reasons(pa: Any, calls: CallTable) -> Any:
    """Return why records have no score or were changed, null where there is nothing to say."""
    rows = np.flatnonzero(calls.has_reason)
    places = np.zeros(len(calls.block), np.int64)
    places[rows] = np.arange(1, len(rows) + 1)
    texts = [calls.record_reason(row) or None for row in rows.tolist()]
    return pa.array([None, *texts], pa.string()).take(pa.array(places))
