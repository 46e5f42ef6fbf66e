"""What a run of `predict` writes on request beside its tables and hits, and which of its files are compressed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from xopen import xopen

from virnucpro.errors import ConfigError
from virnucpro.files import atomic_path
from virnucpro.run.legacy import LEGACY_TABLES
from virnucpro.run.tables import PAIR_TABLES, TABLES, Sink

COMPRESSIONS = ("gz", "zst")
VIRAL_IDS = "viral_ids.txt"
_BLOCK_BYTES = 1 << 20
# The files that --compress compresses: tables and sequences, but not what readers expect as plain text.
_COMPRESSED = {*TABLES, *PAIR_TABLES, *(name.replace("viral", "other") for name in (*TABLES, *PAIR_TABLES))}


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of a run that depend on the request.

    With `other`, records that are not called virus are written, too; with `viral_ids`, the names of viruses. `compress`
    (gz or zst) compresses tables and sequences.

    Raises:
        ConfigError: there is no such compression.
    """

    other: bool = False
    viral_ids: bool = False
    compress: str | None = None

    def __post_init__(self) -> None:
        if self.compress not in (None, *COMPRESSIONS):
            raise ConfigError(f"compress must be {' or '.join(COMPRESSIONS)}, got {self.compress!r}", "compress")

    @classmethod
    def of(cls, fingerprint: Mapping[str, Any]) -> Outputs:
        """Return the outputs that a fingerprint of `named` names.

        Raises:
            ValueError: a value has another type.
        """
        found = {name: fingerprint.get(name) for name in ("--write-other", "--viral-ids", "--compress")}
        other, viral_ids, compress = found.values()
        if not (isinstance(other, bool | None) and isinstance(viral_ids, bool | None)):
            raise ValueError("--write-other or --viral-ids of the fingerprint is neither true nor false")
        if not isinstance(compress, str | None):
            raise ValueError(f"--compress of the fingerprint is {compress!a:.40}")
        return cls(bool(other), bool(viral_ids), compress)

    def named(self) -> dict[str, Any]:
        """Return what was asked for, by option, for the fingerprint of a run."""
        asked = {"--write-other": self.other, "--viral-ids": self.viral_ids, "--compress": self.compress}
        return {name: value for name, value in asked.items() if value}

    def other_names(self, hits: list[str]) -> list[str]:
        """Return for each file of hits the name of the file with the other records; none if they are not written."""
        return [name.replace("viral", "other") for name in hits] if self.other else []

    def file_name(self, name: str) -> str:
        """Return the name of a file of the run with the ending of its compression.

        >>> Outputs(compress="gz").file_name("records.tsv")
        'records.tsv.gz'
        """
        return f"{name}.{self.compress}" if self.compress and name in _COMPRESSED else name

    @contextmanager
    def written(self, directory: Path, names: Iterable[str]) -> Iterator[tuple[dict[str, Sink], Callable[[], None]]]:
        """Open files of a run, by name, each of which appears when the block succeeds.

        Also give a function that completes all of them on disk, to be called before the block ends: then none replaces
        an old file before all are whole.

        Raises:
            OutputError: a file cannot be written.
        """
        with ExitStack() as stack:
            on_disk: list[IO[bytes]] = []
            compressed: list[_Blocks] = []
            files: dict[str, Sink] = {}
            for name in names:
                temporary = stack.enter_context(atomic_path(directory / self.file_name(name)))
                files[name] = file = stack.enter_context(temporary.open("wb"))
                on_disk.append(file)
                if self.file_name(name) != name:
                    # Without threads, and with neither name nor time in its header, equal blocks give equal bytes.
                    compressor = stack.enter_context(xopen(file, "wb", threads=0, format=self.compress))
                    files[name] = blocks = stack.enter_context(_Blocks(compressor))
                    compressed.append(blocks)

            def complete() -> None:
                for blocks in compressed:
                    blocks.close()
                for file in on_disk:
                    file.flush()
                    os.fsync(file.fileno())

            yield files, complete


class _Blocks(io.RawIOBase):
    """A file that passes bytes on in blocks of one size, because what a compressor writes depends on their borders."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rest = file, bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._rest += data
        whole = len(self._rest) - len(self._rest) % _BLOCK_BYTES
        for begin in range(0, whole, _BLOCK_BYTES):
            self._file.write(bytes(self._rest[begin : begin + _BLOCK_BYTES]))
        del self._rest[:whole]
        return len(data)

    def close(self) -> None:
        if not self.closed:
            try:
                self._file.write(bytes(self._rest))
                self._file.close()
            finally:
                super().close()


def every_name() -> list[str]:
    """Return the names of all files with records that a run may write, whatever is asked for."""
    plain = [*sorted(_COMPRESSED), *LEGACY_TABLES, VIRAL_IDS]
    return [*plain, *(Outputs(compress=kind).file_name(name) for kind in COMPRESSIONS for name in sorted(_COMPRESSED))]


def find_output(directory: Path, name: str) -> Path:
    """Return the path of a table or of sequences of a run: plain, or else compressed if there is such a file."""
    paths = [directory / name, *(directory / f"{name}.{kind}" for kind in COMPRESSIONS)]
    return next((path for path in paths if path.exists()), paths[0])
