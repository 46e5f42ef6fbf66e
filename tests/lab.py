"""A tiny random model on disk, an input of many small units, and the command line to run on them."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from virnucpro.config import FrameRule
from virnucpro.pretrained.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.pretrained.registry import Model, build_model, save_weights

TABLES = ("records.tsv", "chunks.tsv", "frames.tsv", "viral.fasta")
REPORTS = ("report.html", "virnucpro_mqc.json")


def make_model(seed: int = 0) -> Model:
    """Return a model of random weights, small enough that a unit takes milliseconds."""
    torch.manual_seed(seed)
    shape = {"layers": 1, "width": 16, "heads": 2, "token_dropout": False}
    description = ModelDescription(
        name="tiny",
        chunk_length=100,
        min_length=20,
        frame_rule=FrameRule("longest_segments", segments=2, min_aa=5),
        nucleotide=EncoderDescription("esm2", {**shape, "vocabulary": 69, "mask_token": 68}, "kmer-3", 1, 1),
        protein=EncoderDescription("esm2", shape, "esm2", 1, 1, limit=1024),
        classifier=ClassifierDescription("gated", 34, 8),
        vote="weighted",
    )
    return build_model(description, directory=Path())


def write_model(model: Model, directory: Path) -> Path:
    """Write a model directory as training does."""
    directory.mkdir(parents=True)
    description = replace(model.description, checksums=save_weights(model, directory))
    description.write_json(directory / "model.json")
    return directory


def make_records(number: int, seed: int = 5) -> list[tuple[str, str]]:
    """Return headers and sequences; some records are empty, short or full of N, and ids repeat."""
    letters = random.Random(seed)
    records = []
    for i in range(number):
        alphabet = letters.choice(["ACGT", "ACGT", "ACG", "N"])
        sequence = "".join(letters.choices(alphabet, k=letters.choice([0, 10, 80, 150, 150, 320])))
        records.append((f"read_{i % 97} number {i}", sequence))
    return records


def fasta(records: list[tuple[str, str]]) -> str:
    return "".join(f">{header}\n{sequence}\n" for header, sequence in records)


def tables(directory: Path) -> dict[str, bytes]:
    """Return the bytes of all tables of a run."""
    return {name: (directory / name).read_bytes() for name in TABLES}


def reports(directory: Path) -> dict[str, bytes]:
    """Return the bytes of what is made of the tables."""
    return {name: (directory / name).read_bytes() for name in REPORTS}


def units_of(directory: Path) -> list[Path]:
    """Return the unit files of a directory."""
    return sorted((directory / "units").glob("unit_*"))


def wait_for(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 120) -> None:
    """Wait until the condition holds or the process has ended."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.001)


def ended(process: subprocess.Popen, seconds: float = 120) -> tuple[int, str]:
    """Return the exit code and what was said on stderr, without a traceback, of a process that is to end."""
    try:
        _, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert b"Traceback" not in err, err.decode()
    return process.returncode, err.decode()


def kill(process: subprocess.Popen) -> None:
    """Kill a process that is still at work."""
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


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
    (folder / "input.fa").write_text(fasta(make_records(300)))
    made = Lab(folder, model, folder / "input.fa", {})
    code, err = ended(made.start(folder / "unbroken"))
    assert code == 0, err
    made.expected = tables(folder / "unbroken")
    assert {path.name for path in (folder / "unbroken").iterdir()} == {*TABLES, *REPORTS, "run.json"}
    return made
