"""From calls to the rows, hits and counts of a unit by plain loops over objects: what the array code must give."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from virnucpro.run.tables import BLANK
from virnucpro.run.tally import Tally
from virnucpro.scores.composition import FLOOR
from virnucpro.scores.decision import Decision
from virnucpro.scores.evidence import NO_EVIDENCE
from virnucpro.types import Call, Record, RecordResult

Evidence = Sequence[tuple[list[float] | None, int]]  # against each host class, and the judged length


def sections(
    results: Sequence[RecordResult], evidence: Evidence, decision: Decision, legacy: bool = False
) -> list[bytes]:
    """Return what records add to each table: records, chunks, frames, hits as FASTA and as FASTQ, legacy lines."""
    records, chunks, frames, lines = [], [], [], []
    mates = len(results[0].record.parts)
    hits: list[list[Record]] = [[] for _ in range(mates)]
    for result, (ratios, _) in zip(results, evidence, strict=True):
        call, name = result.call, result.record.id
        of_sample = ["NA" if call.log_ratio is None else BLANK.decode()] * 3
        sizes = name, call.length, call.n_chunks, call.n_frames
        records.append((*sizes, *verdict(call), *of_sample, host_class(ratios, decision), *ending(call)))
        for own in result.chunks:
            place = own.call.id, name, own.start, own.end, own.call.n_frames
            chunks.append((*place, *verdict(own.call), *ending(own.call)))
            for p in own.predictions:
                scores = [f"{value:.4f}" for value in (p.score_other, p.score_virus, p.weight)]
                frames.append((p.frame_id, own.call.id, "+" if p.strand > 0 else "-", p.offset, p.aa_length, *scores))
                other, virus = np.float32(p.score_other), np.float32(p.score_virus)
                lines.append((p.frame_id, "virus" if virus > other else "others", other, virus))
        for mate, part in enumerate(result.record.parts if is_hit(call, ratios, decision) else ()):
            hits[mate].append(part)
    written = [joined(records), joined(chunks), joined(frames)]
    written += [b"".join(fasta(part) for part in parts) for parts in hits]
    fastqs = [[any(mate.quality for mate in record) for record in zip(*hits, strict=True)]] * mates
    written += [
        b"".join(fastq(part) for part, is_fastq in zip(parts, flags, strict=True) if is_fastq)
        for parts, flags in zip(hits, fastqs, strict=True)
    ]
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


def host_class(ratios: list[float] | None, decision: Decision) -> str:
    """Return the most likely host class under the default composition."""
    if ratios is None or not decision.hosts:
        return "NA"
    likely = [math.log(share) - ratio for share, ratio in zip(decision.calibration.shares, ratios, strict=True)]
    return decision.hosts[likely.index(max(likely))]


def is_hit(call: Call, ratios: list[float] | None, decision: Decision) -> bool:
    """Return whether a record is a hit, or may become one under some composition of the sample, or is kept anyway."""
    if decision.keep_all:
        return True
    if not decision.by_sample:
        return bool(call.is_virus)
    if ratios is None:
        return False
    if decision.max_fdr is not None:
        return True
    best = (1 - FLOOR) * math.exp(-max(ratios)) + FLOOR * math.exp(-call.log_ratio)
    return -math.log(best) >= -0.02


def evidence_section(evidence: Evidence, results: Sequence[RecordResult], decision: Decision) -> list[tuple]:
    """Return the evidence of records: steps of 0.01 for each host class, judged length, bytes in each file of hits."""
    rows = []
    for (ratios, length), result in zip(evidence, results, strict=True):
        steps = [NO_EVIDENCE] * max(1, decision.n_hosts)
        if ratios is not None:
            steps = [step(ratio) for ratio in ratios]
        row = (steps, length)
        if decision.by_sample or decision.keep_all:
            parts = result.record.parts
            written = [*map(fasta, parts), *(fastq(part) if any(p.quality for p in parts) else b"" for part in parts)]
            hit = is_hit(result.call, ratios, decision)
            row = (*row, [len(text) if hit else 0 for text in written])
        rows.append(row)
    return rows


def step(ratio: float) -> int:
    """Return a log likelihood ratio in steps of 0.01."""
    return max(-3000, min(3000, round(ratio * 100)))


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
    )
