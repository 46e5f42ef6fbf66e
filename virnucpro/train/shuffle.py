"""Sequences without an organism: shuffled ones, and artefacts of sequencing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from virnucpro.seq.frame_table import reverse_complement

Letters = npt.NDArray[np.uint8]

# Illumina's published oligonucleotides: adapters of TruSeq and Nextera libraries, P5 and P7.
ADAPTERS = (
    b"AGATCGGAAGAGCACACGTCTGAACTCCAGTCAC",
    b"AGATCGGAAGAGCGTCGTGTAGGGAAAGAGTGT",
    b"AATGATACGGCGACCACCGAGATCTACACTCTTTCCCTACACGACGCTCTTCCGATCT",
    b"CAAGCAGAAGACGGCATACGAGATGTGACTGGAGTTCAGACGTGTGCTCTTCCGATCT",
    b"TCGTCGGCAGCGTCAGATGTGTATAAGAGACAG",
    b"GTCTCGTGGGCTCGGAGATGTGTATAAGAGACAG",
)


def shuffle_dinucleotides(letters: Letters, rng: np.random.Generator) -> Letters:
    """Return a random sequence with the same first and last letter and the same dinucleotide counts.

    All such sequences are equally likely (Altschul & Erickson 1985, doi:10.1093/oxfordjournals.molbev.a040370). They
    are the Eulerian walks of the graph of dinucleotides. In such a walk, the last exits from all letters but the final
    one form a tree that leads to the final letter.
    """
    if len(letters) < 3:
        return letters.copy()
    alphabet, codes = np.unique(letters, return_inverse=True)
    final = int(codes[-1])
    exits = [codes[1:][codes[:-1] == code] for code in range(len(alphabet))]
    while True:
        orders = [rng.permutation(after).tolist() for after in exits]
        last = [final if code == final else order[-1] for code, order in enumerate(orders)]
        reached = np.arange(len(alphabet))
        for _ in alphabet:
            reached = np.array(last)[reached]
        if (reached == final).all():
            break
    ways = [iter(order) for order in orders]
    walk = [int(codes[0])]
    for _ in range(len(letters) - 1):
        walk.append(next(ways[walk[-1]]))
    return alphabet[walk]


def artefact(length: int, rng: np.random.Generator) -> Letters:
    """Return `length` nt of a repeat of a random unit of 1 to 6 nt, or of adapters, with equal probability."""
    if rng.random() < 0.5:
        unit = rng.choice(np.frombuffer(b"ACGT", np.uint8), rng.integers(1, 7))
        return np.resize(unit, length)
    return adapters(length, rng)


def adapters(length: int, rng: np.random.Generator) -> Letters:
    """Return `length` nt of random adapters end to end, each on a random strand."""
    joined = b""
    while len(joined) < length:
        adapter = ADAPTERS[rng.integers(len(ADAPTERS))]
        joined += adapter if rng.random() < 0.5 else reverse_complement(adapter)
    return np.frombuffer(joined[:length], np.uint8)
