"""A tiny random model on disk, an input of many small units, and the command line to run on them."""

import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.files import fasta
from support.models import make_model, write_model
from support.processes import ended, kill, wait_for

TABLES = ("records.tsv", "chunks.tsv", "frames.tsv", "viral.fasta")
REPORTS = ("report.html", "virnucpro_mqc.json", "virnucpro_composition_mqc.json")


def make_records(number: int, seed: int = 5) -> list[tuple[str, str]]:
    """Return headers and sequences; some records are empty, short or full of N, and ids repeat."""
    letters = random.Random(seed)
    records = []
    for i in range(number):
        alphabet = letters.choice(["ACGT", "ACGT", "ACG", "N"])
        sequence = "".join(letters.choices(alphabet, k=letters.choice([0, 10, 80, 150, 150, 320])))
        records.append((f"read_{i % 97} number {i}", sequence))
    return records


def tables(directory: Path) -> dict[str, bytes]:
    """Return the bytes of all tables of a run."""
    return {name: (directory / name).read_bytes() for name in TABLES}


def reports(directory: Path) -> dict[str, bytes]:
    """Return the bytes of what is made of the tables."""
    return {name: (directory / name).read_bytes() for name in REPORTS}


def units_of(directory: Path) -> list[Path]:
    """Return the unit files of a directory."""
    return sorted((directory / "units").glob("unit_*"))


@dataclass
class Lab:
    """An input, a model, and what an unbroken run makes of them; `unit` is the size of its units."""

    folder: Path
    model: Path
    input: Path
    expected: dict[str, bytes]
    unit: int = 4
    n_units: int = 75

    # So that a test needs the fixture alone.
    tables = staticmethod(tables)
    reports = staticmethod(reports)
    fasta = staticmethod(fasta)
    make_model = staticmethod(make_model)
    make_records = staticmethod(make_records)
    write_model = staticmethod(write_model)
    units_of = staticmethod(units_of)
    wait_for = staticmethod(wait_for)
    ended = staticmethod(ended)
    kill = staticmethod(kill)

    def arguments(self, output: Path, *more: object, source: object = None) -> list[str]:
        given = [
            "predict",
            source or self.input,
            "-o",
            output,
            "--model",
            self.model,
            "-t",
            1,
            "--unit-records",
            self.unit,
            "--precision",
            "fp32",
        ]
        return [str(argument) for argument in (*given, *more)]  # of an option given twice, the later counts

    def start(self, output: Path, *more: object, source: object = None, **keywords) -> subprocess.Popen:
        """Start the installed entry point."""
        command = [Path(sys.executable).with_name("virnucpro"), *self.arguments(output, *more, source=source)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)

    def start_on_part(self, output: Path, *more: object, share: float = 0.5) -> subprocess.Popen:
        """Start on a part of the input, on stdin that stays open: it waits for the rest, however slow the test is."""
        process, text = self.start(output, *more, source="-", stdin=subprocess.PIPE), self.input.read_bytes()
        process.stdin.write(text[: int(share * len(text))])
        process.stdin.flush()
        return process


def make_lab(folder: Path) -> Lab:
    """Write a model and an input, and run the local engine on them."""
    model = write_model(make_model(), folder / "model")
    (folder / "soil.fa").write_text(fasta(make_records(300)))
    made = Lab(folder, model, folder / "soil.fa", {})
    code, err = ended(made.start(folder / "unbroken"))
    assert code == 0, err
    made.expected = tables(folder / "unbroken")
    assert {path.name for path in (folder / "unbroken").iterdir()} == {*TABLES, *REPORTS, "run.json"}
    return made
