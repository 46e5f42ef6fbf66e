"""Windows of labelled genomes: weights by class and taxon, draws that repeat, letters that are clear."""

import csv
import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from virnucpro.errors import ConfigError, InputError, MissingInputError
from virnucpro.evaluate.genomes import Genomes, read_genomes, sample_windows, write_windows

LENGTHS = {"virus": {"v1": 400, "v2": 100, "v3": 1600}, "bacteria": {"b1": 900, "b2": 2500}, "fungi": {"f1": 700}}
TAXA = """id\tclass\tfamily\tgenus\tgroup
v1\tvirus\tAviridae\tAvirus\t
v2\tvirus\tAviridae\tAvirus\t
v3\tvirus\tBviridae\t\tgroup9
b1\tbacteria\tignored\tBacillus\t
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory of one split; v3 lacks a genus, b2 and f1 are not in the table."""
    letters = random.Random(7)
    (tmp_path / "train").mkdir()
    for name, records in LENGTHS.items():
        text = "".join(f">{k} of {name}\n{''.join(letters.choices('ACGT', k=n))}\n" for k, n in records.items())
        packed = gzip.compress(text.encode())
        path = tmp_path / "train" / (f"{name}.fna.gz" if name == "fungi" else f"{name}.fna")
        path.write_bytes(packed if name == "fungi" else text.encode())
    (tmp_path / "train" / "virus.fna.fai").write_text("v1\t400\t10\t60\t61\n")
    (tmp_path / "records.tsv").write_text(TAXA)
    return tmp_path


def of_letters(**records: bytes) -> Genomes:
    """Genomes of class virus with these records, each a taxon of its own."""
    lengths = np.array([len(sequence) for sequence in records.values()])
    names = np.array(["virus"] * len(records))
    text = np.frombuffer(b"".join(records.values()), dtype=np.uint8)
    return Genomes(text, list(records), np.cumsum(lengths) - lengths, lengths, names, np.array(list(records)))


def test_all_classes_are_read_and_an_index_is_not(data):
    genomes = read_genomes(data, "train")
    assert genomes.ids == ["b1", "b2", "f1", "v1", "v2", "v3"]
    assert genomes.classes.tolist() == ["bacteria"] * 2 + ["fungi"] + ["virus"] * 3
    assert genomes.lengths.tolist() == [900, 2500, 700, 400, 100, 1600]
    assert len(genomes.text) == sum(genomes.lengths)
    assert genomes.piece(4, 3, 5).tobytes() == genomes.text.tobytes()[4503:4508]


def test_genomes_of_rna_are_read_as_dna(data):
    expected = read_genomes(data, "train").text.tobytes()
    virus = data / "train" / "virus.fna"
    head, *rest = virus.read_text().split(">")
    virus.write_text(head + "".join(f">{record.replace('T', 'U').replace('A', 'a')}" for record in rest))
    genomes = read_genomes(data, "train")
    assert genomes.text.tobytes() == expected
    assert len(sample_windows(genomes, 90, {"virus": 9}, seed=1)) == 9


def test_taxa_are_those_of_the_table(data):
    expected = ["bacteria||Bacillus", "bacteria|b2", "fungi|f1"]
    expected += ["virus|Aviridae|Avirus"] * 2 + ["virus|Bviridae|group9"]
    assert read_genomes(data, "train").taxa.tolist() == expected
    (data / "records.tsv").unlink()
    assert read_genomes(data, "train").taxa.tolist()[3:] == ["virus|v1", "virus|v2", "virus|v3"]
    (data / "records.tsv.gz").write_bytes(gzip.compress(TAXA.encode()))
    assert read_genomes(data, "train").taxa.tolist() == expected


def test_classes_can_be_left_out(data):
    assert set(read_genomes(data, "train", ["fungi", "viroid"]).classes.tolist()) == {"bacteria", "virus"}


def test_what_cannot_be_read(data):
    with pytest.raises(MissingInputError, match=r"no CLASS\.fna files"):
        read_genomes(data, "val")
    (data / "val").mkdir()
    (data / "val" / "virus.fna").write_text(">a\n>b\n")
    with pytest.raises(InputError, match="hold no sequence"):
        read_genomes(data, "val")
    (data / "records.tsv").write_text(TAXA.replace("genus", "tribe"))
    with pytest.raises(InputError, match="has no column 'genus'"):
        read_genomes(data, "train")


