"""Directories of runs, made without a model: tables of any size in the format of `predict`."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

CHUNK = 500
LANES = [(strand, offset) for strand in "+-" for offset in range(3)]
REASONS = {"too_short": "40 nt, needs 75", "empty": "the record has no sequence"}


def write_run(
    directory: Path,
    records: list[tuple[str, int, float | None]],
    fdr: float | Sequence[float] | None = None,
    paired: bool = False,
    source: str = "/data/reads.fq.gz",
    columns: Mapping[str, Sequence[object]] | None = None,
    sequences: bool = False,
    sample: str | None = "reads",
) -> Path:
    """Write the files of a run of records (id, nt, score; None: too short or empty), with the column `fdr` if given.

    If `paired`, they are pairs of reads of `CHUNK` nt. `fdr` is that of all records or of each, `source` the path of
    the input and `sample` the name in run.json, if any. `columns` are more columns of records.tsv, by name, each with a
    value for each record. With `sequences`, the hits are in viral.fasta, or in viral_1.fasta and viral_2.fasta.
    """
    more = dict(columns or {})
    directory.mkdir(parents=True)
    lines: dict[str, list[str]] = {"records": [], "chunks": [], "frames": []}
    counts: dict[str, int] = {"ok": 0, "too_short": 0, "empty": 0}
    viral = 0
    for place, (name, length, score) in enumerate(records):
        extra = [f"{fdr if isinstance(fdr, float) else fdr[place]:.4f}"] if fdr is not None else []
        values = [str(column[place]) for column in more.values()]
        status = "ok" if score is not None else "too_short" if length else "empty"
        counts[status] += 1
        if score is None:
            row = [name, length, 0, 0, "NA", "NA", *values, *["NA" for _ in extra], "NA", status, REASONS[status]]
            lines["records"].append("\t".join(map(str, row)))
            continue
        call = "virus" if score >= 0.5 else "other"
        viral += call == "virus"
        starts = range(0, length, CHUNK)
        shown = [f"{score:.4f}", *values, *extra]
        row = [name, length, len(starts), 2 * len(starts), call, *shown, f"{name}_chunk_1F1", "ok", "NA"]
        lines["records"].append("\t".join(map(str, row)))
        for number, start in enumerate(starts, start=1):
            chunk, end = f"{name}_chunk_{number}", min(start + CHUNK, length)
            start, end = (0, end - start) if paired else (start, end)
            lines["chunks"].append(f"{chunk}\t{name}\t{start}\t{end}\t2\t{call}\t{score:.4f}\t{chunk}F1\tok\tNA")
            for (strand, offset), value in ((LANES[0], score), (LANES[3 + number % 3], 1 - score)):
                frame = f"{chunk}{'F' if strand == '+' else 'R'}{offset + 1}"
                lines["frames"].append(
                    f"{frame}\t{chunk}\t{strand}\t{offset}\t{(end - start) // 3}\t{1 - value:.4f}\t{value:.4f}\t0.5000"
                )
    extra = ["fdr"] if fdr is not None else []
    verdict = ["prediction", "virus_score", "best_frame", "status", "reason"]
    heads = {
        "records": ["seq_name", "length", "n_chunks", "n_frames", *verdict[:2], *more, *extra, *verdict[2:]],
        "chunks": ["chunk", "seq_name", "start", "end", "n_frames", *verdict],
        "frames": ["frame", "chunk", "strand", "offset", "aa_length", "score_other", "score_virus", "weight"],
    }
    for name, rows in lines.items():
        text = "".join(f"{line}\n" for line in ("\t".join(heads[name]), *rows))
        (directory / f"{name}.tsv").write_text(text, encoding="utf-8", errors="surrogateescape")
    if sequences:
        for name, mate in (("viral_1", "/1"), ("viral_2", "/2")) if paired else (("viral", ""),):
            hits = (
                f">{one}{mate} of a test\n{fragment(nt // 2 if paired else nt)}"
                for one, nt, score in records
                if (score or 0) >= 0.5
            )
            (directory / f"{name}.fasta").write_text("".join(hits), encoding="utf-8", errors="surrogateescape")
    calibrated = {"preset": "balanced", "prevalence": 0.5, "min_score": None} if fdr is not None else {"min_score": 0.5}
    manifest = {
        "status": "complete", "virnucpro": "0.1.0",
        "command": ["virnucpro", "predict", "/data/reads.fq.gz", "-o", "out"],
        **({"sample": sample} if sample else {}),
        "inputs": [{"path": source, "bytes": 1234, "sha256_of_ends": "ab" * 32}],
        "model": {"name": "tiny", "chunk_length": CHUNK, "checksums": {"classifier.safetensors": "cd" * 32}},
        "options": {"device": "cpu", "precision": "fp32", "min_length": 75, **calibrated},
        "attention": {"nucleotide": "sdpa", "protein": "sdpa"},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "fingerprint": {"--paired": paired},
        "counts": {
            "records": len(records), "viral": viral, "chunks": len(lines["chunks"]), "frames": len(lines["frames"]),
            "bases": sum(length for _, length, _ in records), "ambiguous": 0, "trimmed": 0, "status": counts,
        },
        "units": {"all": 1, "kept": 0}, "recovered": {}, "seconds": {},
        **({"prevalence": 0.125} if fdr is not None else {}),
    }  # fmt: skip
    (directory / "run.json").write_text(json.dumps(manifest))
    return directory


def fragment(length: int) -> str:
    """Return a sequence of this length in lines of 60, the same each time."""
    letters = ("ACGGT" * (length // 5 + 1))[:length]
    return "".join(f"{letters[i : i + 60]}\n" for i in range(0, length, 60))


def random_records(number: int, seed: int = 1) -> list[tuple[str, int, float | None]]:
    """Return records of reads and contigs, some of which cannot be called."""
    letters = random.Random(seed)
    made: list[tuple[str, int, float | None]] = []
    for i in range(number):
        length = letters.choice((0, 40, 100, 150, 150, 250, 400, 700, 1500)) if i % 1000 else 30_000
        score = None if length < 75 else min(max(letters.betavariate(0.6, 0.9), 0.0), 1.0)
        made.append((f"read_{i}", length, score))
    return made
