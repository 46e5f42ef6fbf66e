"""Input files, and what a command leaves in a folder."""

import io
import json
from pathlib import Path
from typing import Any

from xopen import xopen


def fasta(records: list[tuple[str, str]]) -> str:
    """Return headers and sequences as FASTA, each sequence on one line."""
    return "".join(f">{header}\n{sequence}\n" for header, sequence in records)


def zstd(data: bytes) -> bytes:
    """Compress with Zstandard."""
    buffer = io.BytesIO()
    with xopen(buffer, "wb", format="zst", threads=0) as stream:
        stream.write(data)
        stream.flush()
    return buffer.getvalue()


def contents(folder: Path, *but: str) -> dict[str, bytes]:
    """Return the bytes of all files below a folder by their relative path, without those of the names in `but`."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in but)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run_json(folder: Path) -> dict[str, Any]:
    """Return what a run says of itself."""
    return json.loads((folder / "run.json").read_text())
