"""A tiny calibrated model of three host classes, with a reference of drawn evidence."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from support.models import make_model
from virnucpro import Options, Predictor
from virnucpro.pretrained.description import VIRUS
from virnucpro.pretrained.registry import save_weights
from virnucpro.scores.calibration import PRESETS, Calibration, Knot, OperatingPoint
from virnucpro.scores.evidence import evidence_steps
from virnucpro.scores.reference import REFERENCE_FILE, Reference, Windows
from virnucpro.seq.block import RecordBlock
from virnucpro.types import Record

HOSTS = ("bacteria", "fungi", "plant")
SHARES = (0.5, 0.25, 0.25)
LENGTHS = (50, 400)


def make_reference(seed: int = 0, number: int = 200) -> Reference:
    """Return a reference of normal evidence: against the own host class about -2, against others 0, of virus 2."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(np.arange(4, dtype=np.uint8), number)
    means = np.where(classes[:, None] == 3, 2.0, -2.0 * (classes[:, None] == np.arange(3)))
    taxa = (classes * 10 + np.arange(len(classes)) % 10).astype(np.int32)
    windows = {n: Windows(evidence_steps(rng.normal(means, 1.5)), classes, taxa) for n in LENGTHS}
    return Reference(HOSTS, np.array(SHARES), windows)


def write_hosts_model(directory: Path, records: Iterable[Record]) -> Path:
    """Write a model whose evidence for these records is spread as that of the reference."""
    made = make_model(classes=(*HOSTS, VIRUS))
    points = tuple(OperatingPoint(length, 0.5, 0.5, 0.05) for length in LENGTHS)

    def described(slopes: np.ndarray, intercepts: np.ndarray) -> Calibration:
        knot = Knot(50, tuple(slopes.tolist()), tuple(intercepts.tolist()), 0.5)
        return Calibration(0.5, (knot,), dict.fromkeys(PRESETS, points), SHARES)

    plain = replace(
        made.description, calibration=described(np.ones(3), np.zeros(3)), checksums={REFERENCE_FILE: "0" * 64}
    )
    predictor = Predictor(replace(made, description=plain), Options(device="cpu", threads=1))
    outputs = predictor.call(RecordBlock.of(list(records))).chunk.ratios
    outputs = outputs[~np.isnan(outputs).any(axis=1)]
    slopes = 2.0 / outputs.std(axis=0)
    directory.mkdir(parents=True)
    make_reference().write(directory / REFERENCE_FILE)
    calibrated = replace(plain, calibration=described(slopes, -slopes * outputs.mean(axis=0)))
    description = replace(calibrated, checksums=save_weights(replace(made, description=calibrated), directory))
    description.write_json(directory / "model.json")
    return directory
