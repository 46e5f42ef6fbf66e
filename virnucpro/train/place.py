"""The directory in which a training works: beside an earlier model until the new one is complete."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from virnucpro.environment import launched_rank
from virnucpro.errors import OutputError
from virnucpro.files import (
    LOCK,
    locked,
    sync,
    usable,
)
from virnucpro.run.replacement import UNFINISHED, Name, refuse_inputs
from virnucpro.train.checkpoint import CHECKPOINT, has_checkpoint

MODEL_FILES = re.compile(r"model\.json|log\.jsonl|tokenizer\.json|[^.]+\.safetensors")


@contextmanager
def training_place(output: Path, restart: bool, resume: bool, inputs: Iterable[Name]) -> Iterator[Path]:
    """Give the directory to train in, and lock `output`.

    It is `output` itself or, with `restart` and a directory that has files, a subdirectory, whose files replace the
    earlier ones when the block succeeds. Until then `resume` continues in the subdirectory. Under torchrun only the
    first process locks and replaces.

    Raises:
        OutputError: `output` has files and neither `restart` nor `resume` is set, another command uses it, or it cannot
            be used.
        ConfigError: an input would be replaced.
    """
    first = launched_rank()[0] == 0
    unfinished = output / UNFINISHED
    with locked(output) if first else nullcontext():
        with usable(output):
            names = [path.name for path in output.iterdir()] if output.is_dir() else []
        present = [name for name in names if name not in (LOCK, UNFINISHED)]
        if first and present and not restart and not resume:
            raise OutputError(f"{output} is not empty; use --restart to replace its files, or choose another --output")
        if restart:
            shutil.rmtree(unfinished, ignore_errors=True)
        refuse_inputs(inputs, [output / name for name in present if MODEL_FILES.fullmatch(name)])
        beside = (restart and bool(present)) or (resume and has_checkpoint(unfinished / CHECKPOINT))
        yield unfinished if beside else output
        if beside and first:
            _replace(unfinished, output)


def _replace(source: Path, output: Path) -> None:
    """Move a model into `output`, and its checkpoint last, which marks an unfinished replacement."""
    with usable(output):
        for path in sorted(source.iterdir(), key=lambda path: (path.is_dir(), path.name)):
            if path.is_dir():
                shutil.rmtree(output / path.name, ignore_errors=True)
            path.replace(output / path.name)
        sync(output)
        shutil.rmtree(source, ignore_errors=True)
