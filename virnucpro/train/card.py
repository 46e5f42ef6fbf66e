"""What a calibration does, as the tables of a model card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from virnucpro.scores.calibration import PRESETS, Calibration, probability


def card_tables(calibration: Calibration, figures: dict[str, Any]) -> str:
    """Return presets, calibration errors, pairs and adapters as Markdown; `figures` are those of `calibrate`."""
    lengths = list(figures["held_out_calibration_error"])
    errors = [["calibration error", *figures["held_out_calibration_error"].values()]]
    adapters = [[name, *(_percent(figures["adapters_called"][n][name]) for n in lengths)] for name in PRESETS]
    return "\n\n".join((
        _table("length, nt", ("score", "recall", "host", "shuffled"), _preset_rows(calibration)),
        "Expected calibration error at a prior of 0.5, on each half of the taxa by a fit to the other half:",
        _markdown(["length, nt", *lengths], errors),
        "Pairs (`--paired`) of two adjacent mates:",
        _table("mates, nt", ("recall", "host"), _pair_rows(figures["pairs"]), "calibration error"),
        "Share of concatenated Illumina adapters called virus, from 300 sequences at each length:",
        _markdown(["length, nt", *lengths], adapters),
    ))  # fmt: skip


def _preset_rows(calibration: Calibration) -> Iterable[list[object]]:
    for points in zip(*calibration.presets.values(), strict=True):
        row: list[object] = [points[0].length]
        for point in points:
            row.append(f"{float(probability(point.log_ratio, calibration.prevalence)):.3f}")
            row += map(_percent, (point.recall, point.false_positive_rate, point.shuffled))
        yield row


def _pair_rows(pairs: dict[str, Any]) -> Iterable[list[object]]:
    for mates, figures in pairs.items():
        rates = [_percent(figures[name][what]) for name in PRESETS for what in ("recall", "false_positive_rate")]
        yield [mates, figures["calibration_error"], *rates]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _table(first: str, columns: Sequence[str], rows: Iterable[list[object]], *more: str) -> str:
    """Return a table with these columns for each preset."""
    return _markdown([first, *more, *(f"{name}: {column}" for name in PRESETS for column in columns)], rows)


def _markdown(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows))
