"""From calls to the rows, hits and counts of a unit by plain loops over objects: what the array code must give."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from virnucpro.run.tables import BLANK_FDR, NO_EVIDENCE
from virnucpro.run.tally import Tally
from virnucpro.types import Call, Record, RecordResult


def sections(results: Sequence[RecordResult], legacy: bool = False) -> list[bytes]:
    """Return what records add to each table: records, chunks, frames, hits as FASTA and as FASTQ, legacy lines."""
    records, chunks, frames, lines = [], [], [], []
    mates = len(results[0].record.parts)
    hits: list[list[Record]] = [[] for _ in range(mates)]
    for result in results:
        call, name = result.call, result.record.id
        fdr = "NA" if call.log_ratio is None else BLANK_FDR.decode()
        records.append((name, call.length, call.n_chunks, call.n_frames, *verdict(call), fdr, *ending(call)))
        for own in result.chunks:
            place = own.call.id, name, own.start, own.end, own.call.n_frames
            chunks.append((*place, *verdict(own.call), *ending(own.call)))
            for p in own.predictions:
                scores = [f"{value:.4f}" for value in (p.score_other, p.score_virus, p.weight)]
                frames.append((p.frame_id, own.call.id, "+" if p.strand > 0 else "-", p.offset, p.aa_length, *scores))
                other, virus = np.float32(p.score_other), np.float32(p.score_virus)
                lines.append((p.frame_id, "virus" if virus > other else "others", other, virus))
        for mate, part in enumerate(result.record.parts if call.is_virus else ()):
            hits[mate].append(part)
    written = [joined(records), joined(chunks), joined(frames)]
    written += [b"".join(fasta(part) for part in parts) for parts in hits]
    written += [b"".join(fastq(part) for part in parts if part.quality) for parts in hits]
    return [*written, joined(lines)] if legacy else written


def verdict(call: Call) -> tuple[str, str]:
    if call.virus_score is None:
        return "NA", "NA"
    return "virus" if call.is_virus else "other", f"{call.virus_score:.4f}"


def ending(call: Call) -> tuple[str, str, str]:
    return call.best_frame or "NA", str(call.status), call.reason or "NA"


def joined(rows: Sequence[Sequence[object]]) -> bytes:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode(errors="surrogateescape")


def header(part: Record) -> bytes:
    blank = " " * bool(part.description.rstrip(" "))
    return (part.id + blank + part.description.rstrip(" ")).encode(errors="surrogateescape")


def fasta(part: Record) -> bytes:
    return b">%b\n%b" % (header(part), wrapped(part.sequence))


def wrapped(sequence: bytes) -> bytes:
    return b"".join(sequence[i : i + 60] + b"\n" for i in range(0, len(sequence), 60))


def fastq(part: Record) -> bytes:
    return b"@%b\n%b\n+\n%b\n" % (header(part), part.sequence, part.quality)


def evidence(call: Call) -> int | None:
    """Return the evidence of a call in steps of 0.01, None where it has none."""
    return None if call.log_ratio is None else max(-3000, min(3000, round(call.log_ratio * 100)))


def evidence_section(results: Sequence[RecordResult]) -> list[int]:
    steps = [evidence(result.call) for result in results]
    return [NO_EVIDENCE if step is None else step for step in steps]


def tally(results: Sequence[RecordResult]) -> Tally:
    """Count records one by one."""
    calls = [result.call for result in results]
    return Tally(
        Counter(str(call.status) for call in calls),
        sum(bool(call.is_virus) for call in calls),
        sum(call.n_chunks for call in calls),
        sum(call.n_frames for call in calls),
        sum(call.length for call in calls),
        sum(result.letters.ambiguous > 0 for result in results),
        sum(result.letters.trimmed > 0 for result in results),
        Counter(step for call in calls if (step := evidence(call)) is not None),
    )
