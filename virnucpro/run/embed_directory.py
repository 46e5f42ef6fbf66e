"""The directory of a run of `embed`: shards of vectors, ids.tsv and run.json.

A run that replaces a complete one works in a subdirectory, `UNFINISHED`, until all its shards are complete.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from virnucpro.errors import ConfigError
from virnucpro.files import leftovers, sync, usable
from virnucpro.run.directory import Directory, IfExists
from virnucpro.run.embedding_file import Vectors, holds_other_records, is_done, write_shard
from virnucpro.run.manifest import COMPLETE, Manifest
from virnucpro.run.replacement import UNFINISHED, Name, refuse_inputs
from virnucpro.run.units import Unit

IDS = "ids.tsv"
_SHARD = re.compile(r"embeddings_\d{5,}\.safetensors")
_OWN = re.compile(rf"{_SHARD.pattern}|{re.escape(IDS)}|run\.json")


class EmbedDirectory(Directory):
    """The files of a run of `embed`. Each unit is a result: one shard of vectors.

    `place` is the final directory of the results; None: it is this directory.
    """

    def __init__(self, path: Path, place: EmbedDirectory | None = None) -> None:
        super().__init__(path)
        self.place = place

    def shard_path(self, unit: Unit) -> Path:
        """Return the path of the vectors of a unit."""
        return self.path / f"embeddings_{unit.number:05d}.safetensors"

    def write_shard(self, unit: Unit, settings: str, vectors: Vectors) -> None:
        """Write the vectors of a unit, made by settings of this fingerprint; the first one begins the run."""
        self.begin()
        write_shard(self.shard_path(unit), unit, settings, vectors)

    def has_shard(self, unit: Unit, settings: str) -> bool:
        """Return whether a unit is done; its shard may already be in the final directory if the run was killed.

        Raises:
            ConfigError: the shard is of other records.
        """
        path = self.shard_path(unit)
        if is_done(path, unit, settings):
            return True
        if self.place and is_done(self.place.shard_path(unit), unit, settings):
            path.unlink(missing_ok=True)  # it is damaged and must not replace a complete one
            return True
        if holds_other_records(path, unit, settings):
            raise ConfigError(
                f"the earlier run had another input: {(self.place or self).path / path.name} was made from other "
                "records than the input now has; use --restart to begin again"
            )
        return False

    def own_files(self) -> list[Path]:
        """Return the files here that a run of `embed` writes or replaces, and temporary files of killed runs."""
        with usable(self.path):
            there = [path for path in self.path.iterdir() if _OWN.fullmatch(path.name)]
            return [self.manifest_path, self.path / IDS, *there, *leftovers(self.path, _OWN)]

    def refuse_inputs(self, inputs: Sequence[Name]) -> None:
        """Check that no input is a file that the run will replace.

        Raises:
            ConfigError: one is.
        """
        refuse_inputs(inputs, (self.place or self).own_files())

    def remove_leftovers(self) -> None:
        """Remove temporary files of killed commands."""
        with usable(self.path):
            for path in leftovers(self.path, _OWN) if self.path.is_dir() else ():
                path.unlink(missing_ok=True)

    def remove_units(self) -> None:
        """Remove the files of runs that were not completed."""
        if self.place is None:
            shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)
        self.remove_shards()

    def remove_results(self) -> None:
        """Remove nothing: ids.tsv is replaced."""

    def remove_shards(self, kept: Container[str] = ()) -> None:
        """Remove all shards except those named in `kept`."""
        with usable(self.path):
            for path in list(self.path.iterdir()):
                if _SHARD.fullmatch(path.name) and path.name not in kept and path.is_file():
                    path.unlink()

    def put_in_place(self, running: Manifest, shards: Sequence[str]) -> EmbedDirectory:
        """Move all files, which are complete, into the final directory; return that directory."""
        if self.place is None:
            return self
        self.place.write_manifest(running)
        with usable(self.place.path):
            for name in (*shards, IDS):
                if (path := self.path / name).exists():  # otherwise a killed run has moved it
                    path.replace(self.place.path / name)
            sync(self.place.path)
        return self.place


def open_for_embedding(directory: EmbedDirectory, if_exists: IfExists) -> tuple[EmbedDirectory, Manifest | None]:
    """Return the directory in which a run works, and the manifest of the run to resume."""
    unfinished = EmbedDirectory(directory.path / UNFINISHED, directory)
    if if_exists is IfExists.RESUME and (manifest := unfinished.manifest()) is not None:
        return unfinished, manifest
    before = directory.open(if_exists)
    earlier = directory.manifest() if if_exists is IfExists.OVERWRITE else None
    return (unfinished if earlier is not None and earlier.status == COMPLETE else directory), before


@contextmanager
def unfinished_directory(directory: EmbedDirectory) -> Iterator[None]:
    """Make and lock the directory of a run beside an earlier one; remove it at the end if it has nothing to resume."""
    if directory.place is None:
        yield
        return
    try:
        with directory.locked():  # workers on other machines look for the lock
            yield
    finally:
        if directory.manifest() is None:
            shutil.rmtree(directory.path, ignore_errors=True)