@pytest.mark.parametrize("temper", [0.0, 0.5, 1.0])
def test_weights_follow_class_share_and_temper(data, temper):
    genomes = read_genomes(data, "train")
    weights = dict(zip(genomes.ids, genomes.weights({"virus": 3.0, "bacteria": 1.0}, temper), strict=True))
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["v1"] + weights["v2"] + weights["v3"] == pytest.approx(0.75)
    assert weights["b1"] + weights["b2"] == pytest.approx(0.25)
    assert weights["f1"] == 0
    # Inside a class by taxon: Avirus has 500 nt, group9 1600; inside a taxon by length.
    assert (weights["v1"] + weights["v2"]) / weights["v3"] == pytest.approx((500 / 1600) ** temper)
    assert weights["v1"] / weights["v2"] == pytest.approx(4)
    assert weights["b1"] / weights["b2"] == pytest.approx((900 / 2500) ** temper)


def test_a_class_without_records_is_refused(data):
    with pytest.raises(ConfigError, match="names 'plant', which the data lack; their classes are bacteria, fungi, vi"):
        read_genomes(data, "train").weights({"virus": 0.5, "plant": 0.5}, 0.5)


def test_draws_repeat_and_lie_inside_their_records(data):
    genomes = read_genomes(data, "train")
    cumulative = np.cumsum(genomes.weights({"virus": 0.5, "bacteria": 0.5}, 0.5))
    wanted = np.random.default_rng(1).integers(50, 1000, 3000)
    records, starts, lengths = genomes.draw(np.random.default_rng(5), cumulative, wanted)
    again = genomes.draw(np.random.default_rng(5), cumulative, wanted)
    assert all((a == b).all() for a, b in zip((records, starts, lengths), again, strict=True))
    other = genomes.draw(np.random.default_rng(6), cumulative, wanted)
    assert (records != other[0]).any()

    assert (starts >= 0).all()
    assert (starts + lengths <= genomes.lengths[records]).all()
    assert (lengths == np.minimum(wanted, genomes.lengths[records])).all()
    # Within 4 standard deviations of a share of one half: 4 * sqrt(0.25 / 3000).
    assert np.mean(genomes.classes[records] == "virus") == pytest.approx(0.5, abs=0.037)
    assert set(genomes.classes[records]) == {"virus", "bacteria"}


def test_every_window_of_a_record_can_be_drawn():
    _, starts, _ = of_letters(a=b"ACGT" * 3).draw(np.random.default_rng(0), np.array([1.0]), np.full(100, 9))
    assert set(starts.tolist()) == {0, 1, 2, 3}


def test_ambiguous_windows_are_drawn_anew():
    genomes = of_letters(a=b"N" * 300 + b"ACGT" * 25, b=b"N" * 500)
    cumulative = np.cumsum(genomes.weights({"virus": 1.0}, 1.0))
    records, starts, _ = genomes.draw(np.random.default_rng(0), cumulative, np.full(20, 50))
    assert (records == 0).all()
    assert (starts >= 295).all()  # at most 5 of 50 letters are N
    with pytest.raises(InputError, match="no windows can be drawn"):
        of_letters(a=b"NNNRY" * 20).draw(np.random.default_rng(0), np.array([1.0]), np.array([50]))


def test_samples_are_those_of_the_seed(data):
    genomes = read_genomes(data, "train")
    windows = sample_windows(genomes, 120, {"virus": 20, "bacteria": 5, "fungi": 0}, seed=3)
    assert [window.class_name for window in windows] == ["bacteria"] * 5 + ["virus"] * 20
    for window in windows:
        record = genomes.ids.index(window.record_id)
        assert window.taxon == genomes.taxa[record]
        assert window.sequence == genomes.piece(record, window.start, len(window.sequence)).tobytes()
        assert len(window.sequence) == min(120, LENGTHS[window.class_name][window.record_id])
    assert windows == sample_windows(genomes, 120, {"virus": 20, "bacteria": 5}, seed=3)
    assert windows != sample_windows(genomes, 120, {"virus": 20, "bacteria": 5}, seed=4)
    # A class is drawn by itself: another one's number does not move it.
    assert windows[5:] == sample_windows(genomes, 120, {"virus": 20, "bacteria": 9}, seed=3)[9:]


def test_windows_are_written_with_their_truth(data, tmp_path):
    windows = sample_windows(read_genomes(data, "train"), 90, {"virus": 2, "fungi": 1}, seed=0)
    write_windows(windows, tmp_path)
    with (tmp_path / "truth.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["seq_name"] for row in rows] == ["window_1", "window_2", "window_3"]
    assert [(r["class"], r["taxon"], r["record"], int(r["start"]), int(r["length"])) for r in rows] == [
        (w.class_name, w.taxon, w.record_id, w.start, len(w.sequence)) for w in windows
    ]
    lines = (tmp_path / "windows.fa").read_text().splitlines()
    assert lines[0::2] == [">window_1", ">window_2", ">window_3"]
    assert [line.encode() for line in lines[1::2]] == [w.sequence for w in windows]
