"""Calls: what `virnucpro.predict` returns."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

from virnucpro._optional import PANDAS, POLARS, PYARROW
from virnucpro.api.arrivals import PATIENCE
from virnucpro.api.bars import shown
from virnucpro.api.called_block import CalledBlock
from virnucpro.api.data_frames import Judged, arrow_table, require
from virnucpro.api.sequences import GivenSequences
from virnucpro.errors import ConfigError
from virnucpro.pipeline.calls import CallTable
from virnucpro.pipeline.isolation import call_isolated
from virnucpro.pipeline.predict import Predictor
from virnucpro.pretrained.locations import find_model
from virnucpro.run.input_files import file_names
from virnucpro.run.outputs import Outputs
from virnucpro.run.rows import evidence_of
from virnucpro.run.units import unit_size
from virnucpro.scores.composition import Composition, Evidence, SampleRule
from virnucpro.scores.reference import REFERENCE_FILE, Reference
from virnucpro.types import Call


class Calls(Iterator[Call]):
    """The calls of `virnucpro.predict`, in the order of the records.

    Either iterate over them: each call comes as soon as it is known, and none is kept. Or ask for all of them with
    `to_arrow`, `to_pandas`, `to_polars` or `composition`: these read the source to its end and keep the calls, with
    the sequences, so that all methods can be used again and iterating gives calls with their `fdr`. So does iterating
    itself with `max_fdr`. `write` keeps nothing that is not kept already.
    """

    def __init__(self, predictor: Predictor, sequences: GivenSequences, model: str, progress: bool | None) -> None:
        self._predictor, self._sequences, self._model = predictor, sequences, model
        self._progress = progress
        self._evidence: list[Evidence] = []
        self._has_begun = self._is_read = False
        self._composition: Composition | None = None
        self._kept: list[CalledBlock] | None = None
        self._stream = self._yield_calls()

    def __iter__(self) -> Iterator[Call]:
        self._read_if_late()
        return self if self._kept is None else self._yield_kept(self._kept)

    def __next__(self) -> Call:
        self._read_if_late()
        return next(self._stream)

    def _read_if_late(self) -> None:
        """Read the source to its end if no call is known before."""
        if self._predictor.decision.max_fdr is not None:
            self._read_all()

    def close(self) -> None:
        """End the iteration: nothing more is read."""
        self._stream.close()

    @property
    def composition(self) -> Composition | None:
        """The composition of the sample: the shares of virus and of host classes, and the false discovery rate at each
        score; None without evidence.

        Raises:
            ConfigError: some calls have been taken and others not.
        """
        if not self._is_read:
            self._read_all()
        if self._composition is None:
            self._composition = self._rule().composition(self._evidence)
        return self._composition

    def _rule(self) -> SampleRule:
        reference = None
        if REFERENCE_FILE in self._predictor.description.checksums:
            reference = Reference.read(find_model(self._model) / REFERENCE_FILE)
        options = self._predictor.options
        return SampleRule.choose(reference, self._predictor.decision.preset, options.composition, options.max_fdr)

    def to_arrow(self) -> Any:
        """Return all calls as a `pyarrow.Table`: the columns of records.tsv, then `log_ratio`; NA is null.

        Raises:
            VirnucproError: pyarrow is not installed.
            ConfigError: calls have been taken already, and were not kept.
        """
        require(PYARROW, "to_arrow()")
        parts = [part for called in self._read_all() for part in called.parts]
        paths = self._sequences.paths
        return arrow_table([self._judged(part) for part in parts], file_names(paths) if len(paths) > 1 else {})

    def to_pandas(self) -> Any:
        """Return all calls as a `pandas.DataFrame`; see `to_arrow`."""
        require(PANDAS, "to_pandas()")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """Return all calls as a `polars.DataFrame`; see `to_arrow`."""
        polars = require(POLARS, "to_polars()")
        return polars.from_arrow(self.to_arrow())

    def write(
        self,
        directory: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        sample: str | None = None,
        write_other: bool = False,
        viral_ids: bool = False,
        compress: str | None = None,
    ) -> None:
        """Write the files of `virnucpro predict`: the tables, hits, run.json, report and MultiQC's file.

        What is kept is written; otherwise the source is read, and written block by block.

        Args:
            directory: where to; it is made if need be.
            overwrite: replace an earlier run there.
            sample: name of the sample in the report; by default that of the input or the directory.
            write_other: also write the records that are not called virus, to other.fasta and other.fastq.
            viral_ids: also write the names of viruses to viral_ids.txt.
            compress: compress tables and sequences with `gz` or `zst`.

        Raises:
            OutputError: the directory has files in it and `overwrite` is False, or it cannot be written.
            ConfigError: the name is not valid; calls have been taken already, and were not kept; or an input is a file
                to be replaced.
        """
        from virnucpro.api.written import refuse_filled, write_calls

        outputs = Outputs(write_other, viral_ids, compress)
        if not overwrite:
            refuse_filled(directory)
        if self._kept is None:
            self._require_untouched()
        self._sequences.open()
        blocks = self._called(patience=None) if self._kept is None else iter(self._kept)
        write_calls(directory, blocks, self._sequences, self._predictor, self._model, overwrite, sample, outputs)

    def _require_untouched(self) -> None:
        if self._has_begun:
            raise ConfigError(
                "calls of this source were taken one by one, or written, and are not kept; call predict again, and ask "
                "for the table before you iterate"
            )

    def _read_all(self) -> list[CalledBlock]:
        """Read the source to its end and keep the calls."""
        if self._kept is None:
            self._require_untouched()
            self._kept = list(self._called(patience=None))
            self._stream = self._yield_kept(self._kept)
        return self._kept

    def _called(self, patience: float | None) -> Iterator[CalledBlock]:
        """Read the source and call its blocks."""
        self._has_begun = True
        size = unit_size(self._predictor.device.type)
        with shown(self._sequences, self._progress) as counter:
            for block in self._sequences.blocks(*size, patience):
                parts = call_isolated(self._predictor.call, block, self._predictor.decision.n_hosts)
                self._evidence += [evidence_of(part, self._predictor.decision) for part in parts]
                counter.advance(len(block))
                yield CalledBlock(block, parts)
        self._is_read = True

    def _yield_calls(self) -> Generator[Call, None, None]:
        self._require_untouched()
        for called in self._called(PATIENCE):
            for part in called.parts:
                yield from Judged.of(part, self._predictor.decision).calls()

    def _yield_kept(self, kept: list[CalledBlock]) -> Generator[Call, None, None]:
        for called in kept:
            for part in called.parts:
                yield from self._judged(part).calls()

    def _judged(self, part: CallTable) -> Judged:
        return Judged.of(part, self._predictor.decision, self.composition)
