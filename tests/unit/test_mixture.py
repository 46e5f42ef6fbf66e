"""Genomes and sequence for training only, mixed by class."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from virnucpro.errors import ConfigError, MissingInputError
from virnucpro.train.mixture import read_mixture, read_split
from virnucpro.train.settings import DataSettings


def write(directory: Path, **classes: int) -> None:
    """Write as many records of 300 nt of each class as given, named after the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, number in classes.items():
        records = [f">{directory.name}_{name}{i}\n{'ACGTTGCA' * 37}ACGT\n" for i in range(number)]
        (directory / f"{name}.fna").write_text("".join(records))


@pytest.fixture
def settings(tmp_path: Path) -> DataSettings:
    write(tmp_path / "data" / "train", virus=4, bacteria=3, fungi=2)
    write(tmp_path / "data" / "val", virus=1, bacteria=1, fungi=1)
    write(tmp_path / "more", virus=2, bacteria=6, mobile=5, erv=3)
    return DataSettings(
        str(tmp_path / "data"), {"virus": 0.5, "bacteria": 0.3, "fungi": 0.1, "mobile": 0.1},
        exclude=("erv",), extra=str(tmp_path / "more"), extra_share={"bacteria": 0.25, "virus": 0.1},
    )  # fmt: skip


def shares(settings: DataSettings) -> dict[tuple[str, str], float]:
    """Return the probability of each class from each directory."""
    mixture = read_mixture(settings)
    assert mixture.weights.sum() == pytest.approx(1)
    found: dict[tuple[str, str], float] = {}
    for name, class_name, weight in zip(
        mixture.genomes.ids, mixture.genomes.classes.tolist(), mixture.weights.tolist(), strict=True
    ):
        key = name.split("_")[0], class_name
        found[key] = found.get(key, 0.0) + weight
    return found


def test_each_class_gets_its_share_from_both(settings):
    expected = {
        ("train", "virus"): 0.45, ("more", "virus"): 0.05, ("train", "bacteria"): 0.225, ("more", "bacteria"): 0.075,
        ("train", "fungi"): 0.1, ("more", "mobile"): 0.1,
    }  # fmt: skip
    assert shares(settings) == pytest.approx(expected)


def test_records_of_both_keep_their_letters(settings):
    genomes = read_mixture(settings).genomes
    assert len(genomes.ids) == 22
    assert all(genomes.piece(i, 0, 300).tobytes() == b"ACGTTGCA" * 37 + b"ACGT" for i in range(22))


def test_merged_classes_are_one(settings):
    merged = replace(
        settings, merge={"mobile": "fungi"}, class_share={"virus": 0.5, "bacteria": 0.3, "fungi": 0.2},
        extra_share={"fungi": 0.5},
    )  # fmt: skip
    expected = {
        ("train", "virus"): 0.5, ("more", "virus"): 0.0, ("train", "bacteria"): 0.3, ("more", "bacteria"): 0.0,
        ("train", "fungi"): 0.1, ("more", "fungi"): 0.1,
    }  # fmt: skip
    assert shares(merged) == pytest.approx(expected)
    assert set(read_split(replace(merged, merge={"fungi": "eukaryote"}), "val").classes.tolist()) == {
        "virus", "bacteria", "eukaryote",
    }  # fmt: skip


def test_one_directory_is_enough(settings):
    alone = replace(settings, extra="", extra_share={}, class_share={"virus": 0.5, "bacteria": 0.5})
    assert shares(alone) == pytest.approx({("train", "virus"): 0.5, ("train", "bacteria"): 0.5, ("train", "fungi"): 0})


def test_what_is_lacking_is_named(settings):
    with pytest.raises(ConfigError, match=r"class_share names 'plant'.*bacteria, fungi, mobile, virus"):
        read_mixture(replace(settings, class_share=settings.class_share | {"plant": 0.1}))
    with pytest.raises(ConfigError, match=r"extra_share names 'fungi', which .*more lacks"):
        read_mixture(replace(settings, extra_share={"fungi": 0.5}))
    with pytest.raises(MissingInputError, match="nowhere"):
        read_mixture(replace(settings, extra=str(Path(settings.extra).parent / "nowhere")))


def test_short_records_give_parts_of_themselves(settings):
    mixture = read_mixture(settings)
    drawn = np.cumsum(mixture.weights)
    _, starts, lengths = mixture.genomes.draw(np.random.default_rng(0), drawn, np.full(500, 400), 0.5)
    assert lengths.min() >= 150
    assert lengths.max() <= 300
    assert 200 < lengths.mean() < 250
    assert (starts > 0).mean() > 0.9
    _, starts, lengths = mixture.genomes.draw(np.random.default_rng(0), drawn, np.full(500, 400))
    assert set(lengths.tolist()) == {300}
    _, _, lengths = mixture.genomes.draw(np.random.default_rng(0), drawn, np.full(500, 200), 0.5)
    assert set(lengths.tolist()) == {200}
