"""What the bundled model's scores promise, through the command line, and what its card states."""

import csv
from pathlib import Path

import numpy as np
import pytest

from virnucpro.cli.main import main
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.locations import BUNDLED
from virnucpro.seq import read_records
from virnucpro.seq.frame_table import reverse_complement
from virnucpro.seq.screen import repetitions
from virnucpro.seq.strings import Strings
from virnucpro.train.card import card_tables
from virnucpro.train.shuffle import adapters, shuffle_dinucleotides

ROOT = Path(__file__).parents[2]
EXAMPLES = [ROOT / "examples" / name for name in ("lambda.fa", "ecoli.fa.gz")]
VECTOR = Path(__file__).with_name("pUC19.fa")  # GenBank L09137, the part from the end of bla into the origin
MOST = 0.05  # of what is no virus, the share that `balanced` may call


@pytest.fixture
def predict(tmp_path, capfd):
    """Run `predict` in this process; return the rows of records.tsv."""

    def run(*arguments: object) -> list[dict[str, str]]:
        output = tmp_path / f"run_{len(list(tmp_path.iterdir()))}"
        with pytest.raises(SystemExit) as end:
            main(["predict", "-o", str(output), *map(str, arguments)])
        assert not end.value.code, capfd.readouterr().err
        with (output / "records.tsv").open() as file:
            return list(csv.DictReader(file, delimiter="\t"))

    return run


def fasta(path: Path, sequences: list[bytes]) -> Path:
    path.write_text("".join(f">{i}\n{s.decode()}\n" for i, s in enumerate(sequences)))
    return path


def viral(rows: list[dict[str, str]]) -> set[str]:
    return {row["seq_name"] for row in rows if row["prediction"] == "virus"}


def test_a_stricter_preset_calls_a_part_of_what_a_laxer_one_calls(predict):
    strict, balanced, sensitive = (
        predict(*EXAMPLES, *asked) for asked in (["--preset", "strict"], [], ["--preset", "sensitive"])
    )
    assert viral(strict) < viral(balanced) <= viral(sensitive)
    for rows in (strict, sensitive):  # nothing but the calls differs
        of_call = {"prediction": "", "confidence": ""}
        assert [row | of_call for row in rows] == [row | of_call for row in balanced]


def test_simple_repeats_have_no_score(predict, tmp_path):
    rng = np.random.default_rng(0)
    units = [rng.choice(list(b"ACGT"), size).tolist() for size in range(1, 7) for _ in range(8)]
    repeats = [(bytes(unit) * 300)[: int(rng.integers(75, 300))] for unit in units]
    rows = predict(fasta(tmp_path / "repeats.fa", repeats))
    assert {(row["prediction"], row["virus_score"], row["status"]) for row in rows} == {("NA", "NA", "low_complexity")}


def windows(length: int, step: int) -> list[bytes]:
    """Return windows of the vector, on either strand in turn."""
    [vector] = read_records([VECTOR])
    cut = [vector.sequence[i : i + length] for i in range(0, len(vector.sequence) - length, step)]
    return [reverse_complement(s) if i % 2 else s for i, s in enumerate(cut)]


def shuffled(length: int) -> list[bytes]:
    rng = np.random.default_rng(1)
    genomes = [record.sequence for record in read_records(EXAMPLES)]
    pieces = [s[i : i + length] for s in genomes for i in range(0, len(s) - length + 1, 200)]
    return [shuffle_dinucleotides(np.frombuffer(s, np.uint8), rng).tobytes() for s in pieces]


def adapter_dimers(length: int) -> list[bytes]:
    rng = np.random.default_rng(2)
    return [adapters(length, rng).tobytes() for _ in range(100)]


@pytest.mark.parametrize(
    "sequences",
    [windows(150, 25), windows(300, 25), shuffled(150), shuffled(300), adapter_dimers(75), adapter_dimers(150)],
    ids=["vector-150", "vector-300", "shuffled-150", "shuffled-300", "adapters-75", "adapters-150"],
)
def test_what_no_organism_has_is_not_called_virus(predict, tmp_path, sequences):
    assert len(sequences) > 60
    assert repetitions(Strings.of(sequences)).max() < 0.15  # the network judges, not the screen
    rows = predict(fasta(tmp_path / "made.fa", sequences))
    assert {row["status"] for row in rows} == {"ok"}
    assert len(viral(rows)) <= MOST * len(rows)


def test_the_model_card_states_what_the_model_holds():
    described = ModelDescription.from_json(BUNDLED / "model.json")
    card = (ROOT / "docs" / "model-card.md").read_text()
    tables = card_tables(described.calibration, described.metrics["calibration"])
    assert tables in card, "put what `virnucpro calibrate` printed into the model card"


def test_the_model_of_host_classes_tells_a_phage_from_a_bacterium(predict):
    phage, bacterium = ([float(row["virus_score"]) for row in predict(path, "--device", "cpu")] for path in EXAMPLES)
    assert min(len(phage), len(bacterium)) == 12
    assert np.median(phage) > 0.8 > 0.3 > np.median(bacterium)
    description = ModelDescription.from_json(BUNDLED / "model.json")
    assert description.classes[-1] == "virus"
    assert len(description.classes) == 11
