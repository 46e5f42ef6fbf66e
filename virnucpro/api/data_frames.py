"""Calls as tables of pyarrow, pandas and polars, made of the columns of `CallTable`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import numpy as np

from virnucpro._optional import PYARROW, OptionalPackage
from virnucpro.errors import VirnucproError
from virnucpro.pipeline.calls import FRAME_NAMES, CallTable, Ints
from virnucpro.run.rows import whole_numbers
from virnucpro.run.tables import RECORD_COLUMNS
from virnucpro.scores.calibration import Floats
from virnucpro.scores.composition import Composition, evidence_steps
from virnucpro.seq.chunk_table import STATUSES
from virnucpro.seq.strings import Strings, join_columns

COLUMNS = (*RECORD_COLUMNS, "log_ratio")
_INTEGERS = ("length", "n_chunks", "n_frames")
_FLOATS = ("virus_score", "fdr", "log_ratio")
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


def arrow_table(tables: Iterable[CallTable], composition: Composition | None) -> Any:
    """Return a pyarrow table of all calls: the columns of records.tsv, then `log_ratio`; what is NA there is null.

    Scores are float64 and not rounded. Bytes of ids that are not UTF-8 become their codes, such as \\xff.
    """
    pa = require(PYARROW, "to_arrow()")
    types = {
        name: pa.int64() if name in _INTEGERS else pa.float64() if name in _FLOATS else pa.string() for name in COLUMNS
    }
    schema = pa.schema(types)
    batches = [pa.record_batch(_columns(pa, table, composition), schema=schema) for table in tables]
    return pa.Table.from_batches(batches, schema)


def false_discovery_rates(log_ratios: Floats, composition: Composition | None) -> Floats:
    """Return the false discovery rate at each log likelihood ratio (N,), NaN where there is none."""
    rates = np.full(len(log_ratios), np.nan)
    if composition is not None:
        known = np.flatnonzero(~np.isnan(log_ratios))
        steps, rows = np.unique(evidence_steps(log_ratios[known]), return_inverse=True)
        rates[known] = np.array([composition.fdr[step] for step in steps.tolist()])[rows] if len(known) else 0.0
    return rates


def _columns(pa: Any, calls: CallTable, composition: Composition | None) -> list[Any]:
    record = calls.record
    verdict = np.where(np.isnan(record.score), 2, record.is_virus)
    columns = {
        "seq_name": _strings(pa, calls.block.ids),
        "length": calls.block.lengths,
        "n_chunks": calls.n_chunks,
        "n_frames": record.n_frames,
        "prediction": pa.array(["other", "virus", None]).take(pa.array(verdict)),
        "virus_score": _floats(pa, record.score),
        "fdr": _floats(pa, false_discovery_rates(record.log_ratio, composition)),
        "best_frame": _best_frames(pa, calls),
        "status": pa.array([str(status) for status in STATUSES]).take(pa.array(record.status)),
        "reason": _reasons(pa, calls),
        "log_ratio": _floats(pa, record.log_ratio),
    }
    return [columns[name] for name in COLUMNS]


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
