"""The file of a filter of 9-mers: its cells as safetensors; the layout is in `model.json`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from virnucpro.errors import ConfigError, ModelError
from virnucpro.places import plain_file
from virnucpro.seq.kmer_filter import KmerFilter, KmerLayout

_CELLS = "cells"


def load_filter(path: Path, layout: KmerLayout) -> KmerFilter:
    """Read a filter of 9-mers with this layout.

    Raises:
        ModelError: the file is missing, is damaged, or does not fit the layout.
    """
    try:
        tensors = load_file(plain_file(path))
        if tensors.keys() != {_CELLS} or tensors[_CELLS].dtype != np.uint16:
            raise ConfigError(f"it must hold one tensor, {_CELLS!r}, of dtype uint16")
        return KmerFilter(layout, tensors[_CELLS])
    except (OSError, SafetensorError, KeyError, ConfigError) as error:
        raise ModelError(f"{path} is not a filter of 9-mers: {error}; copy the model directory again") from error


def save_filter(kmers: KmerFilter, path: Path) -> None:
    """Write the cells of a filter."""
    save_file({_CELLS: kmers.cells}, path)
    path.chmod(0o644)  # safetensors makes it readable by its owner only
