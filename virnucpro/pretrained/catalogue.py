"""The published models that can be downloaded by name, with their parts and where to find them.

Revisions and checksums of the language models are not stored here. A download is compared with the server's checksum,
and the model directory records the revision, and size and SHA-256 of every file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hugging Face hub with one language model; `weights` is their number, 4 bytes each."""

    name: str
    part: Literal["nucleotide", "protein"]
    weights: int
    licence: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model: its language models, and the chunk length (nt) of its classifier, None without a classifier."""

    repositories: tuple[Repository, ...]
    chunk_length: int | None = None

    @property
    def bytes(self) -> int:
        """The approximate size of the download."""
        return 4 * sum(repository.weights for repository in self.repositories)

    @property
    def licence(self) -> str:
        """The licences of all parts of the model."""
        parts = [f"{repository.name}: {repository.licence}" for repository in self.repositories]
        return "; ".join([*parts, f"{CLASSIFIER_REPOSITORY}: MIT"] if self.chunk_length else parts)


# The published classifiers, with git's object ids: the SHA-1 of "blob SIZE", a zero byte and the content.
CLASSIFIER_REPOSITORY = "Li-Jing-1997/VirNucPro"
CLASSIFIER_URL = f"https://raw.githubusercontent.com/{CLASSIFIER_REPOSITORY}/HEAD/{{}}"
CLASSIFIERS = {"a0b5b85e7c1e44f00cde146d091beb82b2c8e855": 300, "fc35d5ef9f1f4564eea7036f34f4f8ec6000d33d": 500}

DNABERT_S_117M = Repository("zhihan1996/DNABERT-S", "nucleotide", 116_477_952, "see its model card")
ESM2 = {
    size: Repository(f"facebook/esm2_t{layers}_{size}_UR50D", "protein", weights, "MIT")
    for size, layers, weights in (
        ("8M", 6, 7_408_960),
        ("35M", 12, 33_269_280),
        ("150M", 30, 147_728_000),
        ("650M", 33, 649_400_320),
        ("3B", 36, 2_832_442_880),
        ("15B", 48, 15_102_868_480),
    )
}
CATALOGUE = {
    **{f"published-{n}": CatalogueEntry((DNABERT_S_117M, ESM2["3B"]), n) for n in CLASSIFIERS.values()},
    **{f"esm2-{size}": CatalogueEntry((repository,)) for size, repository in ESM2.items()},
    "dnabert-s": CatalogueEntry((DNABERT_S_117M,)),
}


def classifier_id(chunk_length: int) -> str:
    """Return git's object id of the published classifier for chunks of 300 or 500 nt."""
    return next(digest for digest, length in CLASSIFIERS.items() if length == chunk_length)
