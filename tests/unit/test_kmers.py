"""A filter of 9-mers made from genomes: which 9-mers enter it, and its file in a model directory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from specification import CODE
from support.models import make_model, write_model

from virnucpro.errors import ConfigError, ModelError
from virnucpro.evaluate.genomes import Genomes
from virnucpro.pretrained.description import KMERS, ModelDescription
from virnucpro.pretrained.registry import load_model
from virnucpro.pretrained.verification import verify_model
from virnucpro.pretrained.weights import sha256
from virnucpro.seq.frame_table import reverse_complement, stop_free_runs
from virnucpro.seq.kmer_filter import KmerFilter, kmer_codes
from virnucpro.seq.strings import Strings
from virnucpro.train.kmers import KmerSettings, build_filter

EVERY = KmerSettings(one_in=1)


def dna(n: int, seed: int) -> bytes:
    return np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", np.uint8), n).tobytes()


def plain_runs(sequence: bytes, min_aa: int) -> list[str]:
    strands = sequence.replace(b"U", b"T"), reverse_complement(sequence.replace(b"U", b"T"))
    runs = []
    for strand in (strand.decode() for strand in strands):
        for offset in range(3):
            codons = (strand[i : i + 3] for i in range(offset, len(strand) - 2, 3))
            runs += "".join(CODE.get(codon, "X") for codon in codons).split("*")
    return sorted(run for run in runs if len(run) >= min_aa)


def genomes_of(records: list[tuple[str, str, bytes]]) -> Genomes:
    """Genomes of (class, taxon in it, sequence)."""
    lengths = np.array([len(sequence) for *_, sequence in records])
    return Genomes(
        np.frombuffer(b"".join(sequence for *_, sequence in records), np.uint8),
        [str(i) for i in range(len(records))],
        np.cumsum(lengths) - lengths,
        lengths,
        np.array([name for name, *_ in records]),
        np.array([f"{name}|{taxon}" for name, taxon, _ in records]),
    )


def example() -> list[tuple[str, str, bytes]]:
    """Records that share stretches: of viruses alone, of hosts alone, and of both."""
    shared = [dna(150, seed) for seed in range(6)]
    contents = {
        ("virus", "A|a"): [0, 1, 4], ("virus", "A|b"): [0, 2, 4], ("virus", "B|c"): [1, 3],
        ("bacteria", "|g"): [2, 5], ("plasmid", "|g"): [5, 3], ("plant", "|h"): [5, 4], ("plant", "|i"): [5],
    }  # fmt: skip
    records = []
    for number, ((name, taxon), parts) in enumerate(contents.items()):
        text = dna(60, 100 + number) + b"N".join(shared[part] for part in parts)
        records.append((name, taxon, reverse_complement(text) if number % 2 else text))
    return records


def plain_sides(records: list[tuple[str, str, bytes]], settings: KmerSettings) -> tuple[set[str], set[str]]:
    taxa: dict[str, set[tuple[bool, str]]] = {}
    for name, taxon, sequence in records:
        for run in plain_runs(sequence, 20):
            for kmer in (run[i : i + 9] for i in range(len(run) - 8)):
                if "X" not in kmer:
                    taxa.setdefault(kmer, set()).add((name == "virus", taxon))
    virus = {k for k, of in taxa.items() if all(side for side, _ in of) and len(of) >= settings.virus_taxa}
    host = {k for k, of in taxa.items() if not any(side for side, _ in of) and len(of) >= settings.host_taxa}
    return virus, host


def codes_of(kmers: set[str]) -> np.ndarray:
    return kmer_codes(Strings.of([kmer.encode() for kmer in sorted(kmers)]))[0]


@pytest.mark.parametrize("min_aa", [1, 5, 20])
def test_all_stop_free_runs_are_those_of_plain_translation(min_aa: int) -> None:
    sequences = [dna(400, 1), b"", b"AC", dna(301, 2).replace(b"A", b"N", 3), dna(90, 3).replace(b"T", b"U")]
    expected = sorted(run for sequence in sequences for run in plain_runs(sequence, min_aa))
    assert sorted(run.decode() for run in stop_free_runs(Strings.of(sequences), min_aa)) == expected


@pytest.mark.parametrize(
    "settings", [EVERY, KmerSettings(1, 1, 1), KmerSettings(1, 3, 2)], ids=["default", "any", "other"]
)
def test_9_mers_of_several_taxa_of_one_side_enter(settings: KmerSettings) -> None:
    records = example()
    virus, host = plain_sides(records, settings)
    assert host
    lines: list[str] = []
    made = build_filter(genomes_of(records), settings, lines.append)
    assert made.layout.sides == ("virus", "host")
    assert made.find(codes_of(virus)).tolist() == [0] * len(virus)
    assert made.find(codes_of(host)).tolist() == [1] * len(host)
    assert lines[-1] == f"{len(virus)} 9-mers of viruses, {len(host)} of hosts"
    assert "3 taxa of viruses, 3 of hosts" in lines[0]  # bacteria and plasmids share a genus


def test_the_order_of_records_does_not_change_the_filter() -> None:
    records = example()
    one, other = (build_filter(genomes_of(some), EVERY, print) for some in (records, records[::-1]))
    assert one.layout == other.layout
    assert one.cells.tobytes() == other.cells.tobytes()


def test_one_9_mer_of_several_enters() -> None:
    records = example()
    virus, host = (codes_of(kmers) for kmers in plain_sides(records, KmerSettings(1, 1, 1)))
    made = build_filter(genomes_of(records), KmerSettings(4, 1, 1), print)
    assert made.layout.one_in == 4
    found = [int((made.find(codes) == side).sum()) / len(codes) for side, codes in enumerate((virus, host))]
    assert all(0.15 < share < 0.35 for share in found), found


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([("virus", "A|a", dna(300, 1))], "of class virus and of hosts"),
        ([("virus", "A|a", dna(300, 1)), ("plant", "|h", dna(300, 2))], "no 9-mer occurs in several taxa"),
        ([("virus", "A|a", b"ACGT"), ("plant", "|h", b"A")], "no 9-mer occurs in several taxa"),
    ],
    ids=["one side", "nothing in common", "too short"],
)
def test_genomes_that_give_no_filter_are_refused(records: list[tuple[str, str, bytes]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_filter(genomes_of(records), EVERY, print)


def test_settings_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="host_taxa must be at least 1, got 0"):
        KmerSettings(host_taxa=0)


@pytest.fixture
def with_kmers(tmp_path: Path) -> tuple[Path, KmerFilter]:
    """A model directory with a filter of 9-mers."""
    kmers = build_filter(genomes_of(example()), EVERY, print)
    model = make_model()
    model = replace(model, kmers=kmers, description=replace(model.description, kmers=kmers.layout))
    return write_model(model, tmp_path / "model"), kmers


def test_a_filter_is_a_file_of_the_model(with_kmers: tuple[Path, KmerFilter]) -> None:
    directory, kmers = with_kmers
    assert KMERS in ModelDescription.from_json(directory / "model.json").files()
    read = load_model(str(directory)).kmers
    assert read is not None
    assert read.layout == kmers.layout
    assert read.cells.tobytes() == kmers.cells.tobytes()
    assert {name: problem for name, problem in verify_model(str(directory)) if problem} == {}


def test_a_changed_filter_is_refused(with_kmers: tuple[Path, KmerFilter]) -> None:
    directory, kmers = with_kmers
    save_file({"cells": kmers.cells ^ 1}, directory / KMERS)
    with pytest.raises(ModelError, match=r"kmers\.safetensors is damaged or was changed"):
        load_model(str(directory))
    assert [name for name, problem in verify_model(str(directory)) if problem] == [KMERS]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {"cells": tensors["cells"][:-1]}, "3 whole segments"),
        (lambda tensors: {"cells": tensors["cells"].astype(np.int32)}, "dtype uint16"),
        (lambda tensors: {"other": tensors["cells"]}, "one tensor, 'cells'"),
    ],
    ids=["cut", "other dtype", "other name"],
)
def test_a_filter_that_does_not_fit_its_layout_is_refused(with_kmers, change, message) -> None:
    directory, _ = with_kmers
    save_file(change(load_file(directory / KMERS)), directory / KMERS)
    described = ModelDescription.from_json(directory / "model.json")
    checksums = {**described.checksums, KMERS: sha256(directory / KMERS)}
    replace(described, checksums=checksums).write_json(directory / "model.json")
    with pytest.raises(ModelError, match=message):
        load_model(str(directory))
    assert [name for name, problem in verify_model(str(directory)) if problem] == [KMERS]
