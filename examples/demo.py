"""Say what `make demo` found: python examples/demo.py RUN, the output directory of `predict` on the examples."""

import csv
import sys
import textwrap
from pathlib import Path

from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.locations import find_directory, read_description
from virnucpro.scores.calibration import probability

READ = 150  # bp; the other records have 500 or more
ROW = "{:<29}{:>7}  {:<11}{:>11}{:>8}"
WHY = (
    "Why are some reads of lambda not called virus? A read of {read} bp holds at most {aa} amino acids, too few to "
    "tell most viruses from hosts. The preset `balanced` lets {fpr:.0%} of hosts pass (mean over host classes). So at "
    "{read} bp it asks for a score of {score:.2f}, which {short:.0%} of viruses reach; at {length} bp {long:.0%} do. "
    "What helps: assembled contigs, pairs (--paired: one call for both mates), or --preset sensitive, with more errors."
)


def main(run: Path) -> None:
    """Print counts by origin and length, five rows, and the reason for what looks odd."""
    with (run / "records.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    print(f"{'called virus':24}  phage lambda       E. coli")
    for name, is_read in (("records, 500 to 1500 bp", False), (f"reads, {READ} bp", True)):
        cells = [name.ljust(24)]
        for origin in ("lambda", "ecoli"):
            own = group(rows, origin, is_read)
            cells.append(f"{sum(row['prediction'] == 'virus' for row in own)} of {len(own)}".rjust(11))
        print("   ".join(cells))
    print(f"\nFive rows of {run}/records.tsv")
    columns = ("seq_name", "length", "prediction", "virus_score", "fdr")
    print(ROW.format(*columns))
    for row in five(rows):
        print(ROW.format(*(row[column] for column in columns)))
    print(f"\n{why()}")


def group(rows: list[dict[str, str]], origin: str, is_read: bool) -> list[dict[str, str]]:
    """Return the records or the reads of a genome."""
    return [row for row in rows if row["seq_name"].startswith(origin) and (int(row["length"]) == READ) is is_read]


def five(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return one row of each kind; a kind without a row is left out."""
    kinds = (
        ("lambda", False, "virus"), ("ecoli", False, "other"), ("lambda", True, "virus"), ("lambda", True, "other"),
        ("ecoli", True, "other"),
    )  # fmt: skip
    found = ([r for r in group(rows, origin, read) if r["prediction"] == call] for origin, read, call in kinds)
    return [own[0] for own in found if own]


def why() -> str:
    """Return why short reads are hard, with the figures of the bundled model's calibration."""
    described = read_description(find_directory("bundled"))
    assert isinstance(described, ModelDescription)
    assert described.calibration is not None
    points = {point.length: point for point in described.calibration.presets["balanced"]}
    read, chunk = points[READ], points[described.chunk_length]
    words = WHY.format(
        read=READ, aa=READ // 3, fpr=read.false_positive_rate, score=probability(read.log_ratio, 0.5),
        short=read.recall, long=chunk.recall, length=chunk.length,
    )  # fmt: skip
    return textwrap.fill(words, 80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
