"""The tables of a block are, byte for byte, those of plain loops over objects, however the block is cut."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import specified_rows
from drawn import blocks, limits, rules, sequences
from hypothesis import given
from hypothesis import strategies as st
from specified_calls import Caller
from specified_types import Frame

from virnucpro.models.tokenizers import ESM2Tokenizer, KmerTokenizer
from virnucpro.pipeline.aggregate import softmax
from virnucpro.pipeline.frame_tokens import FrameScores, FrameTokens
from virnucpro.pipeline.text import TextStage, drive
from virnucpro.run.numbers import four_digits, whole_numbers
from virnucpro.run.rows import UnitTables, tab_rows, wrap, wrap_one
from virnucpro.run.tables import RecordFiller
from virnucpro.run.tally import RepeatedIds, hashes
from virnucpro.scores.calibration import PRESETS, Calibration, Knot, OperatingPoint
from virnucpro.scores.composition import Composition
from virnucpro.scores.decision import Decision
from virnucpro.scores.evidence import NO_EVIDENCE, evidence_type
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.strings import Strings
from virnucpro.types import Status

NUCLEOTIDE, PROTEIN = KmerTokenizer(3), ESM2Tokenizer()
# No number of these is one that scores of a few frames hit by chance: rounding does not decide.
POINTS = (OperatingPoint(20, -0.713, 0, 0), OperatingPoint(300, 0.317, 0, 0))
KNOTS = (Knot(20, (0.613,), (-0.217,), 0.831), Knot(150, (1.137,), (0.113,), 0.437))
HOSTS, SHARES = ("archaea", "fungi", "plant"), (0.513, 0.217, 0.27)
MORE = (
    Knot(20, (0.613, 0.911, 1.071), (-0.217, 0.317, 0.0), 0.831),
    Knot(150, (1.137, 0.7, 0.913), (0.113, -1.3, 0.571), 0.437),
)
CALIBRATIONS = {
    2: [Calibration(0.5, knots, dict.fromkeys(PRESETS, POINTS)) for knots in (KNOTS, KNOTS[:1])],
    4: [Calibration(0.5, knots, dict.fromkeys(PRESETS, POINTS), SHARES) for knots in (MORE, MORE[:1])],
}


def classified(tokens: Sequence[int], protein: Sequence[int], lengths: Sequence[int], n: int) -> list[float]:
    """Return what stands for logits and gate: n values from -2 to 1.75 that follow from all that is seen of a frame."""
    code = zlib.crc32(np.array([*tokens, 0, *protein, 0, *lengths], np.int64).tobytes())
    return [(code >> 4 * i & 15) / 4 - 2 for i in range(n)]


def score_tokens(classes: int, vote: str) -> Callable[[FrameTokens], FrameScores]:
    """Return what stands in for the networks: scores of all frames."""

    def score(tokens: FrameTokens) -> FrameScores:
        nucleotides = np.split(tokens.nucleotide_tokens.astype(int), np.cumsum(tokens.nucleotide_lengths)[:-1])
        proteins = np.split(tokens.protein_tokens.astype(int), np.cumsum(tokens.protein_lengths)[:-1])
        aa = np.rint(np.exp(tokens.length_features[:, 0].astype(float)) * 50).astype(int)
        nt = np.rint(3 * aa / tokens.length_features[:, 1]).astype(int)
        rows = [
            classified(nucleotides[row], protein, lengths, classes + 1)
            for row, protein, lengths in zip(tokens.nucleotide, proteins, np.stack((aa, nt), axis=1), strict=True)
        ]
        values = np.array(rows, float)
        return FrameScores(softmax(values[:, :-1]) if vote == "max" else values[:, :-1], values[:, -1])

    return score


def score_frame(classes: int, vote: str) -> Callable[[Frame], tuple[list[float], float]]:
    """Return the same for one frame as an object."""

    def score(frame: Frame) -> tuple[list[float], float]:
        [tokens], [protein] = NUCLEOTIDE([frame.nucleotide]), PROTEIN([frame.protein])
        *values, gate = classified(tokens, protein, (len(frame.protein), len(frame.nucleotide)), classes + 1)
        return (softmax(np.array([values]))[0].tolist() if vote == "max" else values), gate

    return score


@st.composite
def callers(draw: st.DrawFn) -> tuple[TextStage, Callable[[FrameTokens], FrameScores], Caller]:
    """Return a text stage with what stands in for the networks, and the same for objects."""
    least, rule, size = draw(limits), draw(rules), draw(st.sampled_from([1, 2, 8192]))
    vote = draw(st.sampled_from(["max", "weighted", "weighted"]))
    classes = 2 if vote == "max" else draw(st.sampled_from([2, 4]))
    decision = Decision(None, None, None, draw(st.sampled_from([0.5, 0.4371] if vote == "max" else [0.5123, 0.3771])))
    if vote == "weighted" and draw(st.booleans()):
        calibration, prevalence = draw(st.sampled_from(CALIBRATIONS[classes])), draw(st.sampled_from([0.5, 0.037]))
        hosts = HOSTS if classes > 2 else ()
        thresholds = calibration.thresholds("strict")
        ways = [
            Decision(calibration, prevalence, None, 0.4771, (), hosts),
            Decision(calibration, prevalence, "strict", None, thresholds, hosts),
        ]
        ways += [Decision(calibration, prevalence, "strict", None, thresholds, hosts, by_sample=True)] * bool(hosts)
        ways += [Decision(calibration, prevalence, None, None, thresholds, hosts, by_sample=True, max_fdr=0.1)]
        decision = draw(st.sampled_from(ways))
    decision = replace(decision, keep_all=draw(st.booleans()))
    stage = TextStage(least, rule, NUCLEOTIDE, PROTEIN, vote, decision, slice_chunks=size)
    return stage, score_tokens(classes, vote), Caller(least, rule, vote, decision, score_frame(classes, vote))


@given(blocks(), callers(), st.booleans())
def test_tables_are_those_of_the_plain_loop(block, made, legacy):
    stage, score, caller = made
    expected = [caller.call(record) for record in block.records()]
    calls = drive(stage.call(block), score)
    tables = UnitTables.of(calls, stage.decision, legacy)
    assert list(tables.sections) == specified_rows.sections(expected, caller.evidence, stage.decision, legacy)
    evidence = [tuple(np.asarray(value).tolist() for value in row) for row in tables.evidence.tolist()]
    assert evidence == specified_rows.evidence_section(caller.evidence, expected, stage.decision)
    assert tables.tally == specified_rows.tally(expected)
    for found, result in zip(calls.results(), expected, strict=True):
        assert (found.record, found.letters) == (result.record, result.letters)
        one, other = [found.call, *(c.call for c in found.chunks)], [result.call, *(c.call for c in result.chunks)]
        for mine, plain in zip(one, other, strict=True):
            fields = ("id", "length", "is_virus", "n_chunks", "n_frames", "best_frame", "status", "reason")
            assert [getattr(mine, name) for name in fields] == [getattr(plain, name) for name in fields]
            assert (mine.virus_score, mine.log_ratio) == pytest.approx((plain.virus_score, plain.log_ratio))


@given(blocks(), callers())
def test_every_record_comes_out_once_with_a_status(block, made):
    stage, score, _ = made
    rows = UnitTables.of(drive(stage.call(block), score), stage.decision).sections[0].split(b"\n")
    assert rows.pop() == b""
    assert [row.split(b"\t")[0] for row in rows] == block.ids.tolist()
    assert {row.split(b"\t")[-2].decode() for row in rows} <= set(map(str, Status))
    assert [int(row.split(b"\t")[1]) for row in rows] == block.lengths.tolist()


@given(blocks(), callers(), st.data())
def test_a_block_that_is_cut_gives_the_same_bytes(block, made, data):
    stage, score, _ = made
    whole = UnitTables.of(drive(stage.call(block), score), stage.decision, legacy=True)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(block) - 1))) if len(block) > 1 else ())
    places = [0, *cuts, len(block)]
    pieces = [block.slice(begin, end) for begin, end in pairwise(places)]
    joined = UnitTables.concat(
        [UnitTables.of(drive(stage.call(piece), score), stage.decision, legacy=True) for piece in pieces]
    )
    assert joined.sections == whole.sections
    assert joined.evidence.tobytes() == whole.evidence.tobytes()
    assert joined.tally == whole.tally
    assert RecordBlock.concat(pieces).digest == block.digest


numbers = st.one_of(
    st.floats(0, 1),
    st.integers(0, 9999).map(lambda step: (step + 0.5) / 10_000),
    st.integers(0, 9999).map(lambda step: np.nextafter((step + 0.5) / 10_000, 0)),
    st.integers(0, 9999).map(lambda step: np.nextafter((step + 0.5) / 10_000, 1)),
    st.integers(0, 32).map(lambda step: step / 32),
)


@given(st.lists(numbers, max_size=20))
def test_four_digits_are_those_of_python(values):
    found = four_digits(np.array([*values, np.nan])).tolist()
    assert found == [*(f"{value:.4f}".encode() for value in values), b"NA"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9))
def test_whole_numbers_are_those_of_python(values):
    assert whole_numbers(np.array(values, np.int64)).tolist() == [str(value).encode() for value in values]


@given(st.lists(sequences, max_size=6))
def test_sequences_are_wrapped(texts):
    expected = [specified_rows.wrapped(text) for text in texts]
    assert wrap(Strings.of(texts)).tolist() == expected
    assert [wrap_one(np.frombuffer(text, np.uint8)).tobytes() for text in texts] == expected


@given(
    st.integers(0, 6).flatmap(lambda n: st.lists(st.lists(st.binary(max_size=9), min_size=n, max_size=n), min_size=1))
)
def test_rows_are_divided_by_tabs(columns):
    expected = b"".join(b"\t".join(row) + b"\n" for row in zip(*columns, strict=True))
    assert tab_rows([Strings.of(column) for column in columns]) == expected


def plain_hash(text: bytes) -> int:
    """Return the sum of the bytes, each mixed with its place, mixed again with the length."""
    return mixed((sum(mixed(byte + (place << 8)) for place, byte in enumerate(text)) + len(text)) % 2**64)


def mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


@given(st.lists(st.binary(max_size=12), max_size=9))
def test_hashes_are_those_of_the_plain_loop(texts):
    assert hashes(Strings.of(texts)).tolist() == [plain_hash(text) for text in texts]
    ids = RepeatedIds()
    for text in texts:
        ids.add(Strings.of([text]))
    assert ids.count() == len(texts) - len(set(texts))


def pieces(draw: st.DrawFn, text: bytes) -> list[bytes]:
    """Cut bytes anywhere."""
    places = [0, *sorted(draw(st.lists(st.integers(0, len(text)), max_size=6))), len(text)]
    return [text[begin:end] for begin, end in pairwise(places)]


steps_of_hosts = st.one_of(st.none(), st.tuples(st.integers(-900, 900), st.integers(-900, 900)))
records_of_units = st.lists(
    st.lists(st.tuples(steps_of_hosts, st.integers(1, 9), st.binary(max_size=5)), max_size=6), min_size=1, max_size=3
)


@given(records_of_units, st.sampled_from(["call", "thresholds", "max_fdr"]), st.booleans(), st.data())
def test_what_follows_from_the_sample_is_filled_in(units, rule, keeps_all, data):
    """Rows get scores, confidence and calls; of the stored records those become hits that are called."""
    shares, prevalence = np.array([0.3, 0.7]), 0.2
    every = [pair for unit in units for pair, _, _ in unit if pair is not None]
    mixed = {
        pair: -math.log(sum(w * math.exp(-step / 100) for w, step in zip(shares, pair, strict=True))) for pair in every
    }
    fdr = {round(ratio * 100): (10 - ratio) / 40 for ratio in mixed.values()}
    thresholds = np.linspace(-2, 2, 6) if rule == "thresholds" else None
    hosts = dict(zip(("a", "b"), shares.tolist(), strict=True))
    composition = Composition(prevalence, fdr, hosts, None, thresholds, 0.21 if rule == "max_fdr" else None)
    table, hits, others, names, expected, chosen, left = BytesIO(), BytesIO(), BytesIO(), BytesIO(), [], [], []
    filler = RecordFiller(table, [hits], composition, [others] if keeps_all else [], names)
    kind = evidence_type(2, 1 if rule != "call" or keeps_all else 0)
    for unit in units:
        evidence, lines, stored = np.zeros(len(unit), kind), [], []
        for row, (pair, length, text) in enumerate(unit):
            evidence["steps"][row] = NO_EVIDENCE if pair is None else pair
            evidence["length"][row] = length
            is_virus, filled, blank = False, ["NA"] * 3, ["NA" if pair is None else "0.0000"] * 3
            if pair is not None:
                ratio = mixed[pair]
                odds = math.exp(ratio) * prevalence / (1 - prevalence)
                rate = float(f"{fdr[round(ratio * 100)]:.4f}")
                decided = {"call": length > 4, "thresholds": ratio >= thresholds_at(length), "max_fdr": rate <= 0.21}
                is_virus = bool(decided[rule])
                tier = "high" if rate <= 0.05 else "medium" if rate <= 0.2 else "low"
                filled = [f"{rate:.4f}", tier if is_virus else "NA", f"{odds / (1 + odds):.4f}"]
            before = is_virus if rule == "call" else data.draw(st.booleans())
            call, called = ("NA" if pair is None else ("other", "virus")[yes] for yes in (before, is_virus))
            row_of = f"a{row}\t1\t1\t2\t{{}}\t0.9\t{{}}\t{{}}\t{{}}\tplant\tbest\tok\tNA\n"
            lines.append(row_of.format(call, *blank))
            expected.append(row_of.format(called, *filled))
            if keeps_all or (pair is not None and rule != "call") or is_virus:
                stored.append(text)
                (chosen if is_virus else left).append(text)
                if kind.names[-1] == "hits":
                    evidence["hits"][row] = len(text)
        for piece in pieces(data.draw, evidence.tobytes()):
            filler.evidence.write(piece)
        for piece in pieces(data.draw, "".join(lines).encode()):
            filler.rows.write(piece)
        for piece in pieces(data.draw, b"".join(stored)):
            filler.hits[0].write(piece)
    virus = [line for line in expected if "virus" in line]
    assert table.getvalue().decode() == "".join(expected)
    assert hits.getvalue() == b"".join(chosen)
    assert others.getvalue() == (b"".join(left) if keeps_all else b"")
    assert names.getvalue().decode().split("\n") == [*(line.split("\t")[0] for line in virus), ""]
    assert filler.viral == (None if rule == "call" else len(virus))


def thresholds_at(length: int) -> float:
    """Return the threshold for a length, as in `np.linspace(-2, 2, 6)`."""
    return float(np.linspace(-2, 2, 6)[min(length, 5)])


@given(records_of_units, st.data())
def test_without_evidence_all_kept_records_go_where_their_rows_say(units, data):
    """As for a model without a calibration: the unit knows the calls."""
    table, hits, others = BytesIO(), BytesIO(), BytesIO()
    filler = RecordFiller(table, [hits], None, [others])
    expected = {"virus": b"", "other": b"", "NA": b""}
    whole = ""
    for unit in units:
        evidence = np.zeros(len(unit), evidence_type(1, 1))
        evidence["hits"][:, 0] = [len(text) for *_, text in unit]
        calls = [data.draw(st.sampled_from(sorted(expected))) for _ in unit]
        lines = "".join(f"a\t1\t1\t2\t{call}\t0.9\tNA\tNA\tNA\tNA\tbest\tok\tNA\n" for call in calls)
        for call, (*_, text) in zip(calls, unit, strict=True):
            expected["virus" if call == "virus" else "other"] += text
        filler.evidence.write(evidence.tobytes())
        filler.rows.write(lines.encode())
        for piece in pieces(data.draw, b"".join(text for *_, text in unit)):
            filler.hits[0].write(piece)
        whole += lines
    assert table.getvalue().decode() == whole
    assert (hits.getvalue(), others.getvalue()) == (expected["virus"], expected["other"])
