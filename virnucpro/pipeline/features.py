"""What the classifier sees of a frame: its nucleotide and protein vectors, and for some models its lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from virnucpro.types import Frame

LENGTH_FEATURES = 2


def length_features(frames: Sequence[Frame]) -> npt.NDArray[np.float32]:
    """Return (F, 2): the protein's length as log(aa / 50), and its share of the frame, 3 aa / nt."""
    residues = np.array([len(frame.protein) for frame in frames], dtype=np.float32)
    bases = np.array([len(frame.nucleotide) for frame in frames], dtype=np.float32)
    return np.stack((np.log(residues / 50), 3 * residues / bases), axis=1).astype(np.float32)


def fuse(
    nucleotide: npt.NDArray[np.float32],
    protein: npt.NDArray[np.float32],
    frames: Sequence[Frame],
    with_lengths: bool,
) -> npt.NDArray[np.float32]:
    """Return features (F, D): nucleotide vector, protein vector, and the length features if asked for.

    Rows belong to `frames` by position; the three must have as many rows.

    Raises:
        ValueError: they have not.
    """
    parts = [nucleotide, protein]
    if with_lengths:
        parts.append(length_features(frames))
    if len({len(frames), *(len(part) for part in parts)}) != 1:
        raise ValueError(f"{len(frames)} frames need as many vectors, got {[len(part) for part in parts]}")
    return np.concatenate(parts, axis=1)
