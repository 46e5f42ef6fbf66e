"""The predictor with tiny random models: every record is answered, once, in order, and slicing changes nothing."""

import dataclasses
import math
from functools import cache

import as_objects
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import seeded

import virnucpro
from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError, NumericalError
from virnucpro.models.classifier import MLPClassifier
from virnucpro.pipeline.calls import CallTable, FrameCalls, call_chunks, call_records
from virnucpro.pipeline.features import LENGTH_FEATURES, length_features
from virnucpro.pipeline.frame_tokens import FrameScores
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pipeline.text import drive
from virnucpro.pretrained.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.pretrained.registry import Model, build_model
from virnucpro.scores.decision import Decision
from virnucpro.seq import Limits
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.chunk_table import cut_chunks
from virnucpro.types import Record, RecordResult, Status

WIDTH = 16
CHUNK_LENGTH = 60
MIN_LENGTH = 20
# The same float32 sums in batches of other shapes.
ROUNDING = 1e-5


def tiny_model(rule: FrameRule, vote: str, seed: int = 0) -> Model:
    """Return a model of random weights: a gated classifier for the weighted vote, the published one for max."""
    shape = {"layers": 2, "width": WIDTH, "heads": 2, "token_dropout": False}
    kmers = {"vocabulary": 4**2 + 5, "mask_token": 4**2 + 4}
    gated = vote == "weighted"
    description = ModelDescription(
        name="tiny",
        chunk_length=CHUNK_LENGTH,
        min_length=MIN_LENGTH,
        frame_rule=rule,
        nucleotide=EncoderDescription("esm2", {**shape, **kmers}, "kmer-2", 1, 1),
        protein=EncoderDescription("esm2", shape, "esm2", 1, 1, limit=1024),
        classifier=ClassifierDescription("gated" if gated else "mlp", 2 * WIDTH + LENGTH_FEATURES * gated, 8),
        vote=vote,
        max_ambiguous=0.5,
        max_repetition=0.5,
    )
    with seeded(seed):
        model = build_model(description, directory=None)
    for part in model.parts().values():
        part.eval()
    return model


def cpu(**changes) -> Options:
    """Options for one CPU thread, which for models this small is faster than several."""
    return Options(**{"device": "cpu", "precision": "fp32", "threads": 1, **changes})


LONGEST = FrameRule("longest_segments", segments=2, min_aa=5)
KEYS = [(kind, vote) for kind in ("stop_free", "longest_segments") for vote in ("max", "weighted")]
predictors = pytest.mark.parametrize("predictor", KEYS, ids="-".join, indirect=True)


@cache
def predictor_of(kind: str, vote: str) -> Predictor:
    """Return the predictor of a frame rule and a vote."""
    return Predictor(tiny_model(LONGEST if kind == LONGEST.kind else FrameRule(kind), vote), cpu())


@pytest.fixture(scope="module")
def predictor(request) -> Predictor:
    return predictor_of(*request.param)


STOPS = b"TAATTAATTAA" * 5  # 55 nt, one chunk, with stops in all six frames


