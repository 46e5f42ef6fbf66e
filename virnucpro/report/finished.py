"""The manifest of a complete run of `predict`, from which reports are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import InputError, MissingInputError
from virnucpro.run.manifest import COMPLETE, PredictOutcome, read_manifest
from virnucpro.run.provenance import InputFile, input_paths
from virnucpro.run.sample_name import default_sample
from virnucpro.run.setup import PredictSetup


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """The parts of run.json that a report shows; see `run.manifest.Manifest`. A run always has the name of a sample."""

    virnucpro: str
    command: tuple[str, ...]
    inputs: tuple[InputFile, ...]
    setup: PredictSetup
    outcome: PredictOutcome
    in_pairs: bool
    sample: str

    @property
    def unit(self) -> str:
        """What a row of records.tsv stands for: record or pair."""
        return "pair" if self.in_pairs else "record"


def read_finished(directory: Path) -> FinishedRun:
    """Read the manifest of a complete run of `predict`.

    Raises:
        MissingInputError: there is no run.json.
        InputError: the run is not complete, or run.json is damaged or of another command.
    """
    path = directory / "run.json"
    try:
        manifest = read_manifest(path)
        if manifest.status != COMPLETE:
            raise InputError(
                f"the run in {directory} is not complete (status: {manifest.status}); "
                "run `virnucpro predict` again with --resume"
            )
        in_pairs, shard = manifest.in_pairs, manifest.shard
    except OSError as error:
        raise MissingInputError(
            f"{directory} holds no run: {path} {error.strerror}; name an --output of predict"
        ) from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if shard is not None:
        raise InputError(f"{directory} holds shard {shard} of a run; merge all shards with `virnucpro merge` first")
    inputs, setup, outcome = manifest.inputs, manifest.setup, manifest.outcome
    if inputs is None or not isinstance(setup, PredictSetup) or not isinstance(outcome, PredictOutcome):
        faults = [f"{key}: {fault}" for key, fault in manifest.damaged.items()]
        raise _damaged(path, "; ".join(faults) or "inputs, model or counts are missing")
    sample = manifest.sample or default_sample(input_paths(inputs), directory)
    return FinishedRun(manifest.virnucpro, manifest.command, inputs, setup, outcome, in_pairs, sample)


def _damaged(path: Path, fault: str) -> InputError:
    return InputError(f"{path} is not what `virnucpro predict` writes: {fault}; run it again")
