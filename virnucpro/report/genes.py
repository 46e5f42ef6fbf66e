"""Sort the genes of an annotation by what viruses do with them, to colour and to name them in figures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from virnucpro.seq.feature import Feature


@dataclass(frozen=True, slots=True)
class Role:
    """A class of genes: its CSS class, name and colour, and the words of products that belong to it."""

    css: str
    name: str
    colour: str
    words: re.Pattern[str]


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


# The first role whose words occur in the product (or in the category that the annotation gives) counts.
ROLES = (
    Role("g0", "integration", "#a3308f", _words(r"integrase|recombinase|transpos|excision|resolvase|integration")),
    Role("g1", "lysis", "#b86200", _words(r"holin|lysin|spanin|\blysis|lysozyme|muramidase")),
    Role(
        "g2",
        "particle and packaging",
        "#0b7a5a",
        _words(
            r"terminase|portal|capsid|\bhead\b|head-|prohead|\btail|baseplate|\bfib(er|re)|spike|virion|scaffold"
            r"|sheath|\bcollar|connector|packaging|\bcoat\b|tape[ -]?measure|hk97|neck|envelope"
        ),
    ),
    Role(
        "g3",
        "replication and regulation",
        "#2f5fd0",
        _words(
            r"polymerase|helicase|primase|replicat|repressor|terminator|termination|exonuclease|single[- ]strand|ligase"
            r"|methyltransferase|transcription|regulat|nucleotide metabolism"
        ),
    ),
)
RNA = Role("g4", "RNA", "#23282c", _words(r"(?!)"))
OTHER = Role("g5", "other product", "#66727b", _words(r"(?!)"))
UNKNOWN = Role("g6", "no known product", "#cdd3d7", _words(r"hypothetical|uncharacteri[sz]ed|unknown function|\bDUF\d"))
ALL_ROLES = (*ROLES, RNA, OTHER, UNKNOWN)


def role_of(gene: Feature) -> Role:
    """Return the role of a gene by its kind and the words of its product."""
    if gene.kind.endswith("RNA"):
        return RNA
    for words in (gene.product, gene.role):
        for role in ROLES:
            if role.words.search(words):
                return role
    return OTHER if gene.product and not UNKNOWN.words.search(gene.product) else UNKNOWN


def short_name(gene: Feature, most: int = 22) -> str:
    """Return what names a gene in a figure: its product if the role is known, else its symbol or locus tag."""
    role = role_of(gene)
    text = gene.product if role in ROLES else gene.name or gene.product
    text = re.sub(r"^(putative|probable|phage|prophage) ", "", text, flags=re.IGNORECASE)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def describe(gene: Feature) -> str:
    """Return a gene in words: name, kind, product, 1-based place, strand."""
    strand = {1: " (+)", -1: " (-)", 0: ""}[gene.strand]
    parts = (gene.name, gene.product or gene.kind, f"{gene.start + 1:,}–{gene.end:,}{strand}")
    return " · ".join(filter(None, parts))
