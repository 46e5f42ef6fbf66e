"""The length features of a frame, which some classifiers read beside its embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LENGTH_FEATURES = 2


def length_features(aa: npt.NDArray[np.int64], nt: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return (F, 2) for F frames: protein length as log(aa / 50), and its share of the nucleotides, 3 aa / nt.

    Args:
        aa: (F,) residues of each frame's protein.
        nt: (F,) bases of each frame's nucleotide sequence.
    """
    residues, bases = aa.astype(np.float32), nt.astype(np.float32)
    return np.stack((np.log(residues / 50), 3 * residues / bases), axis=1).astype(np.float32)
