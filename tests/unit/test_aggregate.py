"""The consensus of frames and of chunks, against plain loops."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from virnucpro.pipeline.aggregate import margins_of, softmax, vote_max, vote_weighted
from virnucpro.pipeline.calls import CallTable, FrameCalls, Verdicts, call_records
from virnucpro.scores.calibration import PRESETS, Calibration, Knot, OperatingPoint
from virnucpro.scores.decision import Decision
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import STATUSES, ChunkTable
from virnucpro.seq.screen import Limits
from virnucpro.types import Call, Record, Status

# Float64 arithmetic in another order.
ROUNDING = 1e-12


def random_frames(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 7, size=20)
    owner = np.repeat(np.arange(20), counts)
    return rng.normal(0, 3, size=(len(owner), 2)), rng.normal(0, 3, size=len(owner)), owner


def test_softmax_does_not_overflow():
    scores = softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0], [0.0, math.log(3)]]))
    np.testing.assert_allclose(scores, [[1, 0], [0.5, 0.5], [0.25, 0.75]], atol=ROUNDING)


def test_vote_max_is_the_published_rule():
    logits, _, owner = random_frames(0)
    scores = softmax(logits)
    found, weights = vote_max(scores, owner)
    for chunk, score in enumerate(found):
        best_other, best_virus = scores[owner == chunk].max(axis=0)
        assert (score >= 0.5) == (best_virus >= best_other)
        assert score == pytest.approx(best_virus / (best_virus + best_other), abs=ROUNDING)
    assert weights.tolist() == [1.0] * len(owner)


@pytest.mark.parametrize("tie", [0.5, 0.6, 0.9321, 0.1 + 0.6])
def test_a_tie_is_virus_and_the_least_less_is_not(tie):
    def vote(virus):
        scores = np.array([[tie, 1 - tie], [1 - virus, virus]])  # the two bests belong to two frames
        return vote_max(scores, np.array([0, 0]))[0][0]

    assert vote(tie) >= 0.5
    assert vote(math.nextafter(tie, 1)) >= 0.5
    assert vote(tie - 1e-9) < 0.5
    if tie > 0.5:
        assert vote(math.nextafter(tie, 0)) < 0.5


def test_vote_weighted_equals_a_plain_loop():
    logits, gates, owner = random_frames(1)
    found, weights = vote_weighted(logits, gates, owner)
    for chunk, found_margin in enumerate(found):
        mine = owner == chunk
        raised = [math.exp(gate) for gate in gates[mine]]
        share = [value / sum(raised) for value in raised]
        margin = sum(w * (virus - other) for w, (other, virus) in zip(share, logits[mine], strict=True))
        assert found_margin.tolist() == pytest.approx([margin], abs=ROUNDING)
        np.testing.assert_allclose(weights[mine], share, atol=ROUNDING)
    np.testing.assert_allclose(np.add.reduceat(weights, np.unique(owner, return_index=True)[1]), 1, atol=ROUNDING)


def test_a_margin_is_against_an_equal_mixture_of_the_hosts():
    rng = np.random.default_rng(4)
    _, gates, owner = random_frames(4)
    logits = rng.normal(0, 3, size=(len(owner), 5))
    differences, weights = vote_weighted(logits, gates, owner)
    same, _ = vote_weighted(logits[:, [0, 4]], gates, owner)
    for chunk, margin in enumerate(margins_of(differences)):
        mine = owner == chunk
        *hosts, virus = (weights[mine, None] * logits[mine]).sum(axis=0)
        likelihoods = [math.exp(host) for host in hosts]
        assert margin == pytest.approx(virus - math.log(sum(likelihoods) / 4), abs=1e-9)
    # Host classes with the same logits are as one.
    copies, _ = vote_weighted(logits[:, [0, 0, 0, 4]], gates, owner)
    np.testing.assert_allclose(margins_of(copies), same[:, 0], atol=ROUNDING)


def test_one_difference_is_its_own_margin():
    differences = np.random.default_rng(5).normal(0, 50, size=(1000, 1))
    assert np.array_equal(margins_of(differences), differences[:, 0])  # to the last bit
    assert margins_of(np.array([[900.0, -900.0, 4000.0]]))[0] == pytest.approx(-900 + math.log(3))


def test_one_frame_votes_alone_and_gates_are_relative():
    logits, gates, owner = random_frames(2)
    margin, weights = vote_weighted(logits[:1], np.array([-800.0]), np.array([0]))
    assert weights.tolist() == [1.0]
    assert margin[0] == pytest.approx(logits[0, 1] - logits[0, 0], abs=ROUNDING)
    np.testing.assert_allclose(
        vote_weighted(logits, gates + 700, owner)[0], vote_weighted(logits, gates, owner)[0], atol=1e-9
    )


@pytest.mark.parametrize("margin", [5000.0, -5000.0])
def test_extreme_logits_give_no_warning(margin):
    found, _ = vote_weighted(np.array([[0.0, margin]]), np.zeros(1), np.array([0]))
    assert found[0] == margin


@pytest.mark.parametrize("vote", [vote_max, lambda scores, owner: vote_weighted(scores, scores[:, 0], owner)])
def test_chunks_do_not_mix(vote):
    logits, _, owner = random_frames(3)
    scores = softmax(logits)
    together, weights = vote(scores, owner)
    borders = [*np.unique(owner, return_index=True)[1], len(owner)]
    for chunk, (begin, end) in enumerate(pairwise(borders)):
        alone, own_weights = vote(scores[begin:end], np.zeros(end - begin, dtype=int))
        assert together[chunk] == pytest.approx(alone[0], abs=ROUNDING)
        np.testing.assert_allclose(weights[begin:end], own_weights, atol=ROUNDING)


Given = tuple[int, float | None, float | None]  # a chunk's length, score and log likelihood ratio


def record_of(length: int, chunks: Sequence[Given], decision: Decision) -> tuple[Call, CallTable]:
    """Return the call of a record of this length with these chunks, each of which has two frames if it has a score."""
    n = len(chunks)
    lengths = np.array([size for size, _, _ in chunks])
    scores = np.array([np.nan if score is None else score for _, score, _ in chunks])
    ratios = np.array([np.nan if ratio is None else ratio for _, _, ratio in chunks])
    scored = ~np.isnan(scores)
    codes = np.where(scored, STATUSES.index(Status.OK), STATUSES.index(Status.TOO_AMBIGUOUS)).astype(np.uint8)
    nothing, zeros = np.zeros(n, bool), np.zeros(n, np.int64)
    ok = np.full(1, STATUSES.index(Status.OK), np.uint8)
    table = ChunkTable(
        Limits(), zeros, zeros, 1 + np.arange(n), zeros, lengths, lengths, codes, np.where(scored, 0, 1.0), nothing,
        nothing, ok, np.array([length]), np.zeros((1, 4), np.int64),
    )  # fmt: skip
    owner = np.repeat(np.flatnonzero(scored), 2)
    frames = FrameCalls(
        owner,
        np.tile(np.arange(2, dtype=np.int8), scored.sum()),
        np.full(len(owner), 30),
        np.full((len(owner), 2), 0.5),
        np.full(len(owner), 0.5),
    )
    best = np.where(scored, 2 * np.cumsum(scored) - 2, -1)
    of_hosts = ratios[:, None] if decision.calibration else np.zeros((n, 0))
    own = Verdicts(scores, ratios, of_hosts, scores >= 0.5, 2 * scored, best, codes)
    block = RecordBlock.of([Record("r", b"A" * length)])
    calls = call_records(block, table, frames, own, decision, np.zeros((n, 0)))
    [result] = calls.results()
    return result.call, calls


def plain(min_score: float) -> Decision:
    """The decision of a model that is not calibrated."""
    return Decision(None, None, None, min_score)


def test_without_evidence_a_record_is_the_mean_by_chunk_length():
    call, _ = record_of(900, [(500, 0.9, None), (300, 0.1, None), (100, 0.95, None)], plain(0.5))
    assert call.log_ratio is None
    assert call.virus_score == pytest.approx((500 * 0.9 + 300 * 0.1 + 100 * 0.95) / 900, abs=ROUNDING)
    assert (call.id, call.length, call.n_chunks, call.n_frames) == ("r", 900, 3, 6)
    assert (call.is_virus, call.best_frame, call.status, call.reason) == (True, "r_chunk_3F1", Status.OK, "")


@pytest.mark.parametrize(("score", "threshold", "is_virus"), [(0.5, 0.5, True), (0.49, 0.5, False), (0.6, 0.7, False)])
def test_the_threshold_itself_is_virus(score, threshold, is_virus):
    assert record_of(500, [(500, score, None)], plain(threshold))[0].is_virus is is_virus


def test_evidence_is_pooled_and_the_score_follows_from_it():
    points = (OperatingPoint(100, 0.5, 0, 0), OperatingPoint(900, 1.5, 0, 0))
    calibration = Calibration(0.5, (Knot(100, (1.0,), (0.0,), 0.5),), dict.fromkeys(PRESETS, points))
    pooled = (500 * 2 + 400 * 1) / 900 * (900**2 / (500**2 + 400**2)) ** 0.5
    for prevalence in (0.5, 0.1):
        decision = Decision(calibration, prevalence, None, 0.8)
        call, _ = record_of(900, [(500, 0.5, 2.0), (400, 0.5, 1.0)], decision)
        odds = math.exp(pooled) * prevalence / (1 - prevalence)
        assert call.log_ratio == pytest.approx(pooled, abs=ROUNDING)
        assert call.virus_score == pytest.approx(odds / (1 + odds), abs=ROUNDING)
        assert call.is_virus == (call.virus_score >= 0.8) == (prevalence == 0.5)


def test_what_is_not_scored_does_not_make_a_record_long():
    """Only one chunk of two tells, with as much evidence as long records need, but too little for its own length."""
    points = (OperatingPoint(400, 2.0, 0, 0), OperatingPoint(800, 1.0, 0, 0))
    calibration = Calibration(0.5, (Knot(100, (1.0,), (0.0,), 0.5),), dict.fromkeys(PRESETS, points))
    decision = Decision(calibration, 0.5, "balanced", None, calibration.thresholds("balanced"))
    speaking, silent = (400, 0.8, 1.5), (400, None, None)
    assert record_of(800, [speaking, silent], decision)[0].is_virus is False
    assert record_of(800, [speaking, speaking], decision)[0].is_virus is True
    overlapping, _ = record_of(450, [speaking, speaking], decision)
    assert overlapping.is_virus == (overlapping.log_ratio >= calibration.thresholds("balanced")[450])


def test_chunks_without_a_score_are_left_out_and_the_reason_says_so():
    call, calls = record_of(900, [(500, 0.8, None), (400, None, None)], plain(0.5))
    assert call.virus_score == pytest.approx(0.8, abs=ROUNDING)
    assert (call.n_chunks, call.n_frames, call.reason) == (2, 2, "1 of 2 chunks have no score")
    assert calls.has_reason.tolist() == [True]


def test_a_record_without_any_score_has_none():
    call, calls = record_of(509, [(500, None, None), (9, None, None)], plain(0.5))
    assert (call.is_virus, call.virus_score, call.best_frame) == (None, None, None)
    assert (call.status, call.n_chunks) == (Status.TOO_AMBIGUOUS, 2)
    assert call.reason == calls.chunk_reason(0) == "100% of the letters are not A, C, G, T or U"