def random_records(number: int, longest: int = 400, seed: int = 0) -> list[Record]:
    """Return records of random lengths, of which some are open reading frames and some are full of N."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(number):
        letters = [b"ACGT", b"ACG", b"ACGTN", b"ACNNN"][rng.integers(4)]
        sequence = bytes(rng.choice(list(letters), rng.integers(0, longest)).tolist())
        records.append(Record(f"r{index}", sequence, index=index))
    return records


def scores(results: list[RecordResult]) -> list[float]:
    """Return every score of the results as one list, NaN where there is none."""
    values = []
    for result in results:
        calls = [result.call, *(chunk.call for chunk in result.chunks)]
        values += [float("nan") if call.virus_score is None else call.virus_score for call in calls]
        values += [p.score_virus for chunk in result.chunks for p in chunk.predictions]
        values += [p.weight for chunk in result.chunks for p in chunk.predictions]
    return values


def outline(result: RecordResult) -> tuple:
    """Return what a result says without its numbers."""
    calls = [result.call, *(chunk.call for chunk in result.chunks)]
    chunks = [(c.start, [(p.frame_id, p.aa_length) for p in c.predictions]) for c in result.chunks]
    return result.record, chunks, [(c.id, c.length, c.n_chunks, c.n_frames, c.status, c.reason) for c in calls]


def test_random_records_meet_every_status():
    records = [*random_records(60), Record("empty", b""), Record("stops", STOPS), Record("simple", b"A" * 50)]
    for rule, vote in KEYS:
        predictor = predictor_of(rule, vote)
        found = {result.call.status for result in predictor.run(records)}
        expected = set(Status) - {Status.FAILED, Status.SCREENED}  # which isolation and a screen give
        assert found == expected - (set() if rule == "stop_free" else {Status.NO_FRAME})


sequences = st.one_of(
    st.text("ACGT", max_size=300), st.text("ACG", max_size=150), st.text("ACGTUN", max_size=200), st.text("N-RY*.")
)


@predictors
@settings(max_examples=15, deadline=None)
@given(st.lists(sequences, max_size=12))
def test_every_record_comes_out_once_and_whole(predictor, texts):
    records = [Record(f"r{i % 3}", text.encode(), index=i) for i, text in enumerate(texts)]  # ids repeat
    results = list(predictor.run(records))
    assert [result.record for result in results] == records
    for result in results:
        call, length = result.call, len(result.record.sequence)
        assert (call.id, call.length) == (result.record.id, length)
        assert call.n_chunks == len(result.chunks)
        assert call.n_frames == sum(len(chunk.predictions) for chunk in result.chunks)
        assert (call.virus_score is None) == (call.is_virus is None) == (call.status is not Status.OK)
        assert (call.status is Status.EMPTY) == (length == 0)
        pieces = predictor.description.cuts_pieces
        too_short = 0 < length < MIN_LENGTH
        assert call.status is Status.TOO_SHORT or not too_short
        assert call.status is not Status.TOO_SHORT or too_short or pieces  # what is left of a record may be too short
        assert call.reason or call.status is Status.OK
        if length < MIN_LENGTH:
            assert not result.chunks
            continue
        limits = Limits(MIN_LENGTH, CHUNK_LENGTH, max_ambiguous=0.5, max_repetition=0.5, pieces=pieces)
        cut = [chunk for chunk, _, _ in as_objects.chunks(result.record, limits) if chunk]
        assert pieces or [(c.start, c.end) for c in cut] == as_objects.spans(length, CHUNK_LENGTH)
        assert [chunk.call.id for chunk in result.chunks] == [chunk.id for chunk in cut]
        assert [chunk.start for chunk in result.chunks] == [chunk.start for chunk in cut]
        for chunk, made in zip(result.chunks, cut, strict=True):
            [expected] = as_objects.frames([made], predictor.description.frame_rule)
            clear = chunk.call.status not in (Status.TOO_AMBIGUOUS, Status.LOW_COMPLEXITY, Status.TOO_SHORT)
            kept = [(f.id, f.strand, f.offset, len(f.protein)) for f in expected if clear]
            assert [(p.frame_id, p.strand, p.offset, p.aa_length) for p in chunk.predictions] == kept
            assert (chunk.call.virus_score is None) == (not kept)
            assert all(p.score_other + p.score_virus == pytest.approx(1) for p in chunk.predictions)
            if kept:
                assert chunk.call.best_frame in {name for name, *_ in kept}


@pytest.mark.parametrize("size", [1, 3, 7])
@predictors
def test_slices_change_nothing(predictor, size):
    records = random_records(20)
    whole = list(predictor.run(records))
    in_slices = dataclasses.replace(predictor.text, slice_chunks=size)  # a record of 400 nt has 7 chunks
    sliced = list(drive(in_slices.call(RecordBlock.of(records)), predictor.score).results(records))
    assert [outline(result) for result in sliced] == [outline(result) for result in whole]
    np.testing.assert_allclose(scores(sliced), scores(whole), atol=ROUNDING)


@predictors
def test_duplicates_change_nothing(predictor):
    records = random_records(25)
    alone = list(predictor.run(records))
    twice = list(predictor.run([record for record in records for _ in range(2)]))
    for some in (twice[0::2], twice[1::2]):
        assert [outline(result) for result in some] == [outline(result) for result in alone]
        np.testing.assert_allclose(scores(some), scores(alone), atol=ROUNDING)


@predictors
def test_neighbours_and_order_change_nothing(predictor):
    records = random_records(20)
    forward, backward = list(predictor.run(records)), list(predictor.run(records[::-1]))[::-1]
    np.testing.assert_allclose(scores(backward), scores(forward), atol=ROUNDING)


@pytest.mark.parametrize("changes", [{"packing": False}, {"max_tokens": 1}, {"max_tokens": 100}])
@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_batches_change_nothing(key, changes):
    rule = LONGEST if key[0] == "longest_segments" else FrameRule("stop_free")
    other = Predictor(tiny_model(rule, key[1]), cpu(**changes))
    records = random_records(15)
    np.testing.assert_allclose(
        scores(list(other.run(records))), scores(list(predictor_of(*key).run(records))), atol=1e-5
    )


def test_a_chunk_without_a_frame_says_so():
    open_frame = b"GCC" * 20
    records = [Record("a", STOPS), Record("b", open_frame + (STOPS * 2)[:60]), Record("c", open_frame)]
    results = list(predictor_of("stop_free", "max").run(records))
    assert [r.call.status for r in results] == [Status.NO_FRAME, Status.OK, Status.OK]
    assert "stop codons" in results[0].call.reason
    assert results[0].chunks[0].call.virus_score is None
    assert [c.call.status for c in results[1].chunks] == [Status.OK, Status.NO_FRAME]
    assert results[1].call.reason == "1 of 2 chunks have no score"
    assert results[1].call.virus_score == pytest.approx(results[2].call.virus_score, abs=ROUNDING)


def test_lengths_and_thresholds_are_the_options_else_the_model_s():
    record = Record("a", b"GCC" * 10)
    model = tiny_model(LONGEST, "weighted")

    def call(**options):
        return next(Predictor(model, cpu(**options)).run([record])).call

    score = call().virus_score
    assert call().is_virus == (score >= 0.5)
    assert call(min_score=score).is_virus is True
    assert call(min_score=math.nextafter(score, 1)).is_virus is False
    assert call(min_length=30).status is Status.OK
    assert call(min_length=31).status is Status.TOO_SHORT
    tiny = Predictor(model, cpu(min_length=1)).run([Record("b", b"AC"), Record("c", b"GCC")])
    assert [r.call.status for r in tiny] == [Status.TOO_SHORT, Status.OK]


@pytest.mark.parametrize(
    "changes", [{"device": "tpu"}, {"device": "cuda:99"}, {"precision": "fp8"}, {"attention": "x"}]
)
def test_options_that_cannot_be_had(changes):
    with pytest.raises(ConfigError):
        Predictor(tiny_model(LONGEST, "max"), cpu(**changes))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, value) for name in ("max_tokens", "threads", "chunk_length") for value in (0, -1, 1.5)),
        ("threads", 1025),
        ("max_tokens", 2**31),
        ("min_length", -1),
        ("min_length", 75.0),
        *((name, value) for name in ("min_score", "prevalence") for value in (-0.1, 1.1)),
        ("prevalence", 0),
        ("prevalence", 1),
        *(
            (name, value)
            for name in ("max_tokens", "threads", "min_length", "chunk_length", "min_score", "prevalence")
            for value in ("abc", "5", True, math.nan, math.inf, -math.inf, [1])
        ),
        *((name, value) for name in ("device", "precision", "attention", "preset") for value in (5, True, ["cpu"])),
        *((name, None) for name in ("device", "precision", "attention", "packing")),
        ("packing", 1),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(name, wrong):
    with pytest.raises(ConfigError, match=rf"^{name} must ") as caught:
        Options(**{name: wrong})
    assert "\n" not in str(caught.value)


def test_options_take_numbers_of_numpy_and_the_ends_of_their_ranges():
    options = Options(threads=np.int64(3), min_score=np.float32(0.5), max_tokens=1, min_length=0, chunk_length=3)
    assert (options.threads, options.min_score) == (3, 0.5)
    assert type(options.threads) is int
    assert type(options.min_score) is float
    assert (Options(min_score=0).min_score, Options(min_score=1).min_score) == (0, 1)


def test_an_error_of_the_input_comes_after_the_records_before_it():
    records = [Record(f"r{i}", b"GCC" * 20) for i in range(3)]

    def stream():
        yield from records
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(result.record for result in predictor_of("longest_segments", "max").run(stream()))
    assert seen == records


def test_weights_that_are_not_finite_stop_the_run():
    model = tiny_model(LONGEST, "max")
    with torch.no_grad():
        model.protein.model.norm.weight[0] = float("nan")
    with pytest.raises(NumericalError, match="not finite"):
        list(Predictor(model, cpu()).run(random_records(5)))


def test_length_features():
    found = length_features(np.array([3, 2, 1]), np.array([10, 7, 3]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, [[np.log(3 / 50), 9 / 10], [np.log(2 / 50), 6 / 7], [np.log(1 / 50), 1]], rtol=1e-6
    )


def test_vectors_are_paired_with_their_own_frames():
    """Frames of many lengths come out of the two encoders in two orders; each is compared with itself alone."""
    predictor = predictor_of("longest_segments", "weighted")
    limits = Limits(MIN_LENGTH, CHUNK_LENGTH, max_ambiguous=0.5, max_repetition=0.5)
    for result in predictor.run(random_records(12)):
        cut = [chunk for chunk, _, _ in as_objects.chunks(result.record, limits) if chunk]
        for chunk, frames in zip(result.chunks, as_objects.frames(cut, LONGEST), strict=True):
            if chunk.call.status is not Status.OK:
                continue
            for frame, prediction in zip(frames, chunk.predictions, strict=True):
                vectors = [runner.embed([sequence]) for runner, sequence in pairs(predictor, frame)]
                lengths = length_features(np.array([len(frame.protein)]), np.array([len(frame.nucleotide)]))
                features = torch.from_numpy(np.hstack((*vectors, lengths)))
                with torch.inference_mode():
                    logits, _ = predictor.model.classifier(features)
                alone = logits.softmax(dim=1)[0].tolist()
                assert [prediction.score_other, prediction.score_virus] == pytest.approx(alone, abs=ROUNDING)


def pairs(predictor, frame):
    return (predictor.nucleotide, frame.nucleotide), (predictor.protein, frame.protein)


def calls_of(frames: list[tuple[int, ...]], scores: FrameScores) -> CallTable:
    """Return the calls by the published vote of records of one chunk each, which have these of all frames."""
    block = RecordBlock.of([Record(f"r{i}", b"GATTACA" * 5, index=i) for i in range(len(frames))])
    chunks = cut_chunks(block, Limits(10, 500, pieces=False, max_repetition=1))
    owner = np.array([row for row, kept in enumerate(frames) for _ in kept])
    column = np.concatenate([np.arange(len(kept)) for kept in frames]).astype(np.int8)
    given = FrameCalls(owner, column, np.full(len(owner), 5), scores.values, scores.gates)
    decision = Decision(None, None, None, 0.5)
    sums = np.zeros((len(chunks), 0))
    return call_records(block, chunks, *call_chunks(chunks, given, "max", decision, sums), decision, sums)


def test_published_classifier_and_consensus_equal_plain_arithmetic():
    """Linear, batch normalisation, ReLU, Linear, softmax; then max(virus) >= max(other) for each chunk.

    Features have the width of the published tool's, 768 of DNABERT-S and 2560 of ESM-2.
    """
    rng = np.random.default_rng(1)
    model = tiny_model(FrameRule("stop_free"), "max")
    with seeded(5), torch.no_grad():
        classifier = MLPClassifier().eval()
        classifier.bn1.running_mean.normal_()
        classifier.bn1.running_var.uniform_(0.5, 2)
        classifier.bn1.weight.normal_()
        classifier.bn1.bias.normal_()
    predictor = Predictor(dataclasses.replace(model, classifier=classifier), cpu())
    frames = [(0, 1), (2,), (), (3, 4, 5), (6, 7)]
    nucleotide = rng.normal(size=(8, 768)).astype(np.float32)
    protein = rng.normal(size=(8, 2560)).astype(np.float32)

    with torch.inference_mode():
        values, gates = predictor._classify(torch.from_numpy(np.hstack((nucleotide, protein))))
    calls = calls_of(frames, FrameScores(values.double().numpy(), gates.double().numpy()))

    weights = {name: value.double().numpy() for name, value in classifier.state_dict().items()}
    x = np.hstack((nucleotide, protein)).astype(np.float64)
    x = x @ weights["hidden_layer.weight"].T + weights["hidden_layer.bias"]
    x = (x - weights["bn1.running_mean"]) / np.sqrt(weights["bn1.running_var"] + 1e-5)
    x = np.maximum(x * weights["bn1.weight"] + weights["bn1.bias"], 0)
    x = np.exp(x @ weights["output_layer.weight"].T + weights["output_layer.bias"])
    expected = x / x.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(calls.frame.scores, expected, atol=ROUNDING)
    is_virus = [expected[list(kept), 1].max() >= expected[list(kept), 0].max() for kept in frames if kept]
    assert calls.record.is_virus[[len(kept) > 0 for kept in frames]].tolist() == is_virus
    assert np.isnan(calls.record.log_ratio).all()
    assert np.isnan(calls.record.score).tolist() == [not kept for kept in frames]
    assert len(set(is_virus)) == 2


def test_the_public_predict_yields_calls(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a\n" + "ACGGCTAAGC" * 20 + "\n>b\nAC\n>c\n")
    calls = list(virnucpro.predict(path, options=virnucpro.Options(device="cpu")))
    assert [(call.id, call.length, call.status) for call in calls] == [
        ("a", 200, Status.OK),
        ("b", 2, Status.TOO_SHORT),
        ("c", 0, Status.EMPTY),
    ]
    assert 0 <= calls[0].virus_score <= 1
    again = list(virnucpro.predict([path, str(path)]))
    assert [call.id for call in again] == ["a", "b", "c"] * 2
    assert again[3].virus_score == pytest.approx(calls[0].virus_score, abs=1e-3)
    with pytest.raises(virnucpro.VirnucproError, match="no such file"):
        list(virnucpro.predict(tmp_path / "nothing.fa"))
