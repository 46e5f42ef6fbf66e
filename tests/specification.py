"""From records to chunks to frames by plain loops over objects: what the array code must give."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from specified_letters import ambiguous, leave_out, pieces_of, resolve
from specified_types import Chunk, Frame

from virnucpro.config import FrameRule
from virnucpro.seq import Limits
from virnucpro.types import Record, Status

AMINO = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODE = {a + b + c: AMINO[16 * i + 4 * j + k] for i, a in enumerate("TCAG") for j, b in enumerate("TCAG")
        for k, c in enumerate("TCAG")}  # fmt: skip


def spans(length: int, chunk_length: int) -> list[tuple[int, int]]:
    """Return the chunks of a record as the published tool counts them, list of steps and all."""
    n = math.ceil(length / chunk_length)
    excess = n * chunk_length - length
    q = excess // n if n else 0
    need = excess - q * (n - 1)
    steps = [q + 1] * need + [q] * (n - 1 - need)
    starts = [i * chunk_length - sum(steps[:i]) for i in range(n)]
    return [(start, min(start + chunk_length, length)) for start in starts]


def screened_chunks(record: Record, limits: Limits) -> Iterator[tuple[Chunk | None, Status, str]]:
    """Yield every chunk of a record with its status and the reason; one item without a chunk if it is not cut."""
    longest = max(len(part.sequence) for part in record.parts)
    if longest == 0:
        yield None, Status.EMPTY, "the record has no sequence"
    elif longest < limits.min_length:
        yield None, Status.TOO_SHORT, f"{longest} nt, needs {limits.min_length}"
    else:
        chunks = [chunk for part in record.parts for chunk in chunks_of_part(part.sequence.decode(), limits)]
        for number, (start, end, letters, status, reason) in enumerate(chunks, start=1):
            yield Chunk(record.id, number, start, letters.encode(), end - start - len(letters)), status, reason


def chunks_of_part(sequence: str, limits: Limits) -> Iterator[tuple[int, int, str, Status, str]]:
    size, least = len(sequence), limits.min_length
    if size < least:
        yield 0, size, sequence, Status.TOO_SHORT if size else Status.EMPTY, f"the mate has {size} nt, needs {least}"
        return
    read = {(0, size): size}
    if limits.pieces:
        read = {(begin, end): len(leave_out(sequence[begin:end])) for begin, end in pieces_of(sequence)[0]}
        least -= min(15, least // 5)
    long_enough = [piece for piece, nt in read.items() if nt >= least]
    for begin, end in long_enough or [(0, size)]:
        for start, stop in ((begin + a, begin + b) for a, b in spans(end - begin, limits.chunk_length)):
            letters = sequence[start:stop]
            status, reason = judge(letters, limits)
            if status is Status.OK and not long_enough:
                longest = max(read.values(), default=0)
                status, reason = Status.TOO_SHORT, f"{longest} nt without N and homopolymer ends, needs {least}"
            yield start, stop, resolve(letters) if limits.pieces and status is Status.OK else letters, status, reason


def judge(letters: str, limits: Limits) -> tuple[Status, str]:
    share = ambiguous(letters) / len(letters)
    if share > limits.max_ambiguous:
        return Status.TOO_AMBIGUOUS, f"{share:.0%} of the letters are not A, C, G, T or U"
    text = letters.replace("U", "T")
    counts = Counter(text[i : i + 3] for i in range(len(text) - 2) if not text[i : i + 3].strip("ACGT"))
    total = sum(counts.values())
    repeated = sum(n * (n - 1) for n in counts.values()) / (total * (total - 1)) if total > 1 else 0
    if repeated > limits.max_repetition:
        return Status.LOW_COMPLEXITY, f"{repeated:.0%} of the pairs of triplets are equal"
    return Status.OK, ""


def frames(chunk: Chunk, rule: FrameRule) -> tuple[Frame, ...]:
    """Apply a frame rule codon by codon."""
    forward = chunk.sequence.decode()
    if rule.kind == "longest_segments":
        forward = forward.replace("U", "T")
    reverse = "".join({"A": "T", "C": "G", "G": "C", "T": "A"}.get(base, base) for base in reversed(forward))
    found = []
    for strand, text in ((1, forward), (-1, reverse)):
        for offset in range(3):
            codons = [text[i : i + 3] for i in range(offset, len(text) - 2, 3)]
            if rule.kind == "stop_free":
                protein = "".join(CODE.get(codon, "") for codon in codons)
                nucleotide = text[offset : offset + 3 * len(protein) + 1]
            else:
                protein = max("".join(CODE.get(codon, "X") for codon in codons).split("*"), key=len)
                nucleotide = text[offset:]
            if protein and "*" not in protein:
                found.append(Frame(chunk.id, strand, offset, nucleotide.encode(), protein.encode()))
    if rule.kind == "stop_free" or not found:
        return tuple(found)
    ranked = sorted(found, key=lambda frame: (-len(frame.protein), frame.protein))
    least = max(rule.min_aa, rule.min_share * len(ranked[0].protein))
    chosen = [ranked[0], *(frame for frame in ranked[1 : rule.segments] if len(frame.protein) >= least)]
    kept = [frame for frame in found if any(frame is one for one in chosen)]
    return tuple(replace(f, nucleotide=ranked[0].nucleotide) if rule.nucleotide == "longest" else f for f in kept)
