"""Write the tables of a run as Parquet, with the same rows and columns. Only this module imports pyarrow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

from virnucpro._optional import PYARROW
from virnucpro.errors import VirnucproError
from virnucpro.files import atomic_path
from virnucpro.run.outputs import find_output
from virnucpro.run.tables import PARQUET
from virnucpro.seq.decompress import content_of

_INTEGERS = ("length", "n_chunks", "n_frames", "start", "end", "offset", "aa_length")
_FLOATS = ("virus_score", "sample_score", "fdr", "score_other", "score_virus", "weight")
_NULLABLE = ("prediction", "confidence", "host_class", "best_frame", "reason")  # may be missing; an id may be called NA
_BLOCK_BYTES = 1 << 20


def require_pyarrow() -> Any:
    """Return pyarrow.

    Raises:
        VirnucproError: it is not installed; the message names the extra to install.
    """
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise VirnucproError(f"--parquet needs pyarrow, which is not installed: {PYARROW.install_command}") from None
    return pyarrow


class _Utf8(io.RawIOBase):
    """A table as UTF-8, as Parquet requires: bytes that are not UTF-8 become codes such as \\xff."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rest = file, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            lines = b"".join(self._file.readlines(_BLOCK_BYTES))
            self._rest = lines.decode("utf-8", "backslashreplace").encode()
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def write_parquet(directory: Path) -> None:
    """Write records.parquet, chunks.parquet and frames.parquet beside the tables; NA becomes null.

    Raises:
        VirnucproError: pyarrow is not installed.
        OutputError: a file cannot be written.
    """
    for source, target in PARQUET.items():
        path = find_output(directory, source)
        with path.open("rb") as raw, content_of(raw) as file, atomic_path(directory / target) as temporary:
            _convert(file, temporary)


def _convert(file: io.BufferedReader, target: Path) -> None:
    pa = require_pyarrow()
    columns = file.readline().decode().rstrip("\n").split("\t")
    types = {
        name: pa.int64() if name in _INTEGERS else pa.float64() if name in _FLOATS else pa.string() for name in columns
    }
    schema = pa.schema(types)
    with pa.parquet.ParquetWriter(target, schema) as writer:
        if not file.peek(1):
            return
        batches = pa.csv.open_csv(
            io.BufferedReader(_Utf8(file), _BLOCK_BYTES),
            pa.csv.ReadOptions(column_names=columns, use_threads=False),
            pa.csv.ParseOptions(delimiter="\t", quote_char=False, escape_char=False),
            pa.csv.ConvertOptions(column_types=types, null_values=["NA"], strings_can_be_null=False),
        )
        for batch in batches:
            arrays = [
                _with_nulls(pa, array) if name in _NULLABLE else array
                for name, array in zip(columns, batch, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _with_nulls(pa: Any, array: Any) -> Any:
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(array, "NA"), pa.scalar(None, pa.string()), array)
